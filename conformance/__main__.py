"""`python -m conformance`: hold a runtime to the specification, or compare runtimes side by side."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from conformance import host
from conformance.registry import MUST, Outcome
from conformance.runtime import Runtime
from conformance.suite import Suite, requirements


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--runtime", metavar="PATH", help="the runtime to try, requirement by requirement")
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="part of a requirement's name")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--list", action="store_true", help="the requirements, without trying them")
    return parser.parse_args()


def show_list(only: list[str], as_json: bool) -> None:
    chosen = requirements(only)
    if as_json:
        print(json.dumps([{"name": r.name, "section": r.section, "level": r.level, "text": r.text} for r in chosen]))
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


def main() -> int:
    options = arguments()
    if options.list:
        show_list(options.only, options.json)
        return 0
    if os.geteuid() != 0:
        print("conformance: making containers of every kind needs root", file=sys.stderr)
        return 2
    if options.runtime is None:
        print("conformance: give a --runtime", file=sys.stderr)
        return 2
    path = shutil.which(options.runtime)
    if path is None:
        print(f"conformance: {options.runtime}: no such command", file=sys.stderr)
        return 2
    host.adopt_orphans()
    scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
    scratch.chmod(0o755)
    try:
        return 0 if hold_to_specification(os.path.abspath(path), options.only, options.json, scratch) else 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
