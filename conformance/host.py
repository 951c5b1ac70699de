"""The host as the suite sees it: processes, mounts, cgroups, and the few system calls Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNS = 0x00020000
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _refuse(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def setns(descriptor: int, kind: int) -> None:
    """setns(2); os.setns begins with Python 3.12."""
    _refuse(_libc.setns(descriptor, kind))


def unmount(point: str) -> None:
    """umount2(2) with MNT_DETACH."""
    _refuse(_libc.umount2(os.fsencode(point), 2))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (PR_SET_CHILD_SUBREAPER).

    So a container's process is this one's child once `create` returned: its exit status can be had,
    and whatever a runtime leaves running can be found.
    """
    _refuse(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat after the name: state, ppid, pgrp, ... (proc(5)); None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def children() -> dict[int, list[int]]:
    """Every process's children."""
    found: dict[int, list[int]] = {}
    for pid in pids():
        fields = stat_fields(pid)
        if fields is not None:
            found.setdefault(int(fields[1]), []).append(pid)
    return found


def descendants(of: int) -> list[int]:
    """Pids of all the processes below `of`, parents first."""
    tree = children()
    found: list[int] = []
    waiting = list(tree.get(of, ()))
    while waiting:
        pid = waiting.pop(0)
        found.append(pid)
        waiting.extend(tree.get(pid, ()))
    return found


def describe(pid: int) -> str:
    fields = stat_fields(pid)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = ""
    return f"process {pid} ({fields[0] if fields else 'gone'}) {words.strip()[:120]}"


def alive(pid: int) -> bool:
    """Whether the process exists and isn't a zombie."""
    fields = stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def namespaces(pid: int | str = "self") -> dict[str, int]:
    """Inode numbers of a process's namespaces, by the names of /proc/PID/ns."""
    found = {}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"):
        path = Path(f"/proc/{pid}/ns/{kind}")
        if path.exists():
            found[kind] = path.stat().st_ino
    return found


def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether `condition` came true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def reap(pid: int, seconds: float = 10.0) -> int | None:
    """Wait for an adopted child to end: its exit code, or minus the signal; None if it goes on.

    Also None for a process that isn't ours to wait for and has gone.
    """
    status: list[int] = []

    def ended() -> bool:
        try:
            found, code = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return not alive(pid)
        if found == pid:
            status.append(os.waitstatus_to_exitcode(code))
        return found == pid

    until(ended, seconds)
    return status[0] if status else None


def end(pid: int) -> None:
    """Kill one process of ours, and reap it if it is our child."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    reap(pid)


def mount_points(pid: int | str = "self") -> list[str]:
    """Mount points of a process's mount namespace, last mounted last, with their escapes undone."""
    found = []
    with open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            found.append(unescape(line.split(" ")[4]))
    return found


def unescape(text: str) -> str:
    r"""A field of mountinfo without its \ooo escapes (proc(5))."""
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return text
