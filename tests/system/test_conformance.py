"""pyoci held to the runtime specification by the suite in conformance/, and beside Debian's runc and crun."""

from __future__ import annotations

import json
import os
import resource
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
CASES = (
    "default", "options", "userns", "readonly", "docker", "terminal", "mount flags",
    "mount flags taken back", "mount flags beyond crun", "mount flags beyond runc", "mount trees",
    "mount cgroups", "mount own cgroups", "mapped userns", "mounts", "mounts userns",
    "process limits", "process domain", "process userns",
)  # fmt: skip
EXECUTIONS = ("exec", "exec flags", "exec of options", "exec file", "exec userns", "exec silent file")

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


@pytest.mark.parametrize("case", [*CASES, *EXECUTIONS])
def test_side_by_side(comparison: dict[str, Any], case: str) -> None:
    whole = 300 if case in CASES else 90  # of a further process only what is its own
    assert comparison["facts"][case] > whole, "the probe saw its whole world"
    unexplained = [d for d in comparison["differences"] if d["case"] == case and not d["reasons"]]
    assert unexplained == []


def test_no_explanation_is_stale(comparison: dict[str, Any]) -> None:
    assert comparison["stale"] == []


def test_every_bundle_is_compared(comparison: dict[str, Any]) -> None:
    assert tuple(comparison["facts"]) == CASES + EXECUTIONS


def test_the_probe_tells_what_a_process_sees(tmp_path: Path) -> None:
    words = ["", "a b", 'quo"te\\', "new\nline", "ż", "\x7f", os.fsdecode(b"not utf-8: \xff\xc0\x80")]
    environment = {"ONE": "=1=", "BAD": os.fsdecode(b"\xed\xa0\x80"), "EMPTY": ""}
    script = "import conformance.probe; print(conformance.probe.build())"
    probe = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    output = subprocess.run(
        [probe, "--path", str(tmp_path), *words],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, umask=0o31,
    ).stdout  # fmt: skip
    seen = json.loads(output)
    assert seen["argv"] == [probe, "--path", str(tmp_path), *words]
    assert seen["env"] == [f"{name}={value}" for name, value in environment.items()]
    assert (seen["cwd"], seen["umask"]) == (str(tmp_path), 0o31)
    assert (tuple(seen["uids"]), tuple(seen["gids"])) == (os.getresuid(), os.getresgid())
    assert sorted(seen["groups"]) == sorted(os.getgroups())
    assert seen["ppid"] == os.getpid()
    assert {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in seen["namespaces"]} == seen[
        "namespaces"
    ]
    for name, (soft, hard) in seen["rlimits"].items():
        if hasattr(resource, name):
            mask = 2**64 - 1
            expected = [limit & mask for limit in resource.getrlimit(getattr(resource, name))]
            assert [soft, hard] == expected, name
    with open("/proc/self/mountinfo") as lines:
        assert len(seen["mounts"]) == len(lines.readlines())
    assert [fd["number"] for fd in seen["descriptors"]] == [0, 1, 2]
    assert (seen["paths"][str(tmp_path)]["entries"], seen["paths"][str(tmp_path)]["write_errno"]) == ([], 0)


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
