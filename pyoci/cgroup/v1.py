"""cgroup v1: a group in one hierarchy, and the freezer (cgroups(7), freezer-subsystem.rst)."""

from __future__ import annotations

import os
from time import monotonic, sleep

from pyoci.cgroup import files
from pyoci.errors import Error

FREEZE_SECONDS = 10.0


class Group:
    """A container's cgroup in one v1 hierarchy.

    controllers  what is mounted there together; mount and path are absolute
    """

    __slots__ = ("controllers", "mount", "path")

    version = 1

    def __init__(self, controllers: list[str], mount: str, path: str) -> None:
        self.controllers = controllers
        self.mount = mount
        self.path = path

    def make(self, made: list[str]) -> None:
        """Makes the cgroup and what parents it lacks, noting each. FileExistsError if it is there."""
        make(self.mount, self.path, made)
        self.prepare()

    def prepare(self) -> None:
        """Makes a cgroup that is there able to take processes."""
        if "cpuset" in self.controllers:
            fill_cpuset(self.mount, self.path)

    def frozen(self) -> bool:
        """Whether it, or a cgroup above it, is or is becoming frozen."""
        return "freezer" in self.controllers and state(self.path) not in ("THAWED", "")


def make(mount: str, path: str, made: list[str]) -> None:
    """mkdir -p below a mount. FileExistsError only for the last directory."""
    lacking = [path]
    while lacking:
        try:
            os.mkdir(lacking[-1], 0o755)
        except FileNotFoundError:
            parent = lacking[-1].rpartition("/")[0]
            if len(parent) <= len(mount):
                raise
            lacking.append(parent)
        except FileExistsError:
            if len(lacking) == 1:
                raise
            lacking.pop()  # another container made it since
        else:
            made.append(lacking.pop())


def fill_cpuset(mount: str, path: str) -> None:
    """Gives a cpuset its parent's CPUs and memory nodes: with none, it refuses every process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        empty, group = [], path
        while not (value := files.read(f"{group}/{name}")) and group != mount:
            empty.append(group)
            group = group.rpartition("/")[0]
        for one in reversed(empty):
            files.write(f"{one}/{name}", value)


def state(path: str) -> str:
    """freezer.state: THAWED, FREEZING or FROZEN; "" when the cgroup is gone."""
    try:
        return files.read(f"{path}/freezer.state")
    except FileNotFoundError:
        return ""


def freeze(path: str) -> None:
    """Stops every process in a freezer cgroup and below. Error (timeout) leaves it thawed."""
    deadline = monotonic() + FREEZE_SECONDS
    turn = 0
    while True:
        # The kernel gathers the state of the tasks only when asked, and a task that forks while
        # the signal is on its way may be missed until the request is repeated.
        files.write(f"{path}/freezer.state", "FROZEN")
        if state(path) == "FROZEN":
            return
        if monotonic() > deadline:
            files.write(f"{path}/freezer.state", "THAWED")
            raise Error(
                f"{path} did not freeze within {FREEZE_SECONDS:.0f} s and is thawed again",
                code="timeout",
                pointer=files.PATH,
                hint="a process in it is in an uninterruptible wait",
            )
        turn += 1
        if turn % 50 == 0:
            # A task stuck between the two (vfork, ptrace) gets on only when it is let run.
            files.write(f"{path}/freezer.state", "THAWED")
            sleep(0.01)
        # v1's freezer has no event to wait for.
        sleep(0.001)


def thaw(path: str) -> None:
    """Lets a freezer cgroup run. One that is frozen from above stays frozen: Error (wrong-state)."""
    files.write(f"{path}/freezer.state", "THAWED")
    if state(path) not in ("THAWED", ""):
        raise Error(
            f"{path} stays frozen, because a cgroup above it is frozen",
            code="wrong-state",
            pointer=files.PATH,
        )


def thaw_below(path: str) -> None:
    """Thaws every cgroup below and the one itself, each that was frozen in its own right."""
    for name, within in files.tree(path, ours=True):
        try:
            files.write(f"{name}/freezer.state", "THAWED", within)
        except FileNotFoundError:
            continue
