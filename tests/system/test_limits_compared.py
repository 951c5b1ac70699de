"""The control files of containers' cgroups, all of them, under pyoci and Debian's runc and crun, and which
devices can be used.

On each layout, and under systemd where it is the init. The resources are in conformance/limited.py, the
lists of devices in conformance/accessed.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from pyoci.cgroup import layout
from support.containers import PYOCI, REPOSITORY
from support.systemd import SYSTEMD

OTHERS = ("runc", "crun")
SECONDS = 900  # in the VM, which is emulated; here it is a minute
# On v2, which is tried in a VM where each takes some seven seconds, those in which it has its own ways.
ON_V2 = (
    "nothing", "memory and endless swap", "swappiness", "cautious memory", "shares", "burst", "idle", "zeros",
    "weight of a device", "huge pages", "rdma", "unified", "all at once", "update: memory, down",
    "update: period alone", "update: quota that can't be", "update: all, by file",
    "devices: no list", "devices: one denied", "devices: a major allowed",
    "devices: allowed, then denied to write",
)  # fmt: skip
UNDER_SYSTEMD = ("nothing", "idle", "unified", "all devices", "update: all, by file")
V2 = layout.detect().mode == "v2"

pytestmark = [
    pytest.mark.layout,
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(
        not all(map(shutil.which, OTHERS)), reason=f"{' and '.join(OTHERS)} aren't both installed"
    ),
    pytest.mark.skipif(layout.detect().mode == "none", reason="no cgroup hierarchy is mounted"),
]


def chosen() -> list[str]:
    """The names of cases; none for all."""
    systemd = [f"systemd: {case}" for case in UNDER_SYSTEMD if SYSTEMD]
    return [*ON_V2, *systemd] if V2 else []


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    command = [sys.executable, "-m", "conformance", "--compare", PYOCI, *OTHERS, "--limits", "--json"]
    command += [word for case in chosen() for word in ("--only", case)]
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
    assert sorted(chosen()) == sorted(compared["facts"]) if V2 else len(compared["facts"]) > 50
