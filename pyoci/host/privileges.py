"""What pyoci itself may do, and so hand on: its capabilities, and whether the host's root is its."""

from __future__ import annotations

import os

from pyoci.host import procfs


def bounding_set() -> int:
    """The mask of capabilities that a child of ours can have, proc(5) CapBnd."""
    return _status("CapBnd")


def _status(name: str) -> int:
    _, _, rest = procfs.read("/proc/self/status").partition(name.encode() + b":")
    return int(rest.split(None, 1)[0], 16)


def last_capability() -> int:
    """The number of the newest capability this kernel knows, capabilities(7)."""
    return int(procfs.read("/proc/sys/kernel/cap_last_cap"))


def in_initial_user_namespace() -> bool:
    """Whether user ids here are the host's: its map is the identity (user_namespaces(7))."""
    return procfs.read("/proc/self/uid_map").split() == [b"0", b"0", b"4294967295"]


def may_set_groups(pid: int | str = "self") -> bool:
    """Whether setgroups(2) is allowed in a process's user namespace, user_namespaces(7)."""
    return procfs.read(f"/proc/{pid}/setgroups").strip() == b"allow"


def outer_uid() -> int:
    """Our user as the user namespace around ours knows it: who root of podman's is on the host."""
    uid = os.geteuid()
    outside = mapped_uid("self", uid)
    return uid if outside < 0 else outside


def mapped_uid(pid: int | str, uid: int) -> int:
    """Whom a process knows as `uid`, as we know him (as the namespace around ours does, of ourselves);
    -1 for one who isn't mapped."""
    for line in procfs.read(f"/proc/{pid}/uid_map").splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return -1


def is_host_root() -> bool:
    """Whether we may write any mapping and enter any namespace."""
    return os.geteuid() == 0 and in_initial_user_namespace()
