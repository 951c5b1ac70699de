"""Resources that runtimes are compared on, and what the kernel and systemd have of them then.

Every control file of the container's cgroups counts, also those that nobody asked for: what a runtime sets
besides is as much of a difference as what it leaves out.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import subprocess
from pathlib import Path

from conformance import cgroups
from conformance.registry import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from conformance.harness import Container, World

    Resources = dict[str, Any]

SYSTEMD = Path("/run/systemd/system").is_dir()
MIB = 1 << 20
REFUSED = "refused"
# What says how things are, not how they are to be; read-only files do, and these.
MEASURES = (
    "cgroup.procs", "cgroup.threads", "tasks", "*.failcnt", "*max_usage_in_bytes", "cpuacct.usage", "*.peak",
    "cpu.pressure", "io.pressure", "memory.pressure", "irq.pressure",
)  # fmt: skip
# Read-only files that say what was asked for nevertheless.
TOLD = ("devices.list", "cgroup.controllers", "cpuset.cpus.effective", "cpuset.mems.effective")
# What systemd is told of a limit, with which a reload would go on.
PROPERTIES = (
    "MemoryMax", "MemoryHigh", "MemoryLow", "MemoryMin", "MemorySwapMax", "CPUWeight", "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "IOWeight", "TasksMax", "DevicePolicy",
    "DeviceAllow", "Delegate", "Slice", "CPUAccounting", "MemoryAccounting", "IOAccounting",
    "TasksAccounting", "DefaultDependencies", "CollectMode", "OOMPolicy", "KillMode",
)  # fmt: skip


def disk() -> dict[str, int]:
    """The numbers of a block device; of one that can't be where there is none."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith(("ram", "zram", "loop")):
            major, minor = Path(f"/sys/block/{name}/dev").read_text().split(":")
            return {"major": int(major), "minor": int(minor)}
    return {"major": 259, "minor": 4095}


def _throttles() -> Resources:
    device = disk()
    return {
        f"throttle{direction}{unit}Device": [{**device, "rate": rate}]
        for direction, unit, rate in (
            ("Read", "Bps", MIB), ("Write", "Bps", 2 * MIB), ("Read", "IOPS", 100), ("Write", "IOPS", 200),
        )
    }  # fmt: skip


RESOURCES: dict[str, Resources] = {
    "nothing": {},
    "memory": {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 80 * MIB}},
    "memory alone": {"memory": {"limit": 64 * MIB}},
    "memory and as much swap": {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
    "memory and endless swap": {"memory": {"limit": 64 * MIB, "swap": -1}},
    "endless memory": {"memory": {"limit": -1}},
    "swappiness": {"memory": {"swappiness": 10}},
    "no OOM killer": {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
    "kernel memory": {"memory": {"kernel": 32 * MIB}},
    "kernel TCP memory": {"memory": {"kernelTCP": 32 * MIB}},
    "cautious memory": {"memory": {"limit": 64 * MIB, "checkBeforeUpdate": True, "useHierarchy": True}},
    "shares": {"cpu": {"shares": 512}},
    "least shares": {"cpu": {"shares": 2}},
    "most shares": {"cpu": {"shares": 262144}},
    "quota": {"cpu": {"quota": 50000, "period": 40000}},
    "quota alone": {"cpu": {"quota": 50000}},
    "period alone": {"cpu": {"period": 40000}},
    "no quota": {"cpu": {"quota": -1, "period": 100000}},
    "burst": {"cpu": {"quota": 50000, "period": 100000, "burst": 10000}},
    "idle": {"cpu": {"idle": 1}},
    "realtime": {"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 1000}},
    "cpuset": {"cpu": {"cpus": "0", "mems": "0"}},
    "pids": {"pids": {"limit": 20}},
    "endless pids": {"pids": {"limit": -1}},
    "zeros": {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}},
    "weight": {"blockIO": {"weight": 500}},
    "weight of a device": {"blockIO": {"weightDevice": [{**disk(), "weight": 500}]}},
    "leaf weight": {"blockIO": {"leafWeight": 500}},
    "throttles": {"blockIO": _throttles()},
    "huge pages": {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
    "class": {"network": {"classID": 0x100001}},
    "priorities": {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
    "rdma": {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
    "unified": {"unified": {"memory.high": str(48 * MIB), "memory.min": str(MIB), "pids.max": "30",
                            "cpu.weight": "70", "cgroup.max.depth": "3"}},
    "unified for cgroup2 itself": {"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "7"}},
    "unified besides": {"memory": {"limit": 64 * MIB}, "unified": {"memory.max": str(48 * MIB)}},
    "devices": {"devices": [{"allow": False, "access": "rwm"},
                            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                            {"allow": True, "type": "b", "major": 8, "access": "r"}]},
    "all devices": {"devices": [{"allow": True, "access": "rwm"}]},
    "all at once": {
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 80 * MIB},
        "cpu": {"shares": 512, "quota": 50000, "period": 40000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "blockIO": _throttles(),
    },
}  # fmt: skip
# What systemd is told something of, or must leave alone.
UNDER_SYSTEMD = (
    "nothing", "memory", "memory and endless swap", "quota", "period alone", "idle", "cpuset", "pids",
    "unified", "devices", "all devices", "all at once",
)  # fmt: skip


def look(
    resources: Resources,
    systemd: bool,
    world: World,
    then: Callable[[Container, tuple[str, ...]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The control files of a container that was created with these resources, and its unit's properties.

    then  is done to it before, with the runtime's own flags; the answer is among the facts
    """
    container = world.container()
    config = container.config["linux"]
    config["resources"].update(resources)
    if systemd:
        config["cgroupsPath"] = f"system.slice:of:{container.id}"
    flags = ("--systemd-cgroup",) if systemd else ()
    done = container.create(globally=flags)
    if not done.ok:
        check(done.status is not None, str(done))
        return {"failure": REFUSED}  # the words are each runtime's own
    told = then(container, flags) if then else {}
    seen = {**told, **controls(container)}
    if systemd:
        seen["unit"] = unit(f"of-{container.id}.scope")
    container.world.runtime.call(*flags, "delete", "--force", container.id)
    container.wait()
    return seen


def controls(container: Container) -> dict[str, Any]:
    """Every control file with its value, by hierarchy; "not its own" where the runtime made no cgroup."""
    found: dict[str, Any] = {}
    own = cgroups.paths(container.pid)
    for controller, mount in cgroups.hierarchies().items():
        directory = mount / own[controller].lstrip("/")
        name = controller or "unified"
        found[name] = files(directory) if container.id in directory.name else "not its own"
    return found


def files(directory: Path) -> dict[str, str]:
    """The control files of one cgroup; lines in order, as a file that has one for each device is a set."""
    found = {}
    for path in sorted(directory.iterdir()):
        if path.is_dir() or not (path.name in TOLD or _is_control(path)):
            continue
        lines = path.read_text().splitlines()
        if path.name == "memory.oom_control":
            lines = lines[:1]  # what follows is counted
        found[path.name] = " | ".join(sorted(line.strip() for line in lines))
    return found


def _is_control(path: Path) -> bool:
    mode = path.stat().st_mode
    named = any(fnmatch.fnmatchcase(path.name, pattern) for pattern in MEASURES)
    return bool(mode & 0o200 and mode & 0o400) and not named


def unit(name: str) -> dict[str, str]:
    command = ["systemctl", "show", name, *(f"--property={one}" for one in PROPERTIES)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shown: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        shown.setdefault(key, []).append(value)  # of a list each entry has a line
    return {key: " | ".join(sorted(values)) for key, values in shown.items()}


def _cases() -> dict[str, Callable[[World], dict[str, Any]]]:
    cases = {name: functools.partial(look, wanted, False) for name, wanted in RESOURCES.items()}
    if SYSTEMD:
        cases |= {
            f"systemd: {name}": functools.partial(look, RESOURCES[name], True) for name in UNDER_SYSTEMD
        }
    return cases


LIMITED = _cases()
