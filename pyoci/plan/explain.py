"""Telling a plan to people and programs: each step, who does it, and which property asked for it."""

from __future__ import annotations

from pyoci.plan.identity import RLIMITS
from pyoci.plan.kernel import NAMESPACES
from pyoci.plan.steps import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.plan.plan import Plan
    from pyoci.plan.steps import Step

SHOWN_CHARACTERS = 60  # of a long argument


def sentence(step: Step, longest: int = SHOWN_CHARACTERS) -> str:
    """What a step does, as in the step table, with its arguments filled in, each cut off at `longest`."""
    _, says, names, _ = TABLE[step.op]
    return says.format(
        **{name: _shown(name, value, longest) for name, value in zip(names, step.args, strict=True)}
    )


def _shown(name: str, value: object, longest: int) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if name in _NAMED:
        value = _NAMED[name](value)
    text = " ".join(str(value).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _namespace(flag: object) -> str:
    return next((name for name, bit in NAMESPACES.items() if bit == flag), str(flag))


def _limit(value: object) -> str:
    return "infinity" if value == -1 else str(value)


# arguments that are numbers to the kernel and have names for people
_NAMED: dict[str, Callable[[Any], str]] = {
    "kind": _namespace,
    "resource": RLIMITS.__getitem__,
    "soft": _limit,
    "hard": _limit,
}


def actors(plan: Plan) -> list[str]:
    """For each step, the process that does it: `stage` until the clone, then `init`."""
    result = []
    actor = "stage" if plan.staged else "init"
    for step in plan.steps:
        result.append("runtime" if step.op == "wait_runtime" else actor)
        if step.op == "clone":
            actor = "init"
    return result


def document(plan: Plan) -> list[dict[str, Any]]:
    """The plan as JSON-able objects: step, actor, operation, arguments, pointer, says."""
    result = []
    for index, (step, actor) in enumerate(zip(plan.steps, actors(plan), strict=True)):
        names = TABLE[step.op][2]
        arguments = {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in zip(names, step.args, strict=True)
        }
        result.append(
            {
                "step": index,
                "actor": actor,
                "operation": step.op,
                "arguments": arguments,
                "pointer": step.pointer,
                "says": sentence(step),
            }
        )
    return result


def lines(plan: Plan) -> list[str]:
    """The plan as a table for people."""
    rows = [
        (str(index), actor, sentence(step), step.pointer)
        for index, (step, actor) in enumerate(zip(plan.steps, actors(plan), strict=True))
    ]
    widest = max((len(row[2]) for row in rows), default=0)
    return [f"{row[0]:>3}  {row[1]:<7}  {row[2]:<{min(widest, 76)}}  {row[3]}".rstrip() for row in rows]
