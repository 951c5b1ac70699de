"""Why a mount couldn't be idmapped: the kernel says EINVAL or EPERM of many things (mount_setattr(2))."""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM

from pyoci.host import mountinfo, privileges

# filesystem -> the first Linux in which it can be idmapped
SINCE = {
    "ext4": (5, 12),
    "msdos": (5, 12),
    "vfat": (5, 12),
    "xfs": (5, 12),
    "btrfs": (5, 15),
    "ntfs3": (5, 15),
    "f2fs": (5, 18),
    "erofs": (5, 19),
    "squashfs": (6, 2),
    "tmpfs": (6, 3),
    "ceph": (6, 7),
    "hugetlbfs": (6, 9),
    "fuse": (6, 12),
    "fuseblk": (6, 12),
    "virtiofs": (6, 12),
}


def explain(source: str, recursive: bool, error: int) -> tuple[str, str]:
    """What was found at the source of a mount that the kernel wouldn't idmap, and what would do."""
    if error == ENOSYS:
        return "this kernel knows no idmapped mounts", "they need Linux 5.12"
    mounts = _involved(source, recursive)
    for mount in mounts:
        if "idmapped" in mount.options:
            return f"{mount.point} is idmapped already", "bind what that mount was made from instead"
    if error == EPERM and not privileges.is_host_root():
        return (
            "the filesystem belongs to another user namespace",
            "only root of the namespace that mounted it, usually the host's, may map its owners",
        )
    running = _release()
    for mount in mounts:
        since = SINCE.get(mount.type)
        where = mount.type if mount is mounts[0] else f"{mount.type}, of which {mount.point} is one,"
        if since is None and mount.type == "overlay":
            return (
                f"the kernel can't idmap a filesystem of type {where}",
                "idmap what overlay is made of: its layers may be idmapped mounts since Linux 5.19",
            )
        if since is None:
            return (
                f"the kernel can't idmap a filesystem of type {where}",
                f"these can: {', '.join(sorted(SINCE))}",
            )
        if running < since:
            return (
                f"this kernel can't idmap a filesystem of type {where}",
                f"it needs Linux {since[0]}.{since[1]}, and this is {running[0]}.{running[1]}",
            )
        if mount.type.startswith("fuse"):
            return f"this server of type {where} doesn't allow it", "it has to support idmapped mounts itself"
    types = ", ".join(dict.fromkeys(mount.type for mount in mounts)) or "an unknown type"
    return f"a filesystem of type {types}", ""


def _involved(source: str, recursive: bool) -> list[mountinfo.Mount]:
    """The mount that the source is on, and (recursive) those below the source."""
    mounts = list(mountinfo.parse(mountinfo.read()))
    try:
        descriptor = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as lines:
            number = next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
    top = os.path.realpath(source).rstrip("/") + "/"
    return [
        *(mount for mount in mounts if mount.id == number),
        *(mount for mount in mounts if recursive and mount.point.startswith(top) and mount.id != number),
    ]


def _release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)
