"""What /proc says of a process: its state, its start time, its namespaces."""

from __future__ import annotations

import os

PROC = "/proc"


class Status:
    """What pyoci asks of /proc/PID/stat (proc_pid_stat(5)).

    state       one letter: R, S, D, Z, T, t, X, I
    start_time  clock ticks between boot and the process's start: with the pid, its identity
    """

    __slots__ = ("name", "parent", "pid", "session", "start_time", "state")

    def __init__(self, text: bytes) -> None:
        # The name may hold spaces, newlines and parentheses; nothing after it does.
        head, _, tail = text.rpartition(b")")
        pid, _, name = head.partition(b" (")
        fields = tail.split()
        self.pid = int(pid)
        self.name = os.fsdecode(name)
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.start_time = int(fields[19])

    @property
    def dead(self) -> bool:
        """Only its exit status is left: a zombie, or about to be none."""
        return self.state in "ZXx"


def read(path: str, within: int | None = None) -> bytes:
    """All of a file of /proc or of a cgroup; `within` is the directory that a path begins at, open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=within)
    try:
        text = part = os.read(descriptor, 65536)
        # A short read is not the end: the kernel gives as many whole records as fit in its page.
        while part:
            part = os.read(descriptor, 65536)
            text += part
        return text
    finally:
        os.close(descriptor)


def status(pid: int) -> Status | None:
    """The process's status, None when there is no such process."""
    try:
        return Status(read(f"{PROC}/{pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_time(pid: int) -> int | None:
    """Clock ticks between boot and the process's start (field 22 of stat); None when it is gone."""
    found = status(pid)
    return found.start_time if found else None


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that had this pid and start time still runs. A zombie doesn't."""
    found = status(pid)
    return found is not None and found.start_time == started and not found.dead


def ns_id(pid: int | str, kind: str) -> int:
    """The inode number of a namespace of a process; `kind` as in /proc/PID/ns.

    It is what `readlink` shows between brackets. OSError when the process is gone or the kernel
    has no such namespace.
    """
    return os.stat(f"{PROC}/{pid}/ns/{kind}").st_ino


def boot_id() -> str:
    """The kernel's random name for this boot: start times of another one mean nothing."""
    return read(f"{PROC}/sys/kernel/random/boot_id").decode().strip()
