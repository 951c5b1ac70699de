"""Scheduler and I/O priority set from outside: in a user namespace nobody may raise them (sched(7))."""

from __future__ import annotations

from pyoci._shim import lib
from pyoci.plan.scheduling import compile_priorities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_priorities(process: dict[str, Any], pid: int) -> None:
    """Set what `process` asks for on a process that waits. Error as if its own step had failed."""
    for step in compile_priorities(process, "/process"):
        value: Any = step.args[0]
        change = lib.shim_set_scheduler if step.op == "scheduler" else lib.shim_set_io_priority
        result = change(pid, value)
        if result < 0:
            from pyoci.lifecycle.failures import refused_step

            raise refused_step(step, -result)
