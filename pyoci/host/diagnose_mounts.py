"""Finding out why a mount was refused: looked at only after the failure, for a message that helps.

The kernel says EPERM to all of it. What a mount namespace got from one with other owners it keeps as it
was: flags that are set may not be taken away there, times of access not be kept otherwise, and a new
proc or sysfs must show no more than the old one did (mount_namespaces(7)).
"""

from __future__ import annotations

import os

from pyoci.host import mountinfo
from pyoci.plan.kernel import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

_FLAGS = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
}
_NAMES = {
    **_FLAGS,
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
    "nodiratime": MOUNT_ATTR_NODIRATIME,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}


def names(attributes: int) -> str:
    """MOUNT_ATTR_ bits as mount options: "ro, nosuid"."""
    if attributes & MOUNT_ATTR_ATIME == MOUNT_ATTR_ATIME:  # cleared to make room for another
        attributes &= ~MOUNT_ATTR_ATIME
        return ", ".join(filter(None, (names(attributes), "atime")))
    return ", ".join(name for name, bit in _NAMES.items() if attributes & bit)


def locking(pid: int, path: str, change: tuple[int, int], below: tuple[int, int]) -> str:
    """Which mount has a flag that `change`, or for mounts below it too `below`, would take away.

    pid     a process in the mount namespace
    path    what is or was to be bound, as the process sees it
    change  MOUNT_ATTR_ set, and cleared; of the mount that holds path
    """
    path = os.path.realpath(path)
    mounts = list(mountinfo.parse(mountinfo.read(pid)))
    holder = None
    for mount in mounts:  # a later one covers an earlier
        if _is_below(path, mount.point) and (not holder or len(mount.point) >= len(holder.point)):
            holder = mount
    for mount in mounts:
        both = below[0] | change[0], below[1] | change[1]
        wanted = both if mount is holder else below
        if mount is holder or _is_below(mount.point, path):
            found = _taken_away(mount, *wanted)
            if found:
                return f"{found} of the {mount.type} on {mount.point} is locked"
    return ""


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _taken_away(mount: mountinfo.Mount, set_: int, clear: int) -> str:
    for name, bit in _FLAGS.items():
        if name in mount.options and clear & bit and not set_ & bit:
            return name
    times = next((name for name in ("noatime", "relatime") if name in mount.options), "strictatime")
    if (set_ | clear) & MOUNT_ATTR_ATIME and times != _times(set_):
        return times
    diratime = "nodiratime" in mount.options
    if (set_ if not diratime else clear & ~set_) & MOUNT_ATTR_NODIRATIME:
        return "nodiratime" if diratime else "diratime"
    return ""


def _times(attributes: int) -> str:
    if attributes & MOUNT_ATTR_NOATIME:
        return "noatime"
    return "strictatime" if attributes & MOUNT_ATTR_STRICTATIME else "relatime"


def covered(pid: int, kind: str) -> str:
    """What keeps a user namespace from a new `proc` or `sysfs`: the mounts over parts of the old one."""
    mounts = list(mountinfo.parse(mountinfo.read(pid)))
    whole = [mount for mount in mounts if mount.type == kind and mount.root == "/"]
    if not whole:
        return f"no whole {kind} is mounted where pyoci runs"
    over = [f"{mount.type} on {mount.point}" for mount in mounts if mount.parent in {one.id for one in whole}]
    if over:
        return f"parts of the {kind} on {whole[0].point} are covered: {', '.join(over[:4])}"
    return f"the {kind} on {whole[0].point} is mounted {','.join(whole[0].options)}"


def unreachable(path: str) -> str:
    """How far along a path one comes: the first name that isn't there, or leads no further."""
    at = "/"
    for name in filter(None, path.split("/")):
        if not os.path.isdir(at):
            return f"{at} isn't a directory"
        if not os.path.lexists(os.path.join(at, name)):
            return f"{at} has no {name}"
        at = os.path.join(at, name)
        if os.path.islink(at) and not os.path.exists(at):
            return f"{at} is a symbolic link to {os.readlink(at)}, which isn't there"
    return ""
