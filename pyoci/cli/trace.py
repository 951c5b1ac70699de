"""How long each step of a plan took, for `pyoci run --trace`."""

from __future__ import annotations

import os
from time import monotonic_ns

from pyoci.plan.explain import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.steps import Step


class Trace:
    """Prints a line to stderr for each step: milliseconds since the step before, what it did, who asked."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before = monotonic_ns()

    def step(self, step: Step, now: int) -> None:
        """Tell a step that was done at `now`, nanoseconds of CLOCK_MONOTONIC."""
        os.write(2, line(step, now - self._before).encode("utf-8", "backslashreplace"))
        self._before = now


def line(step: Step, nanoseconds: int) -> str:
    """One line of a trace."""
    where = f"  {step.pointer}" if step.pointer else ""
    return f"{nanoseconds / 1e6:9.3f} ms  {sentence(step)}{where}\n"
