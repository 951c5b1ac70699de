"""Compiling /dev: the default devices and links, and linux.devices (config-linux.md#devices)."""

from __future__ import annotations

from posixpath import normpath

from pyoci.plan import mount_options, steps
from pyoci.plan.kernel import S_IFBLK, S_IFCHR, S_IFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step

# config-linux.md#default-devices; numbers from the kernel's devices.txt
DEFAULT_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
# runtime-linux.md#dev-symbolic-links
DEFAULT_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


def compile_devices(config: dict[str, Any], situation: Situation, *, bound: bool) -> list[Step]:
    """Device nodes and links. With `bound`, inside a user namespace, the nodes that are there are bind
    mounted: the kernel lets no one else make a device there (mknod(2), EPERM)."""
    mounts = config.get("mounts") or ()
    entries = (config.get("linux") or {}).get("devices") or ()
    # The host's own /dev, or an engine's, is complete, and not ours to write to.
    complete = any(at_dev(mount) and mount_options.is_bind(mount) for mount in mounts)
    plan: list[Step] = []
    asked = [_place(device["path"]) for device in entries]
    if not complete:
        for name, major, minor in DEFAULT_DEVICES:
            if "/dev/" + name not in asked:
                default = {"path": "/dev/" + name, "type": "c", "major": major, "minor": minor}
                plan.append(_bind("/linux", default) if bound else _make("/linux", default, -1))
    for index, device in enumerate(entries):
        if complete and asked[index].startswith("/dev/"):
            continue
        make = _bind if bound and device["type"] != "p" else _make
        plan.append(make(f"/linux/devices/{index}", device))
    if not complete:
        links = (*DEFAULT_LINKS, ("core", "/proc/kcore")) if situation.kcore else DEFAULT_LINKS
        for name, value in links:
            plan.append(steps.make_symlink("/linux", value=value, path="/dev/" + name, replace=0))
    if not complete and any(_place(mount["destination"]) == "/dev/pts" for mount in mounts):
        # of the container's own devpts: a node that an image has there would be of another
        plan.append(steps.make_symlink("/linux", value="pts/ptmx", path="/dev/ptmx", replace=1))
    return plan


def at_dev(mount: dict[str, Any]) -> bool:
    """Whether an entry of `mounts` is the one that makes /dev."""
    return _place(mount["destination"]) == "/dev"


def _place(path: str) -> str:
    return normpath("/" + path.lstrip("/"))


def _make(pointer: str, device: dict[str, Any], owner: int = 0) -> Step:
    return steps.make_device(
        pointer, path=device["path"], mode=_TYPES[device["type"]] | device.get("fileMode", 0o666) & 0o7777,
        major=device.get("major", 0), minor=device.get("minor", 0), uid=device.get("uid", owner),
        gid=device.get("gid", owner),
    )  # fmt: skip


def _bind(pointer: str, device: dict[str, Any]) -> Step:
    mode = device.get("fileMode", -1)
    return steps.bind_device(
        pointer, source=device["path"], path=device["path"], type=_TYPES[device["type"]],
        major=device["major"], minor=device["minor"], mode=mode if mode < 0 else mode & 0o7777,
        uid=device.get("uid", -1), gid=device.get("gid", -1),
    )  # fmt: skip
