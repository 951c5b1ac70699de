"""Requirements: how one is written down, and how it is tried and judged."""

from __future__ import annotations

import time
import traceback
from dataclasses import asdict, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness import World

MUST = "MUST"
SHOULD = "SHOULD"


class Violation(AssertionError):
    """The runtime did not do what the requirement says; the message says what it did."""


class Skip(Exception):
    """This machine can't show whether the requirement holds; the message says why."""


@dataclass(frozen=True)
class Requirement:
    """One demand of the specification and the function that tries it."""

    name: str
    section: str
    level: str
    text: str
    test: Callable[[World], None]
    # Runtime's name -> what it does instead. A deviation explains a failure, it never excuses it.
    deviations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of one requirement: `result` is pass, fail or skip, `detail` its reason."""

    name: str
    section: str
    level: str
    text: str
    result: str
    detail: str
    seconds: float
    deviation: str | None = None

    def record(self) -> dict[str, object]:
        return asdict(self)


_all: dict[str, Requirement] = {}


def requirement(
    section: str, level: str = MUST, *, deviations: dict[str, str] | None = None
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Register a function as the trial of a requirement of `section` (`file.md#anchor`).

    Its name is the module's and the function's; its text is the docstring's first paragraph.
    """

    def register(test: Callable[[World], None]) -> Callable[[World], None]:
        subject = test.__module__.rsplit(".", 1)[-1]
        name = f"{subject}.{test.__name__.replace('_', '-')}"
        text = " ".join((test.__doc__ or "").split("\n\n")[0].split())
        if not text:
            raise TypeError(f"{name} has no docstring to say what is required")
        if name in _all:
            raise TypeError(f"{name} is registered twice")
        _all[name] = Requirement(name, section, level, text, test, deviations or {})
        return test

    return register


def registered() -> list[Requirement]:
    """All requirements of the modules that were imported."""
    return list(_all.values())


def check(condition: object, message: str) -> None:
    """Raise Violation with `message` unless `condition` holds."""
    if not condition:
        raise Violation(message)


def equal(found: object, expected: object, what: str) -> None:
    """Raise Violation unless `what` was found as expected."""
    check(found == expected, f"{what}: expected {expected!r}, found {found!r}")


def judge(one: Requirement, world: World) -> Outcome:
    """Try a requirement in a world of its own.

    What a runtime leaves behind after a requirement it otherwise met is a violation too.
    """
    began = time.monotonic()
    result, detail = "pass", ""
    try:
        one.test(world)
    except Skip as reason:
        result, detail = "skip", str(reason)
    except Violation as violation:
        result, detail = "fail", str(violation)
    except Exception:
        result, detail = "fail", traceback.format_exc()
    finally:
        # Also when the suite itself is interrupted.
        leftovers = world.close()
    if leftovers and result == "pass":
        result, detail = "fail", "left behind: " + "; ".join(leftovers)
    deviation = one.deviations.get(world.runtime.kind) if result == "fail" else None
    seconds = time.monotonic() - began
    return Outcome(one.name, one.section, one.level, one.text, result, detail, seconds, deviation)
