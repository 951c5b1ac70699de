"""Network devices: into the container's network namespace, and back (config-linux.md#network-devices).

A device is moved and renamed in one request, gets its lasting global addresses again, which the kernel
takes away on the way, and is set up. It comes back as it was found when the creation fails, when a
foreground container ends, and when a container is deleted whose network namespace is still there: joined
by path, or held by a process. Otherwise the kernel has seen to it: with a network namespace go its virtual
devices, and physical ones return to the machine's first one (network_namespaces(7)).

pyroute2 speaks netlink here; only containers with devices wait for its import.
"""

from __future__ import annotations

import os
from errno import EEXIST, EINVAL, ENODEV, EPERM

from pyoci.bundle.document import pointer
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

IFF_UP = 1
SCOPE_GLOBAL = 0  # RT_SCOPE_UNIVERSE
PERMANENT = 0x80  # IFA_F_PERMANENT
# Of an address's other flags, those that somebody chose: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE
CHOSEN = 0x02 | 0x10 | 0x100 | 0x200
_HINTS = {
    ENODEV: "pyoci must be started in the network namespace that has it: ip link lists its devices",
    EEXIST: "the name is taken in the container's network namespace: give the device another by name",
    EINVAL: "devices like lo and bridges stay in the network namespace they were made in",
    EPERM: "it needs CAP_NET_ADMIN over both network namespaces",
}


def _library() -> Any:
    try:
        import pyroute2
    except ImportError:
        raise Error(
            "moving network devices needs the Python package pyroute2, which isn't installed",
            code="not-supported",
            pointer="/linux/netDevices",
            hint="pip install pyroute2",
        ) from None
    return pyroute2


def _netlink(namespace: int | None = None) -> Any:
    """A netlink socket in our network namespace, or in that of an open /proc/PID/ns/net."""
    return _library().IPRoute() if namespace is None else _library().IPRoute(netns=namespace)


def look(devices: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What is to be moved, as it is now; nothing is touched. Error (not-found) for a missing device.

    name, inside  its name here and in the container, where `%d` is the first free number
    index         its number here
    moved         its number in the container; 0: it is not there
    hardware      its link-layer address
    up            whether it is
    addresses     those to keep, each as pyroute2 takes them
    """
    NetlinkError = _library().NetlinkError

    found = []
    with _netlink() as here:
        for name, device in devices.items():
            try:
                link = here.link("get", ifname=name)[0]
                addresses = [
                    _address(entry)
                    for entry in here.addr("dump", index=link["index"])
                    if entry["scope"] == SCOPE_GLOBAL and entry.get("flags", 0) & PERMANENT
                ]
            except NetlinkError as error:
                raise _refused(error, f"can't find the network device {name}", name) from None
            found.append(
                {
                    "name": name,
                    "inside": device.get("name") or name,
                    "index": link["index"],
                    "moved": 0,
                    "hardware": link.get("address"),
                    "up": bool(link["flags"] & IFF_UP),
                    "addresses": addresses,
                }
            )
    return found


def _address(entry: Any) -> dict[str, Any]:
    kept = {key: entry.get(key) for key in ("address", "local", "broadcast")}
    return {
        "family": entry["family"],
        "prefixlen": entry["prefixlen"],
        "flags": entry.get("flags", 0) & CHOSEN,
        **{key: value for key, value in kept.items() if value},
    }


def give(devices: list[dict[str, Any]], namespace: int, pid: int) -> None:
    """Move devices to the network namespace of a process, which is also open as `namespace`. Error
    when one can't be; take_back() then returns the others."""
    NetlinkError = _library().NetlinkError

    if _is_own(namespace):
        raise Error(
            "the container's network namespace is pyoci's own, so its devices are there already",
            code="invalid-config",
            pointer="/linux/netDevices",
            hint="make the network namespace a new one, or name another one's path",
        )
    with _netlink() as here, _netlink(namespace) as inside:
        for device in devices:
            name, wanted = device["name"], device["inside"]
            try:
                before = {link["index"]: link.get("ifname") for link in inside.link("dump")}
                if wanted in before.values():
                    raise NetlinkError(EEXIST)  # the kernel would see it after the move, and rename nothing
                here.link("set", index=device["index"], net_ns_pid=pid, ifname=wanted)
                device["moved"] = _arrived(inside, wanted, before)
                _configure(inside, device["moved"], device["addresses"], up=True)
            except NetlinkError as error:
                what = f"can't move the network device {name} to the container as {wanted}"
                raise _refused(error, what, name) from None


def _is_own(namespace: int) -> bool:
    return os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net"))


def _arrived(inside: Any, wanted: str, before: dict[int, str]) -> int:
    """The number of the device that wasn't there before; from a template the kernel has made its name."""
    for link in inside.link("dump"):
        name = link.get("ifname")
        if name == wanted or ("%d" in wanted and link["index"] not in before):
            index: int = link["index"]
            return index
    return 0


def _configure(link: Any, index: int, addresses: list[dict[str, Any]], *, up: bool) -> None:
    for address in addresses:
        link.addr("add", index=index, **address)
    if up:
        link.link("set", index=index, state="up")


def take_back(devices: list[dict[str, Any]], namespace: int, warn: Callable[[str], None]) -> None:
    """Return those devices that are in an open network namespace; what can't be is warned of."""
    NetlinkError = _library().NetlinkError

    if _is_own(namespace):
        return
    with _netlink() as here, _netlink(namespace) as inside:
        links = {link["index"]: link for link in inside.link("dump")}
        for device in devices:
            name = device["name"]
            index = device["moved"] or _index_of(device, links.values())
            if not index or links.get(index, {}).get("address") != device["hardware"]:
                continue  # it isn't there, or the number is another's by now
            try:
                # Down first: it mustn't be heard of here before it has its own addresses again.
                inside.link("set", index=index, state="down")
                inside.link("set", index=index, net_ns_pid=os.getpid(), ifname=name)
                index = here.link("get", ifname=name)[0]["index"]
                _configure(here, index, device["addresses"], up=device["up"])
                device["moved"] = 0
            except NetlinkError as error:
                reason = os.strerror(error.code).lower()
                warn(f"the network device {name} couldn't be brought back from the container: {reason}")


def _index_of(device: dict[str, Any], links: Any) -> int:
    """For a move that was broken off on the way: the number of the device that looks like this one."""
    names = (device["inside"], device["name"])
    for link in links:
        named = "%d" in device["inside"] or link.get("ifname") in names
        if named and link.get("address") == device["hardware"]:
            index: int = link["index"]
            return index
    return 0


def open_namespace(config: dict[str, Any], pid: int) -> int:
    """The network namespace of a container's process, or if that has ended (0) of the path it joined; -1
    if it is gone."""
    path = f"/proc/{pid}/ns/net" if pid else ""
    for entry in (config.get("linux") or {}).get("namespaces") or ():
        if entry["type"] == "network" and not pid:
            path = entry.get("path") or ""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else -1
    except OSError:
        return -1


def _refused(error: Any, what: str, name: str) -> Error:
    code: int = error.code
    return Error(
        f"{what}: {os.strerror(code).lower()}",
        code={ENODEV: "not-found", EEXIST: "exists", EPERM: "permission"}.get(code, "kernel"),
        pointer=pointer(["linux", "netDevices", name]) + ("/name" if code == EEXIST else ""),
        errno=code,
        hint=_HINTS.get(code, ""),
    )
