"""Entering a running container: which of its namespaces differ from ours, under which pidfd."""

from __future__ import annotations

import os

from pyoci.errors import Error
from pyoci.host import privileges
from pyoci.plan.kernel import NAMESPACES

# The names of the links in /proc/PID/ns, namespaces(7)
_LINKS = {"network": "net", "mount": "mnt"}


class Joined:
    """A process whose namespaces are to be joined. close() when done.

    kinds      CLONE_NEW* of those that differ from the runtime's
    user       whether the user namespace is one of them
    maps_root  whether it is, and has a user 0 to become
    set_groups whether setgroups(2) is allowed there
    inner_pid  the process's own number in its pid namespace
    """

    __slots__ = ("inner_pid", "kinds", "maps_root", "pid", "pidfd", "set_groups", "user")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as error:
            raise _gone(pid, error) from None
        try:
            self.kinds = _different(pid)
            self.user = bool(self.kinds & NAMESPACES["user"])
            self.maps_root = self.user and _maps_root(pid)
            self.set_groups = privileges.may_set_groups(pid)
            self.inner_pid = _inner_pid(pid)
        except OSError as error:
            self.close()
            raise _gone(pid, error) from None

    def close(self) -> None:
        os.close(self.pidfd)


def _different(pid: int) -> int:
    kinds = 0
    for kind, flag in NAMESPACES.items():
        link = _LINKS.get(kind, kind)
        try:
            if os.readlink(f"/proc/{pid}/ns/{link}") != os.readlink(f"/proc/self/ns/{link}"):
                kinds |= flag
        except FileNotFoundError:
            if not os.path.exists(f"/proc/{pid}/ns"):
                raise
            continue  # a kernel without this kind
    return kinds


def _maps_root(pid: int) -> bool:
    with open(f"/proc/{pid}/uid_map") as lines:
        return any(line.split()[0] == "0" for line in lines)


def _inner_pid(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def _gone(pid: int, error: OSError) -> Error:
    return Error(
        f"can't look at the namespaces of process {pid}: {os.strerror(error.errno or 0).lower()}",
        errno=error.errno or 0,
        hint="the container may just have stopped",
    )
