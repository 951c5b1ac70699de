"""`python -m conformance`: hold a runtime to the specification, or compare runtimes side by side."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from conformance import host
from conformance.compare import LIMITS, PROCESSES, Subject, compare
from conformance.registry import MUST, Outcome
from conformance.runtime import Runtime
from conformance.suite import Suite, requirements


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--runtime", metavar="PATH", help="the runtime to try, requirement by requirement")
    parser.add_argument(
        "--compare", metavar="PATH", nargs="+", help="runtimes to run side by side (with --runtime)"
    )
    parser.add_argument(
        "--limits",
        action="store_true",
        help="with --compare: the cgroups' control files after resources, not what a process sees",
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="part of a requirement's, or a bundle's, name",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--list", action="store_true", help="the requirements, without trying them")
    return parser.parse_args()


def show_list(only: list[str], as_json: bool) -> None:
    chosen = requirements(only)
    if as_json:
        print(
            json.dumps(
                [{"name": r.name, "section": r.section, "level": r.level, "text": r.text} for r in chosen]
            )
        )
        return
    for one in chosen:
        print(f"{one.level:6} {one.name}  [{one.section}]\n       {one.text}")


def show_outcome(outcome: Outcome) -> None:
    print(f"{outcome.result:4} {outcome.level:6} {outcome.name}  [{outcome.section}]", flush=True)
    if outcome.result != "pass":
        print("     " + outcome.detail.replace("\n", "\n     "))
    if outcome.deviation:
        print(f"     known deviation: {outcome.deviation}")


def summary(outcomes: list[Outcome]) -> str:
    def count(result: str, level: str | None = None) -> int:
        return sum(o.result == result and level in (None, o.level) for o in outcomes)

    return (
        f"{len(outcomes)} requirements: {count('pass')} pass, {count('fail', MUST)} MUST fail, "
        f"{count('fail', 'SHOULD')} SHOULD fail, {count('skip')} skipped"
    )


def hold_to_specification(path: str, only: list[str], as_json: bool, scratch: Path) -> bool:
    """Try the requirements and report. True if no MUST failed."""
    runtime = Runtime(path, scratch)
    outcomes: list[Outcome] = []
    try:
        for outcome in Suite(scratch).hold(runtime, only):
            outcomes.append(outcome)
            if not as_json:
                show_outcome(outcome)
    finally:
        runtime.close()
    if as_json:
        records = [outcome.record() for outcome in outcomes]
        print(json.dumps({"runtime": path, "version": runtime.version, "outcomes": records}, indent=1))
    else:
        print(summary(outcomes), f"({runtime.version.splitlines()[0]})")
    return not any(o.result == "fail" and o.level == MUST for o in outcomes)


def show_comparison(
    paths: list[str], subject: Subject, only: list[str], as_json: bool, scratch: Path
) -> bool:
    """Run the bundles under each runtime and report. True if every difference is explained."""
    runtimes: list[Runtime] = []
    for number, path in enumerate(paths):
        own = scratch / f"runtime-{number}"
        own.mkdir()
        runtimes.append(Runtime(path, own))
    try:
        comparison = compare(runtimes, Suite(scratch).template, scratch, only, subject)
    finally:
        for runtime in runtimes:
            runtime.close()
    if as_json:
        print(json.dumps(comparison.record(), indent=1))
    else:
        print("\n".join(comparison.lines()))
    return not comparison.unexplained


def commands(names: list[str]) -> list[str]:
    """Absolute paths of commands. Leaves with a message if one isn't there."""
    found = []
    for name in names:
        path = shutil.which(name)
        if path is None:
            raise SystemExit(f"conformance: {name}: no such command")
        found.append(os.path.abspath(path))
    return found


def main() -> int:
    options = arguments()
    if options.list:
        show_list(options.only, options.json)
        return 0
    if os.geteuid() != 0:
        print("conformance: making containers of every kind needs root", file=sys.stderr)
        return 2
    names = ([options.runtime] if options.runtime else []) + (options.compare or [])
    if not names or (options.compare and len(names) < 2):
        print("conformance: give a --runtime, or two and more to --compare", file=sys.stderr)
        return 2
    paths = commands(names)
    host.adopt_orphans()
    # Ended from outside, the suite still removes its containers.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
    scratch.chmod(0o755)
    try:
        if options.compare:
            subject = LIMITS if options.limits else PROCESSES
            holds = show_comparison(paths, subject, options.only, options.json, scratch)
        else:
            holds = hold_to_specification(paths[0], options.only, options.json, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
