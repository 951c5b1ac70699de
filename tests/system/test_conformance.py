"""pyoci held to the runtime specification by the suite in conformance/, and beside Debian's runc and crun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYOCI = os.environ.get("PYOCI", str(ROOT / ".venv/bin/pyoci"))
# Debian's runtimes to be compared with, and the packages they come in.
OTHERS = ("runc", "crun")
CASES = ("default", "options", "userns", "readonly", "docker", "terminal")

# Where pyoci does otherwise than the specification on purpose, and why.
DELIBERATE = {
    "lifecycle.delete-of-created-is-an-error": (
        "runc and crun delete a created container, and engines that clean up after a failed start rely on it"
    ),
}


def conformance(*words: str, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    """`python -m conformance` in a process of its own: it adopts and ends what its containers leave."""
    command = [sys.executable, "-m", "conformance", *words]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # Not SIGKILL: it has containers to remove.
            process.terminate()
            out, err = process.communicate()
            err += f"\nended after {seconds} s"
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def requirements() -> list[str]:
    return [entry["name"] for entry in json.loads(conformance("--list", "--json").stdout)]


@pytest.fixture(scope="session")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of each requirement, by name."""
    assert os.path.exists(PYOCI), f"{PYOCI} is missing: make build"
    done = conformance("--runtime", PYOCI, "--json")
    assert done.stdout.startswith("{"), done.stderr
    return {outcome["name"]: outcome for outcome in json.loads(done.stdout)["outcomes"]}


@pytest.mark.parametrize("name", requirements())
def test_requirement(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    outcome = outcomes[name]
    if outcome["result"] == "skip":
        pytest.skip(outcome["detail"])
    if name in DELIBERATE:
        assert outcome["result"] == "fail", f"{name} is no deviation any more: take it out of the table"
    else:
        assert outcome["result"] == "pass", f"{outcome['level']} {outcome['text']}\n{outcome['detail']}"


@pytest.fixture(scope="session")
def comparison() -> dict[str, Any]:
    """pyoci, runc and crun side by side on every bundle."""
    missing = [name for name in OTHERS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (apt-get install {' '.join(missing)})")
    done = conformance("--compare", PYOCI, *OTHERS, "--json")
    assert done.stdout.startswith("{"), done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("case", CASES)
def test_side_by_side(comparison: dict[str, Any], case: str) -> None:
    assert comparison["facts"][case] > 300, "the probe saw its whole world"
    unexplained = [d for d in comparison["differences"] if d["case"] == case and not d["reasons"]]
    assert unexplained == []


def test_no_explanation_is_stale(comparison: dict[str, Any]) -> None:
    assert comparison["stale"] == []


def test_every_bundle_is_compared(comparison: dict[str, Any]) -> None:
    assert tuple(comparison["facts"]) == CASES


def broken_runtime(directory: Path, script: str) -> str:
    path = directory / "broken"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "only"),
    [
        pytest.param("exit 0", "state-of-unknown-id", id="never says no"),
        pytest.param("exit 1", "state-when-created", id="always says no"),
        pytest.param(
            'test "$3" = create && sleep 1000 & exit 1', "create-of-missing-bundle", id="leaves a process"
        ),
        pytest.param(
            'case "$3" in create) mkdir "$2/${5##*/}";; esac; exit 1',
            "create-without-config",
            id="leaves state",
        ),
    ],
)
def test_the_suite_finds_a_broken_runtime(tmp_path: Path, script: str, only: str) -> None:
    done = conformance("--runtime", broken_runtime(tmp_path, script), "--only", only, "--json")
    assert [outcome["result"] for outcome in json.loads(done.stdout)["outcomes"]] == ["fail"]
    assert done.returncode == 1


def test_the_suite_refuses_what_is_no_runtime() -> None:
    done = conformance("--runtime", "/nowhere/runtime")
    assert done.returncode != 0
    assert "/nowhere/runtime: no such command" in done.stderr
