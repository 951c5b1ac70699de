"""Compiling /dev: the default devices and links, and linux.devices (config-linux.md#devices)."""

from __future__ import annotations

from pyoci.plan import steps
from pyoci.plan.kernel import S_IFBLK, S_IFCHR, S_IFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
# runtime-linux.md#dev-symbolic-links, and ptmx of the container's own devpts
DEFAULT_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


def compile_devices(config: dict[str, Any], *, bound: bool) -> list[Step]:
    """Device nodes and links. With `bound`, inside a user namespace, the host's own nodes are bind
    mounted: the kernel lets no one else make a device there (mknod(2), EPERM)."""
    if _dev_is_bound(config):
        return []  # the host's own /dev, or an engine's: it is complete, and not ours to write to
    plan: list[Step] = []
    asked = {device["path"] for device in (config.get("linux") or {}).get("devices") or ()}
    for name, major, minor in DEFAULT_DEVICES:
        if "/dev/" + name not in asked:
            plan.append(_node("/linux", "/dev/" + name, S_IFCHR | 0o666, major, minor, -1, -1, bound))
    for index, device in enumerate((config.get("linux") or {}).get("devices") or ()):
        plan.append(
            _node(
                f"/linux/devices/{index}",
                device["path"],
                _TYPES[device["type"]] | device.get("fileMode", 0o666) & 0o7777,
                device.get("major", 0),
                device.get("minor", 0),
                device.get("uid", 0),
                device.get("gid", 0),
                bound,
            )
        )
    for name, value in DEFAULT_LINKS:
        plan.append(steps.make_symlink("/linux", value=value, path="/dev/" + name, replace=0))
    if any(mount.get("destination") == "/dev/pts" for mount in config.get("mounts") or ()):
        plan.append(steps.make_symlink("/linux", value="pts/ptmx", path="/dev/ptmx", replace=1))
    return plan


def _dev_is_bound(config: dict[str, Any]) -> bool:
    return any(
        mount["destination"].rstrip("/") == "/dev"
        and not {"bind", "rbind"}.isdisjoint(mount.get("options") or ())
        for mount in config.get("mounts") or ()
    )


def _node(
    pointer: str, path: str, mode: int, major: int, minor: int, uid: int, gid: int, bound: bool
) -> Step:
    if bound and mode & S_IFIFO != S_IFIFO:
        return steps.mount_bind(
            pointer, source=path, tree="", target=path, recursive=0, set=0, clear=0, rset=0, rclear=0,
            propagation=0, flags=0,
        )  # fmt: skip
    return steps.make_device(pointer, path=path, mode=mode, major=major, minor=minor, uid=uid, gid=gid)
