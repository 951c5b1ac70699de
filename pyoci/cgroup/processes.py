"""Signalling and waiting for all processes of a cgroup, without mistaking a reused pid for one of them."""

from __future__ import annotations

import os
import select
from _signal import pidfd_send_signal
from time import monotonic, sleep

from pyoci.cgroup import files
from pyoci.host import procfs

LOT = 512  # processes that are signalled together: for each lot the cgroup is listed


def signal_all(path: str, number: int) -> set[int]:
    """Sends a signal to every process in a cgroup and below; the pids that got it."""
    found = files.processes(path)
    # A container may have more processes than we may have files open.
    size = max(1, min(LOT, os.sysconf("SC_OPEN_MAX") // 2))
    lots = (found[begin : begin + size] for begin in range(0, len(found), size))
    return set().union(*(_signal(path, lot, number) for lot in lots))


def _signal(path: str, pids: list[int], number: int) -> set[int]:
    """Signals those of the processes that are in a cgroup and below.

    Each pidfd is opened before the list is read once more: who is in it then is who the pidfd is for.
    """
    opened: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                opened[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        reached = opened.keys() & set(files.processes(path)) if opened else set()
        for pid in reached:
            try:
                pidfd_send_signal(opened[pid], number)
            except ProcessLookupError:
                continue
        return reached
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def signal_until_stable(path: str, number: int, seconds: float) -> bool:
    """Signals everything, then whatever has been forked meanwhile; False if new ones never cease."""
    deadline = monotonic() + seconds
    reached: set[int] = set()
    while True:
        now = signal_all(path, number)
        if now <= reached:
            return True
        reached |= now
        if monotonic() > deadline:
            return False


def wait_exits(path: str, seconds: float) -> bool:
    """Waits until no process is left in a cgroup and below, woken by their exits; False if some are."""
    deadline = monotonic() + seconds
    while True:
        pids = files.processes(path)
        left = deadline - monotonic()
        if not pids or left <= 0:
            return not pids
        try:
            descriptor = os.pidfd_open(pids[0])
        except ProcessLookupError:
            # Exiting: the kernel takes it off the list a moment after its pid is free.
            sleep(0.001)
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(left * 1000)
        finally:
            os.close(descriptor)
        if pids[0] in files.own_processes(path):
            sleep(0.001)


def describe(pids: list[int]) -> str:
    """The processes for an error message: pid, name, state and, where it tells, the kernel's wait."""
    parts = []
    for pid in pids[:5]:
        found = procfs.status(pid)
        if found:
            parts.append(f"{pid} ({printable(found.name)}, {found.state}{_wait(pid)})")
    if len(pids) > 5:
        parts.append(f"{len(pids) - 5} more")
    return ", ".join(parts)


def printable(name: str) -> str:
    """A name that somebody in a container has given, so that it writes no lines and moves no cursor."""
    return "".join(one if one.isprintable() else "?" for one in name)


def _wait(pid: int) -> str:
    try:
        where = files.read(f"/proc/{pid}/wchan")
    except OSError:
        return ""
    return f" in {where}" if where not in ("", "0") else ""
