"""Containers whose unit systemd makes where v1 has the controllers: the cgroups, the limits, the end."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup.layout import detect
from support.cgroups import eventually, membership
from support.containers import Bundle, Runtime
from support.systemd import NOT_HERE, SYSTEMD, shown, systemctl

pytestmark = [
    pytest.mark.skipif(not SYSTEMD, reason=NOT_HERE),
    pytest.mark.skipif(detect().mode not in ("hybrid", "v1"), reason="cgroups are v2 alone here"),
]

WHERE = "/pyocitest.slice/pyoci-box.scope"
# Kernels may be built without v1's memory controller; then cgroup2 has it, and systemd leaves it there.
HAS_MEMORY = "memory" in detect().v1
LIMITS: dict[str, Any] = {
    **({"memory": {"limit": 50 << 20}} if HAS_MEMORY else {}),
    "cpu": {"shares": 512, "quota": 25000, "period": 50000},
    "pids": {"limit": 20},
}
FILES = {
    **({("memory", "memory.limit_in_bytes"): str(50 << 20)} if HAS_MEMORY else {}),
    ("cpu", "cpu.shares"): "512",
    ("cpu", "cpu.cfs_quota_us"): "25000",
    ("cpu", "cpu.cfs_period_us"): "50000",
    ("pids", "pids.max"): "20",
}


def group(controller: str) -> Path:
    return Path(detect().v1[controller] + WHERE)


def values() -> dict[tuple[str, str], str]:
    return {(name, file): (group(name) / file).read_text().strip() for name, file in FILES}


def left() -> list[Path]:
    """What there is of the container's cgroups."""
    found = [Path(hierarchy.mount + WHERE) for hierarchy in detect().hierarchies]
    return [path for path in found if path.exists()]


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Iterator[Runtime]:
    """A runtime with a container named box, with limits, of which nothing is left in the end."""
    tun, disk = (described(path) for path in ("/dev/net/tun", "/dev/vda"))
    allowed = {"allow": True, "access": "rw", **{key: tun[key] for key in ("type", "major", "minor")}}
    bundle.config["linux"].update(
        cgroupsPath="pyocitest.slice:pyoci:box",
        devices=[tun, disk],
        resources={**LIMITS, "devices": [{"allow": False, "access": "rwm"}, allowed]},
    )
    saved = str(bundle.args("sleep", "300").save())
    runtime.detached("--systemd-cgroup", "run", "--detach", "--bundle", saved, "box")
    yield runtime
    runtime.ok("delete", "--force", "box")
    assert left() == []
    systemctl("stop", "pyocitest.slice")  # a slice outlives what was in it
    for hierarchy in detect().hierarchies:  # and where systemd doesn't know its cgroup, that
        if (slice_ := Path(hierarchy.mount, "pyocitest.slice")).exists():
            slice_.rmdir()


def described(path: str) -> dict[str, Any]:
    found = os.stat(path)
    kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
    return {"path": path, "type": kind, "major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}


def test_it_is_in_the_unit_s_cgroup_of_every_hierarchy(box: Runtime) -> None:
    pid = box.state("box")["pid"]
    assert set(membership(pid).values()) == {WHERE}
    assert shown("pyoci-box.scope", "ActiveState") == ["active"]
    assert set(box.ok("exec", "box", "cat", "/proc/self/cgroup").replace("\n", ":").split(":")[2::3]) == {"/"}
    box.ok("pause", "box")
    assert box.state("box")["status"] == "paused"
    box.ok("resume", "box")
    box.ok("kill", "--all", "box", "KILL")
    eventually(lambda: box.state("box")["status"] == "stopped")


def test_limits_and_devices_survive_a_reload(box: Runtime) -> None:
    script = "for d in null net/tun vda; do (true < /dev/$d) 2>/dev/null && echo $d; done; true"
    for _ in range(2):
        assert values() == FILES
        assert box.ok("exec", "box", "sh", "-c", script).split() == ["null", "net/tun"]
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", "pyoci-box.scope", "TasksMax=20")
    box.ok("update", "--pids-limit", "30", "box")
    assert (group("pids") / "pids.max").read_text() == "30\n"


def test_a_device_denied_by_name_stays_so_over_a_reload(box: Runtime) -> None:
    tun = {"type": "c", "major": 10, "minor": 200}
    rules = [{"allow": True, "access": "rwm"}, {**tun, "allow": False, "access": "rwm"}]
    box.ok("update", "-r", "-", "box", input=json.dumps({"devices": rules}))
    script = "for d in null net/tun vda; do (true < /dev/$d) 2>/dev/null && echo $d; done; true"
    for _ in range(2):
        assert box.ok("exec", "box", "sh", "-c", script).split() == ["null", "vda"]
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", "pyoci-box.scope", "TasksMax=20")
