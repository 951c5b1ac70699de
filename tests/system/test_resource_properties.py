"""Every property of linux.resources (config-linux.md), by version and manager: what shows it, or the refusal.

The table has each leaf of the schema. Where this machine lacks what a property needs, as who writes to the
files by hand learns too, the container is refused by the property's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.containers import Bundle, Runtime
from support.documents import SCHEMAS, leaves, read
from support.limited import UNIT, Limited, disk, limited, managers, version
from support.systemd import shown

pytestmark = pytest.mark.layout

MIB = 1 << 20
DISK = disk()
NUMBERS = f"{DISK['major']}:{DISK['minor']}"
NO_LIMIT = "9223372036854771712"  # the largest multiple of a page below 2**63


@dataclass(frozen=True)
class Case:
    """Some resources, the leaves that they show, and what is to be seen.

    v1, v2  files and a line that each must hold; or the words of the refusal
    unit    properties of systemd's unit, as systemctl shows them
    fixed   whether the kernels here surely do it; otherwise who writes the lines by hand learns it
    """

    name: str
    wanted: dict[str, Any]
    shows: tuple[str, ...]
    v1: dict[str, str] | str
    v2: dict[str, str] | str
    unit: dict[str, str] = field(default_factory=dict)
    fixed: bool = True


def memory(name: str, value: Any, v1: Any, v2: Any, unit: dict[str, str] | None = None, **more: Any) -> Case:
    return Case(f"memory.{name}", {"memory": {name: value, **more}}, (f"/memory/{name}",), v1, v2, unit or {})


def cpu(name: str, value: Any, v1: Any, v2: Any, unit: dict[str, str] | None = None, **more: Any) -> Case:
    return Case(f"cpu.{name}", {"cpu": {name: value, **more}}, (f"/cpu/{name}",), v1, v2, unit or {})


def throttle(name: str, file: str, word: str) -> Case:
    return Case(
        f"blockIO.{name}",
        {"blockIO": {name: [{**DISK, "rate": 4096}]}},
        tuple(f"/blockIO/{name}/[]/{part}" for part in ("major", "minor", "rate")),
        {f"blkio.throttle.{file}_device": f"{NUMBERS} 4096"},
        {"io.max": f"{NUMBERS} " + " ".join(f"{w}={'4096' if w == word else 'max'}" for w in WORDS)},
    )


WORDS = ("rbps", "wbps", "riops", "wiops")
NONE = "cgroup v2 has no"

CASES = [
    memory("limit", 64 * MIB, {"memory.limit_in_bytes": str(64 * MIB)}, {"memory.max": str(64 * MIB)},
           {"MemoryMax": str(64 * MIB)}),
    Case("memory.limit of -1", {"memory": {"limit": -1}}, (),
         {"memory.limit_in_bytes": NO_LIMIT, "memory.memsw.limit_in_bytes": NO_LIMIT},
         {"memory.max": "max", "memory.swap.max": "max"}, {"MemoryMax": "infinity"}),
    memory("swap", 80 * MIB, {"memory.memsw.limit_in_bytes": str(80 * MIB)},
           {"memory.swap.max": str(16 * MIB)}, {"MemorySwapMax": str(16 * MIB)}, limit=64 * MIB),
    memory("reservation", 32 * MIB, {"memory.soft_limit_in_bytes": str(32 * MIB)},
           {"memory.low": str(32 * MIB)}, {"MemoryLow": str(32 * MIB)}),
    memory("kernel", 32 * MIB, "this kernel ignores memory.kmem.limit_in_bytes", f"{NONE} separate limit"),
    memory("kernelTCP", 32 * MIB, {"memory.kmem.tcp.limit_in_bytes": str(32 * MIB)},
           f"{NONE} separate limit"),
    memory("swappiness", 10, {"memory.swappiness": "10"}, f"{NONE} swappiness"),
    memory("disableOOMKiller", True, {"memory.oom_control": "oom_kill_disable 1"}, f"{NONE} way to disable"),
    memory("useHierarchy", True, {"memory.use_hierarchy": "1"}, {"memory.max": "max"}),
    Case("memory.useHierarchy of false", {"memory": {"useHierarchy": False}}, (),
         "the kernel refused '0' for memory.use_hierarchy", f"{NONE} memory accounting"),
    memory("checkBeforeUpdate", True, {"memory.limit_in_bytes": str(64 * MIB)},
           {"memory.max": str(64 * MIB)}, {"MemoryMax": str(64 * MIB)}, limit=64 * MIB),
    cpu("shares", 512, {"cpu.shares": "512"}, {"cpu.weight": "59"}, {"CPUWeight": "59"}),
    cpu("quota", 50000, {"cpu.cfs_quota_us": "50000"}, {"cpu.max": "50000 100000"},
        {"CPUQuotaPerSecUSec": "500ms"}),
    cpu("period", 40000, {"cpu.cfs_period_us": "40000", "cpu.cfs_quota_us": "20000"},
        {"cpu.max": "20000 40000"}, {"CPUQuotaPeriodUSec": "40ms", "CPUQuotaPerSecUSec": "500ms"},
        quota=20000),
    cpu("burst", 10000, {"cpu.cfs_burst_us": "10000"}, {"cpu.max.burst": "10000"}, quota=50000),
    Case("cpu.realtimeRuntime", {"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 1000}},
         ("/cpu/realtimeRuntime", "/cpu/realtimePeriod"),
         {"cpu.rt_period_us": "900000", "cpu.rt_runtime_us": "1000"}, f"{NONE} limit of realtime tasks",
         fixed=False),
    cpu("cpus", "0", {"cpuset.cpus": "0"}, {"cpuset.cpus": "0"}, {"AllowedCPUs": "0"}),
    cpu("mems", "0", {"cpuset.mems": "0"}, {"cpuset.mems": "0"}, {"AllowedMemoryNodes": "0"}),
    cpu("idle", 1, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    Case("pids.limit", {"pids": {"limit": 20}}, ("/pids/limit",), {"pids.max": "20"}, {"pids.max": "20"},
         {"TasksMax": "20"}),
    Case("blockIO.weight", {"blockIO": {"weight": 500}}, ("/blockIO/weight",),
         {"blkio.bfq.weight": "500"}, {"io.weight": "default 4950"}, fixed=False),
    Case("blockIO.leafWeight", {"blockIO": {"leafWeight": 500}}, ("/blockIO/leafWeight",),
         {"blkio.leaf_weight": "500"}, NONE, fixed=False),
    Case("blockIO.weightDevice", {"blockIO": {"weightDevice": [{**DISK, "weight": 500}]}},
         tuple(f"/blockIO/weightDevice/[]/{part}" for part in ("major", "minor", "weight")),
         {"blkio.bfq.weight_device": f"{NUMBERS} 500"}, {"io.weight": f"{NUMBERS} 4950"}, fixed=False),
    Case("blockIO.weightDevice.leafWeight", {"blockIO": {"weightDevice": [{**DISK, "leafWeight": 500}]}},
         ("/blockIO/weightDevice/[]/leafWeight",), {"blkio.leaf_weight_device": f"{NUMBERS} 500"}, NONE,
         fixed=False),
    throttle("throttleReadBpsDevice", "read_bps", "rbps"),
    throttle("throttleWriteBpsDevice", "write_bps", "wbps"),
    throttle("throttleReadIOPSDevice", "read_iops", "riops"),
    throttle("throttleWriteIOPSDevice", "write_iops", "wiops"),
    Case("hugepageLimits", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
         ("/hugepageLimits/[]/pageSize", "/hugepageLimits/[]/limit"),
         {"hugetlb.2MB.limit_in_bytes": str(4 * MIB), "hugetlb.2MB.rsvd.limit_in_bytes": str(4 * MIB)},
         {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)}, fixed=False),
    Case("network.classID", {"network": {"classID": 0x100001}}, ("/network/classID",),
         {"net_cls.classid": str(0x100001)}, "no cgroup hierarchy with the net_cls controller is mounted",
         fixed=False),
    Case("network.priorities", {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
         ("/network/priorities/[]/name", "/network/priorities/[]/priority"),
         {"net_prio.ifpriomap": "lo 5"}, "no cgroup hierarchy with the net_prio controller is mounted",
         fixed=False),
    Case("rdma", {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}},
         ("/rdma/*/hcaHandles", "/rdma/*/hcaObjects"), {"rdma.max": "mlx5_1 hca_handle=3 hca_object=4"},
         {"rdma.max": "mlx5_1 hca_handle=3 hca_object=4"}, fixed=False),
    Case("unified", {"unified": {"cgroup.max.depth": "3"}}, ("/unified/*",),
         {"cgroup.max.depth": "3"}, {"cgroup.max.depth": "3"}, fixed=False),
    Case("devices", {"devices": [{"allow": False, "access": "rwm"},
                                 {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]},
         tuple(f"/devices/[]/{part}" for part in ("allow", "type", "major", "minor", "access")),
         {"devices.list": "c 10:229 rw"}, {}, {"DevicePolicy": "strict"}),
]  # fmt: skip


def test_the_table_has_every_property() -> None:
    schema = read(SCHEMAS / "config-schema.json")
    there = leaves(schema["properties"]["linux"], schema, "/linux")
    shown = {f"/linux/resources{leaf}" for case in CASES for leaf in case.shows}
    assert {leaf for leaf in there if leaf.startswith("/linux/resources/")} == shown


@pytest.fixture(params=managers())
def box(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[Limited]:
    with limited(runtime, bundle.args("sleep", "300"), request.param) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_property(box: Limited, case: Case) -> None:
    expected = case.v1 if version(box.manager) == 1 else case.v2
    if isinstance(expected, dict) and not case.fixed and (refusal := box.by_hand(expected)):
        expected = refusal
    if isinstance(expected, str):
        said = box.refused(case.wanted)
        assert f"/linux/resources/{next(iter(case.wanted))}" in said and expected in said
        return
    box.start(case.wanted)
    for file, line in expected.items():
        assert line in box.holds(file), file
    if box.manager == "systemd":
        assert dict(zip(case.unit, shown(UNIT, *case.unit), strict=True)) == case.unit
