"""What is set on a waiting process from outside, by who may: inside it would be refused, or too late."""

from __future__ import annotations

import os

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_oom_score(pid: int, adjustment: int) -> None:
    """proc(5), /proc/PID/oom_score_adj; lowering it needs CAP_SYS_RESOURCE."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(adjustment))
    except OSError as error:
        raise Error(
            f"the kernel refused {adjustment} as OOM score: {os.strerror(error.errno or 0).lower()}",
            code="permission",
            pointer="/process/oomScoreAdj",
            errno=error.errno or 0,
            hint="lowering it below pyoci's own needs CAP_SYS_RESOURCE",
        ) from None


def set_for_user_namespace(process: dict[str, Any], pid: int) -> None:
    """What nobody may raise inside a user namespace: priorities, and resource limits (prlimit(2))."""
    if process.get("scheduler") or process.get("ioPriority"):
        _set_priorities(process, pid)
    if process.get("rlimits"):
        _set_limits(process, pid)


def _set_priorities(process: dict[str, Any], pid: int) -> None:
    """Scheduler and I/O priority (sched(7)). Error as if its own step had failed."""
    from pyoci._shim import lib
    from pyoci.plan.scheduling import compile_priorities

    for step in compile_priorities(process, "/process"):
        value: Any = step.args[0]
        change = lib.shim_set_scheduler if step.op == "scheduler" else lib.shim_set_io_priority
        result = change(pid, value)
        if result < 0:
            from pyoci.lifecycle.failures import refused_step

            raise refused_step(step, -result)


def _set_limits(process: dict[str, Any], pid: int) -> None:
    from resource import prlimit

    from pyoci.plan.identity import rlimit_values

    for index, number, soft, hard in rlimit_values(process):
        try:
            prlimit(pid, number, (soft, hard))
        except OSError as error:
            from pyoci.lifecycle.failures import refused_limit

            pointer = f"/process/rlimits/{index}"
            raise refused_limit(pointer, number, soft, hard, error.errno or 0) from None
