"""What a command loads while it really works: also the imports that stand inside functions.

What is loaded up front is pinned by tests/unit/test_imports.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import _cffi_backend
import pytest

import pyoci
from support.containers import Bundle, Runtime

pytestmark = pytest.mark.layout

# Runs one command and notes, in a file, what was loaded by then.
NOTED = """
import os, sys
note, count = sys.argv[1], int(sys.argv[2])
sys.path[:0] = sys.argv[3:3 + count]
from pyoci.__main__ import main
status = main(sys.argv[3 + count:])
with open(note, "w") as file:
    print(*sys.modules, file=file)
os._exit(status)
"""

# Each costs a millisecond or more, or loads what does.
HEAVY = {
    *("argparse", "collections", "contextlib", "ctypes", "dataclasses", "datetime", "enum", "functools"),
    *("hashlib", "json", "jsonschema", "logging", "pathlib", "random", "re", "shutil", "signal", "socket"),
    *("struct", "subprocess", "tempfile", "threading", "traceback", "typing"),
}


def loaded(runtime: Runtime, note: Path, *words: str) -> set[str]:
    places = [str(Path(pyoci.__file__).parents[1]), str(Path(_cffi_backend.__file__).parent)]
    command = [sys.executable, "-I", "-S", "-c", NOTED, str(note), str(len(places)), *places]
    subprocess.run(
        [*command, "--root", str(runtime.root), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return set(note.read_text().split())


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


def test_run(runtime: Runtime, bundle: Bundle, note: Path) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}}
    assert loaded(runtime, note, "run", "--bundle", str(bundle.save()), "box") & HEAVY == set()


def test_a_seccomp_filter_from_the_cache(runtime: Runtime, bundle: Bundle, note: Path) -> None:
    """Only who compiles it loads libseccomp, and what reads profiles."""
    rule = {"names": ["mount", "nosuchcall"], "action": "SCMP_ACT_ERRNO"}
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    directory = str(bundle.save())
    compiler = {"pyoci.host.libseccomp", "pyoci._libseccomp", "pyoci.host.seccomp_profile"}
    assert loaded(runtime, note, "run", "--bundle", directory, "box") & compiler == compiler
    hit = loaded(runtime, note, "run", "--bundle", directory, "box")
    assert "pyoci.host.seccomp" in hit
    assert hit & (HEAVY | compiler | {"pyoci.host.seccomp_program", "pyoci.host.seccomp_raw"}) == set()


def test_a_containers_life(runtime: Runtime, bundle: Bundle, note: Path) -> None:
    directory = str(bundle.args("sleep", "300").save())
    for words in (
        ("create", "--bundle", directory, "box"),
        ("state", "box"),
        ("start", "box"),
        ("exec", "box", "true"),
        ("kill", "box", "KILL"),
        ("delete", "--force", "box"),
    ):
        assert loaded(runtime, note, *words) & HEAVY == set(), words[0]
