"""The control files of containers' cgroups, all of them, under pyoci and Debian's runc and crun.

On each layout, and under systemd where it is the init. The resources are in conformance/limited.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout
from support.containers import PYOCI, REPOSITORY

OTHERS = ("runc", "crun")
SECONDS = 1200  # in the VM, which is emulated; here it is half a minute

pytestmark = [
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(
        not all(map(shutil.which, OTHERS)), reason=f"{' and '.join(OTHERS)} aren't both installed"
    ),
    pytest.mark.skipif(layout.detect().mode == "none", reason="no cgroup hierarchy is mounted"),
]


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    command = [sys.executable, "-m", "conformance", "--compare", PYOCI, *OTHERS, "--limits", "--json"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # not SIGKILL: it has containers to remove
            out, error = process.communicate()
            raise AssertionError(f"not done in {SECONDS} s: {error}") from None
    assert out.startswith("{"), error
    return dict(json.loads(out))


def test_every_control_file_has_the_same_value_or_a_reason(compared: dict[str, Any]) -> None:
    assert [one for one in compared["differences"] if not one["reasons"]] == []


def test_no_explanation_is_stale(compared: dict[str, Any]) -> None:
    assert compared["stale"] == []


def test_whole_cgroups_were_compared(compared: dict[str, Any]) -> None:
    assert compared["facts"]["nothing"] > 25, "files of every controller"
    systemd = [case for case in compared["facts"] if case.startswith("systemd: ")]
    assert len(compared["facts"]) - len(systemd) > 35
    assert bool(systemd) == Path("/run/systemd/system").is_dir()
