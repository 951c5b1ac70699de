"""What is told when a container's memory doesn't suffice to start its program in: the limit and the peak.

`paths` are as of Manager.paths(): a controller to its cgroup, "" to cgroup2's. Memory's is v1's or v2's.
"""

from __future__ import annotations

import os
from errno import E2BIG

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.steps import Step

_ENOUGH = 1 << 20  # bytes, more than what the set-up of a container is charged for
_BATCH = 256 << 10  # bytes that the kernel charges at once, if they are left
_MUCH_TO_PASS = 64 << 10  # characters of arguments and environment that no kernel minds


def check(memory: dict[str, Any]) -> None:
    """Refuse a limit at which, without an OOM killer, the set-up itself would wait for memory for ever.

    memory  the section, with disableOOMKiller, of v1's controller; v2 has no such switch
    """
    limit = memory.get("limit") or 0
    if 0 < limit < _ENOUGH:
        raise Error(
            f"within a limit of {limit} bytes and without the OOM killer, pyoci might wait for ever",
            code="invalid-config",
            pointer="/linux/resources/memory/disableOOMKiller",
            hint="1 MiB is enough to start in, beside what the program needs",
        )


def used_up(message: str, limit: int, most: int) -> Error:
    """The Error for too little memory; limit and peak in bytes, 0 where they aren't known."""
    figures = [f"a limit of {limit} bytes"] if limit else []
    figures += [f"a peak of {most} bytes"] if most else []
    return Error(
        ", ".join([f"{message}: its memory was used up", *figures]),
        pointer="/linux/resources/memory/limit" if limit else "/linux/cgroupsPath",
        hint="1 MiB is enough to start in, beside what the program needs",
    )


def peak(paths: dict[str, str]) -> int:
    """The most memory that was ever in use, in bytes; 0 where the kernel doesn't say, as v2 before 5.19."""
    return _number(paths, "memory.max_usage_in_bytes", "memory.peak")


def has_killed(paths: dict[str, str], before: int | None = None) -> bool:
    """Whether the kernel has killed a process of these cgroups for lack of memory.

    before  oom.kills() before the process was there: tells it where the cgroups are gone, as systemd removes
            a unit's with its last process
    """
    for name, file in (("memory", "memory.oom_control"), ("", "memory.events")):
        try:
            with open(f"{paths[name]}/{file}") as lines:
                counts = dict(line.split() for line in lines)
        except (KeyError, OSError):
            continue
        if counts.get("oom_kill", "0") != "0":
            return True
    if before is None or any(map(os.path.exists, paths.values())):
        return False
    from pyoci.cgroup import oom

    return oom.kills() > before


def behind(step: Step, error: int, pid: int, message: str) -> Error | None:
    """The Error for a step that failed because its process's cgroup was full, and nothing could be killed
    for it, as with disableOOMKiller; None if that isn't why.

    Of execve, E2BIG can mean that too: there is no memory for the arguments.
    """
    if error == E2BIG and not (step.op == "execute" and _passes_little(step)):
        return None
    from pyoci.cgroup import layout

    try:
        found = layout.detect(pid)
    except OSError:
        return None  # the process is gone
    paths = {name: each.mount + each.own for each in found.hierarchies for name in each.controllers}
    limit, most = _number(paths, "memory.limit_in_bytes", "memory.max"), peak(paths)
    full = limit and most > max(limit - _BATCH, limit // 2)
    return used_up(message, limit, most) if full else None


def _passes_little(step: Step) -> bool:
    argv, env = step.args[:2]
    assert isinstance(argv, (list, tuple)) and isinstance(env, (list, tuple))
    return sum(len(str(text)) for text in (*argv, *env)) < _MUCH_TO_PASS


def _number(paths: dict[str, str], v1: str, v2: str) -> int:
    for name, file in (("memory", v1), ("", v2)):
        try:
            with open(f"{paths[name]}/{file}") as value:
                return int(value.read())
        except (KeyError, OSError, ValueError):  # no such controller, no such file, "max"
            continue
    return 0
