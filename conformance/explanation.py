"""What explains that a fact isn't the same under all runtimes."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Explanation:
    """Why a runtime's facts that match `fact` (fnmatch; in cases that match `case`) differ from others'.

    `undo` makes of the value what it would be without the deviation. Where two of three runtimes deviate
    it must be given, or the third could say anything.
    """

    runtime: str
    fact: str
    reason: str
    case: str = "*"
    undo: Callable[[str], object] | None = None


def each(
    runtime: str,
    reason: str,
    *facts: str,
    case: str = "*",
    undo: Callable[[str], object] | None = None,
) -> list[Explanation]:
    """The same explanation for several facts."""
    return [Explanation(runtime, fact, reason, case, undo) for fact in facts]


def be(value: object) -> Callable[[str], object]:
    """For `undo`: whatever the value is, it would be this."""
    return lambda _: value


def replace(old: str, new: str) -> Callable[[str], object]:
    """For `undo`: the value with the first `old` in it replaced."""
    return lambda value: value.replace(old, new, 1)
