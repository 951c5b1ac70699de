"""Runtimes side by side: the same bundle under each, and what its process sees differently."""

from __future__ import annotations

import fnmatch
import secrets
from dataclasses import dataclass, field
from functools import partial

from conformance import cgroups, executions, host, views
from conformance.accessed import ACCESSED
from conformance.cases import CASES, asked
from conformance.console import Console
from conformance.explained import EXPLAINED
from conformance.explained_limits import EXPLAINED_LIMITS
from conformance.explanation import Explanation
from conformance.harness import World, succeeds
from conformance.limited import LIMITED, REFUSED
from conformance.registry import Violation, check
from conformance.updates import UPDATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from conformance.harness import Container
    from conformance.runtime import Runtime

ABSENT = "(absent)"


@dataclass
class Difference:
    """A fact that is not the same under all runtimes; `reasons` say why, unless it is unexplained."""

    case: str
    fact: str
    values: dict[str, object]
    reasons: list[str] = field(default_factory=list)

    @property
    def explained(self) -> bool:
        return bool(self.reasons)


def look(container: Container, words: list[str]) -> dict[str, Any]:
    """What is to be seen of a container from inside and, while it runs, from outside."""
    container.run_probe(*words, "--hold")
    container.started()

    def whole() -> bool:
        assert container.output is not None
        return container.output.read_text(errors="replace").endswith("}\n")

    check(host.until(whole), "the probe printed nothing")
    seen = views.normalise(container.read_view(), container.world.runtime.namespaces())
    seen.update(views.outside(container, cgroups.limits(container.pid)))
    succeeds(container.kill("TERM"))
    seen["exit code"] = container.wait()
    succeeds(container.delete())
    return seen


def look_at_terminal(container: Container, words: list[str]) -> dict[str, Any]:
    with Console(container) as console:
        seen = views.normalise(console.view(*words), container.world.runtime.namespaces())
    succeeds(container.delete())
    return seen


@dataclass(frozen=True)
class Subject:
    """What runtimes are compared on: cases, each of which makes its container and tells what is to be seen
    of it, and the known differences.
    """

    cases: dict[str, Callable[[World], dict[str, Any]]]
    explained: tuple[Explanation, ...]


def facts(look_at: Callable[[World], dict[str, Any]], world: World) -> dict[str, object]:
    """All the facts of a case under a runtime, or the one fact that it failed."""
    try:
        seen = look_at(world)
    except Violation as violation:
        seen = {"failure": str(violation)}
    left = world.close()
    if left:
        seen["left behind"] = "; ".join(left)
    return views.flatten(seen)


def _view(case: str, world: World) -> dict[str, Any]:
    container = CASES[case](world)
    terminal = container.config["process"].get("terminal")
    return (look_at_terminal if terminal else look)(container, asked(case))


PROCESSES = Subject(
    {
        **{case: partial(_view, case) for case in CASES},
        **{case: partial(executions.look, execution) for case, execution in executions.EXECUTIONS.items()},
    },
    EXPLAINED,
)
LIMITS = Subject({**LIMITED, **UPDATED, **ACCESSED}, EXPLAINED_LIMITS)


def differing(case: str, seen: dict[str, dict[str, object]]) -> Iterator[Difference]:
    """Facts that are not the same for all runtimes; of one that failed altogether, only that.

    What all of them refuse is the same; failures that nobody foresaw never are.
    """
    failed = {name: found["failure"] for name, found in seen.items() if "failure" in found}
    if failed and not all(failed.get(name) == REFUSED for name in seen):
        yield Difference(case, "failure", {name: failed.get(name, ABSENT) for name in seen})
    rest = {name: found for name, found in seen.items() if name not in failed}
    for fact in sorted({fact for found in rest.values() for fact in found}):
        values = {name: found.get(fact, ABSENT) for name, found in rest.items()}
        if len({repr(value) for value in values.values()}) > 1:
            yield Difference(case, fact, values)


def applies(one: Explanation, difference: Difference, kind: str) -> bool:
    return (
        one.runtime == kind
        and fnmatch.fnmatchcase(difference.case, one.case)
        and fnmatch.fnmatchcase(difference.fact, one.fact)
    )


def explain(
    difference: Difference, kinds: dict[str, str], known: tuple[Explanation, ...], used: set[Explanation]
) -> None:
    """Give the difference its reasons: explanations of runtimes' values that leave the others agreeing.

    Of three and more runtimes, two at least must agree, as they are or with their deviations undone.
    """
    reasons: list[str] = []
    agreeing: list[object] = []
    for name, value in difference.values.items():
        one = next((one for one in known if applies(one, difference, kinds[name])), None)
        if one is None:
            agreeing.append(value)
            continue
        used.add(one)
        reasons.append(f"{one.runtime}: {one.reason}")
        if one.undo is not None:
            agreeing.append(one.undo(str(value)))
    enough = min(2, len(difference.values) - 1)
    if len(agreeing) >= enough and len({repr(value) for value in agreeing}) <= 1:
        difference.reasons = reasons


def _meant(part: str, case: str, subject: Subject) -> bool:
    """Whether a case is asked for: by its name, or by part of it that isn't another's name."""
    return part == case or (part in case and part not in subject.cases)


def compare(
    runtimes: list[Runtime], template: Path, scratch: Path, only: list[str], subject: Subject = PROCESSES
) -> Comparison:
    """Run each case under each runtime, in the same place under the same name."""
    result = Comparison([runtime.label for runtime in runtimes])
    kinds = {runtime.label: runtime.kind for runtime in runtimes}
    for case, look_at in subject.cases.items():
        if only and not any(_meant(part, case, subject) for part in only):
            continue
        token = f"cf{secrets.token_hex(3)}"
        place = scratch / f"compare-{case.replace(' ', '-').replace(':', '')}"
        seen = {r.label: facts(look_at, World(r, template, place, token)) for r in runtimes}
        result.sizes[case] = max(map(len, seen.values()))
        for difference in differing(case, seen):
            explain(difference, kinds, subject.explained, result.used)
            result.differences.append(difference)
    # Two that deviate alike don't differ: only beside a third is an explanation known to be of no use.
    if len(runtimes) > 2:
        left_out = subject.cases.keys() - result.sizes.keys()
        result.stale = [
            one
            for one in subject.explained
            if one not in result.used
            and one.runtime in kinds.values()
            and not any(fnmatch.fnmatchcase(case, one.case) for case in left_out)
        ]
    return result


@dataclass
class Comparison:
    """The outcome: differences of all cases, numbers of facts compared, and explanations nothing needed."""

    runtimes: list[str]
    differences: list[Difference] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    used: set[Explanation] = field(default_factory=set)
    stale: list[Explanation] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Difference]:
        return [difference for difference in self.differences if not difference.explained]

    def record(self) -> dict[str, object]:
        return {
            "runtimes": self.runtimes,
            "facts": self.sizes,
            "differences": [
                {"case": d.case, "fact": d.fact, "values": d.values, "reasons": d.reasons}
                for d in self.differences
            ],
            "stale": [f"{one.runtime}: {one.case}: {one.fact}" for one in self.stale],
        }

    def lines(self) -> Iterator[str]:
        """The report as text: unexplained differences with every value, the explained ones by reason."""
        for case, size in self.sizes.items():
            own = [d for d in self.differences if d.case == case]
            unknown = [d for d in own if not d.explained]
            known = len(own) - len(unknown)
            yield f"{case}: {size} facts, {known} differ for known reasons, {len(unknown)} unexplained"
            for difference in unknown:
                yield f"  {difference.fact}"
                yield from (f"    {name:8} {value!r}" for name, value in difference.values.items())
            reasons: dict[str, list[str]] = {}
            for difference in own:
                for reason in difference.reasons:
                    reasons.setdefault(reason, []).append(difference.fact)
            for reason, about in reasons.items():
                yield f"  {reason}"
                yield f"    ({', '.join(about[:4])}{f' and {len(about) - 4} more' if len(about) > 4 else ''})"
        for one in self.stale:
            yield f"stale explanation, nothing differs so: {one.runtime}: {one.case}: {one.fact}"
