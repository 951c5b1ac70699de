"""Resources as writes: every property on both versions, what can't be honoured, and the order of writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EBUSY, EINVAL, ENOENT
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.cgroup import files, limits, resources
from pyoci.errors import Error

ROOT = "/linux/resources"


def on_v1(name: str) -> int:
    return 1 if name else 2


def on_v2(name: str) -> int:
    return 0 if name.startswith("net_") else 2


def writes(version: Callable[[str], int], section: str, value: Any) -> list[tuple[str, str, str]]:
    return [
        (*write.choices[0], write.pointer.removeprefix(f"{ROOT}/{section}"))
        for write in resources.translate({section: value}, ROOT, version)
    ]


V1 = [
    ("memory", {"limit": 100}, [("memory.limit_in_bytes", "100", "/limit")]),
    ("memory", {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0}, []),
    ("memory", {"limit": None, "swappiness": None, "useHierarchy": None, "disableOOMKiller": None}, []),
    (
        "memory",
        {"limit": 100, "swap": 150},
        [("memory.limit_in_bytes", "100", "/limit"), ("memory.memsw.limit_in_bytes", "150", "/swap")],
    ),
    (
        "memory",
        {"limit": -1},
        [("memory.memsw.limit_in_bytes", "-1", "/limit"), ("memory.limit_in_bytes", "-1", "/limit")],
    ),
    ("memory", {"reservation": 50}, [("memory.soft_limit_in_bytes", "50", "/reservation")]),
    ("memory", {"kernel": 7}, [("memory.kmem.limit_in_bytes", "7", "/kernel")]),
    ("memory", {"kernelTCP": 8}, [("memory.kmem.tcp.limit_in_bytes", "8", "/kernelTCP")]),
    ("memory", {"swappiness": 0}, [("memory.swappiness", "0", "/swappiness")]),
    ("memory", {"disableOOMKiller": True}, [("memory.oom_control", "1", "/disableOOMKiller")]),
    ("memory", {"disableOOMKiller": False}, []),
    ("memory", {"useHierarchy": True}, [("memory.use_hierarchy", "1", "/useHierarchy")]),
    ("memory", {"checkBeforeUpdate": True}, []),
    ("cpu", {"shares": 2}, [("cpu.shares", "2", "/shares")]),
    (
        "cpu",
        {"quota": -1, "period": 5000},
        [("cpu.cfs_period_us", "5000", "/period"), ("cpu.cfs_quota_us", "-1", "/quota")],
    ),
    ("cpu", {"quota": 0, "period": 0, "shares": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""}, []),
    ("cpu", {"burst": 0}, [("cpu.cfs_burst_us", "0", "/burst")]),
    (
        "cpu",
        {"realtimePeriod": 1000, "realtimeRuntime": 500},
        [("cpu.rt_period_us", "1000", "/realtimePeriod"), ("cpu.rt_runtime_us", "500", "/realtimeRuntime")],
    ),
    ("cpu", {"cpus": "0-1", "mems": "0"}, [("cpuset.cpus", "0-1", "/cpus"), ("cpuset.mems", "0", "/mems")]),
    ("cpu", {"idle": 1}, [("cpu.idle", "1", "/idle")]),
    ("pids", {"limit": 10}, [("pids.max", "10", "/limit")]),
    ("pids", {"limit": 0}, [("pids.max", "0", "/limit")]),
    ("pids", {"limit": -1}, [("pids.max", "max", "/limit")]),
    (
        "blockIO",
        {"weight": 500, "leafWeight": 20},
        [("blkio.weight", "500", "/weight"), ("blkio.leaf_weight", "20", "/leafWeight")],
    ),
    (
        "blockIO",
        {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 11}]},
        [
            ("blkio.weight_device", "8:0 10", "/weightDevice/0/weight"),
            ("blkio.leaf_weight_device", "8:0 11", "/weightDevice/0/leafWeight"),
        ],
    ),
    (
        "blockIO",
        {
            "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 5}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 2, "rate": 0}],
        },
        [
            ("blkio.throttle.read_bps_device", "8:1 5", "/throttleReadBpsDevice/0"),
            ("blkio.throttle.write_iops_device", "8:2 0", "/throttleWriteIOPSDevice/0"),
        ],
    ),
    (
        "hugepageLimits",
        [{"pageSize": "2MB", "limit": 0}],
        [("hugetlb.2MB.limit_in_bytes", "0", "/0"), ("hugetlb.2MB.rsvd.limit_in_bytes", "0", "/0")],
    ),
    (
        "network",
        {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        [("net_cls.classid", "1048577", "/classID"), ("net_prio.ifpriomap", "eth0 5", "/priorities/0")],
    ),
    (
        "rdma",
        {"mlx4_0": {"hcaHandles": 2, "hcaObjects": 3}, "none": {}},
        [("rdma.max", "mlx4_0 hca_handle=2 hca_object=3", "/mlx4_0")],
    ),
]

V2 = [
    ("memory", {"limit": 100, "swap": 150, "reservation": 50},
     [("memory.low", "50", "/reservation"), ("memory.swap.max", "50", "/swap"),
      ("memory.max", "100", "/limit")]),
    ("memory", {"limit": 100, "swap": 100},
     [("memory.swap.max", "0", "/swap"), ("memory.max", "100", "/limit")]),
    ("memory", {"limit": 100, "swap": -1},
     [("memory.swap.max", "max", "/swap"), ("memory.max", "100", "/limit")]),
    ("memory", {"limit": -1}, [("memory.swap.max", "max", "/limit"), ("memory.max", "max", "/limit")]),
    ("memory", {"limit": 0, "kernel": -1, "kernelTCP": -1, "disableOOMKiller": False, "useHierarchy": True},
     []),
    ("cpu", {"shares": 1024}, [("cpu.weight", "100", "/shares")]),
    ("cpu", {"quota": 5000, "period": 10000}, [("cpu.max", "5000 10000", "/quota")]),
    ("cpu", {"quota": 5000}, [("cpu.max", "5000", "/quota")]),
    ("cpu", {"quota": -1}, [("cpu.max", "max", "/quota")]),
    ("cpu", {"period": 10000}, [("cpu.max", "max 10000", "/period")]),
    ("cpu", {"quota": 5000, "burst": 100},
     [("cpu.max", "5000", "/quota"), ("cpu.max.burst", "100", "/burst")]),
    ("cpu", {"cpus": "0", "idle": 1}, [("cpuset.cpus", "0", "/cpus"), ("cpu.idle", "1", "/idle")]),
    ("pids", {"limit": -1}, [("pids.max", "max", "/limit")]),
    ("blockIO", {"weight": 1000}, [("io.bfq.weight", "1000", "/weight")]),
    ("blockIO", {"throttleReadIOPSDevice": [{"major": 8, "minor": 1, "rate": 5}],
                 "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 0}]},
     [("io.max", "8:1 wbps=max", "/throttleWriteBpsDevice/0"),
      ("io.max", "8:1 riops=5", "/throttleReadIOPSDevice/0")]),
    ("hugepageLimits", [{"pageSize": "1GB", "limit": 1}],
     [("hugetlb.1GB.max", "1", "/0"), ("hugetlb.1GB.rsvd.max", "1", "/0")]),
    ("rdma", {"a/b": {"hcaHandles": 0}}, [("rdma.max", "a/b hca_handle=0", "/a~1b")]),
    ("unified", {"memory.high": "100", "cgroup.max.depth": "3", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"},
     [("cgroup.max.depth", "3", "/cgroup.max.depth"), ("io.max", "8:0 rbps=1", "/io.max"),
      ("io.max", "8:16 rbps=2", "/io.max"), ("memory.high", "100", "/memory.high")]),
    ("network", {"classID": 0, "priorities": []}, []),
]  # fmt: skip


@pytest.mark.parametrize(("section", "value", "expected"), V1)
def test_v1(section: str, value: Any, expected: list[tuple[str, str, str]]) -> None:
    assert writes(on_v1, section, value) == expected


@pytest.mark.parametrize(("section", "value", "expected"), V2)
def test_v2(section: str, value: Any, expected: list[tuple[str, str, str]]) -> None:
    assert writes(on_v2, section, value) == expected


@pytest.mark.parametrize(
    ("version", "section", "value", "pointer", "code"),
    [
        (on_v1, "cpu", {"shares": 1}, "/cpu/shares", "invalid-config"),
        (on_v1, "cpu", {"shares": 262145}, "/cpu/shares", "invalid-config"),
        (on_v1, "hugepageLimits", [{"pageSize": "../x", "limit": 1}], "/hugepageLimits/0/pageSize",
         "invalid-config"),
        (on_v2, "memory", {"swappiness": 60}, "/memory/swappiness", "not-supported"),
        (on_v2, "memory", {"disableOOMKiller": True}, "/memory/disableOOMKiller", "not-supported"),
        (on_v2, "memory", {"useHierarchy": False}, "/memory/useHierarchy", "not-supported"),
        (on_v2, "memory", {"kernel": 1}, "/memory/kernel", "not-supported"),
        (on_v2, "memory", {"kernelTCP": 1}, "/memory/kernelTCP", "not-supported"),
        (on_v2, "memory", {"swap": 100}, "/memory/swap", "invalid-config"),
        (on_v2, "memory", {"limit": -1, "swap": 70}, "/memory/swap", "invalid-config"),
        (on_v2, "memory", {"limit": 100, "swap": 99}, "/memory/swap", "invalid-config"),
        (on_v2, "cpu", {"realtimeRuntime": 1}, "/cpu/realtimeRuntime", "not-supported"),
        (on_v2, "cpu", {"realtimePeriod": 1}, "/cpu/realtimePeriod", "not-supported"),
        (on_v2, "blockIO", {"leafWeight": 10}, "/blockIO/leafWeight", "not-supported"),
        (on_v2, "blockIO", {"weightDevice": [{"major": 1, "minor": 1, "leafWeight": 10}]},
         "/blockIO/weightDevice/0/leafWeight", "not-supported"),
        (on_v2, "network", {"classID": 1}, "/network/classID", "not-supported"),
        (on_v2, "network", {"priorities": [{"name": "lo", "priority": 1}]}, "/network/priorities/0",
         "not-supported"),
        (on_v2, "unified", {"a/b": ""}, "/unified/a~1b", "invalid-config"),
        (on_v2, "unified", {"..": ""}, "/unified/..", "invalid-config"),
        (on_v2, "unified", {"memory.max\n": "1"}, "/unified/memory.max\n", "invalid-config"),
        (on_v2, "unified", {"cgroup.procs": "1"}, "/unified/cgroup.procs", "invalid-config"),
        (lambda name: 0, "unified", {"memory.max": "1"}, "/unified", "not-supported"),
        (lambda name: 0, "pids", {"limit": 1}, "/pids/limit", "not-supported"),
        (lambda name: int(name != "cpuset"), "cpu", {"cpus": "0"}, "/cpu/cpus", "not-supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_named(
    version: Callable[[str], int], section: str, value: Any, pointer: str, code: str
) -> None:
    with pytest.raises(Error) as caught:
        resources.translate({section: value}, ROOT, version)
    assert (caught.value.pointer, caught.value.code) == (ROOT + pointer, code)


def test_weights_meet_at_both_ends_and_at_the_default() -> None:
    assert [resources.weight(shares) for shares in (1, 2, 1024, 262144, 2**63)] == [1, 1, 100, 10000, 10000]


@given(st.integers(2, 262143))
def test_weights_grow_with_shares(shares: int) -> None:
    assert 1 <= resources.weight(shares) <= resources.weight(shares + 1) <= 10000


@given(st.integers(10, 999))
def test_io_weights_grow(weight: int) -> None:
    assert 1 <= resources.io_weight(weight) <= resources.io_weight(weight + 1) <= 10000
    assert (resources.io_weight(10), resources.io_weight(1000)) == (1, 10000)


@given(st.integers(1, 2**62), st.integers(-1, 2**62))
def test_swap_alone_is_what_is_left_of_the_sum(total: int, swap: int) -> None:
    try:
        alone = resources.swap_alone(total, swap, "")
    except Error:
        assert 0 <= swap < total
    else:
        assert alone == -1 if swap == -1 else alone + total == swap


class Memory:
    """v1's memory controller: the limit is never above the limit of memory and swap together."""

    def __init__(self, limit: int, together: int) -> None:
        self.values = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": together}

    def write(self, path: str, value: str) -> None:
        name = os.path.basename(path)
        if name not in self.values:
            raise FileNotFoundError(ENOENT, "No such file or directory", path)
        wanted = dict(self.values)
        wanted[name] = int(value) if int(value) >= 0 else 2**63
        if wanted["memory.limit_in_bytes"] > wanted["memory.memsw.limit_in_bytes"]:
            raise OSError(EINVAL, "Invalid argument", path)
        self.values = wanted


BYTES = st.integers(1, 2**40)


@given(BYTES, BYTES, BYTES, st.one_of(st.just(-1), st.just(0), BYTES))
def test_limits_get_from_any_values_to_any_that_agree(limit: int, swap: int, new: int, more: int) -> None:
    kernel = Memory(limit, limit + swap)
    together = -1 if more < 0 else new + more
    asked = resources.translate({"memory": {"limit": new, "swap": together}}, ROOT, on_v1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write", kernel.write)
        limits.make_writes(asked, {"memory": "/cgroup", "": ""})
    assert kernel.values == {
        "memory.limit_in_bytes": new,
        "memory.memsw.limit_in_bytes": 2**63 if together < 0 else together,
    }


def test_of_values_that_contradict_each_other_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write", Memory(2**63, 2**63).write)
    with pytest.raises(Error) as caught:
        limits.make_writes(
            resources.translate({"memory": {"limit": 100, "swap": 50}}, ROOT, on_v1), {"memory": "/cgroup"}
        )
    error = caught.value
    assert (error.pointer, error.errno) == ("/linux/resources/memory/swap", EINVAL)
    assert str(error) == (
        "/linux/resources/memory/swap: the kernel refused '50' for memory.memsw.limit_in_bytes in /cgroup: "
        "invalid argument"
    )


def put(tmp_path: Path, version: Callable[[str], int], asked: dict[str, Any]) -> None:
    paths = dict.fromkeys(["", "memory", "blkio", "pids", "cpu"], str(tmp_path))
    limits.make_writes(resources.translate(asked, ROOT, version), paths)


def test_of_two_names_for_a_knob_the_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "blkio.bfq.weight").touch()
    put(tmp_path, on_v1, {"blockIO": {"weight": 300}})
    assert (tmp_path / "blkio.bfq.weight").read_text() == "300"
    (tmp_path / "io.weight").touch()
    put(tmp_path, on_v2, {"blockIO": {"weight": 1000}})
    assert (tmp_path / "io.weight").read_text() == "default 10000"


def test_a_file_that_is_missing_is_an_error_unless_its_wish_is_fulfilled(tmp_path: Path) -> None:
    put(tmp_path, on_v2, {"memory": {"swap": -1}, "cpu": {"burst": 0, "idle": 0}})
    with pytest.raises(Error) as caught:
        put(tmp_path, on_v2, {"cpu": {"burst": 5}})
    assert (caught.value.pointer, caught.value.errno) == ("/linux/resources/cpu/burst", ENOENT)
    assert "cpu.max.burst" in str(caught.value)


def test_check_before_update(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max")
    (tmp_path / "memory.current").write_text("5000\n")
    with pytest.raises(Error, match=r"4096.*memory\.current"):
        put(tmp_path, on_v2, {"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    assert (tmp_path / "memory.max").read_text() == "max"
    put(tmp_path, on_v2, {"memory": {"limit": 5000, "checkBeforeUpdate": True}})
    assert (tmp_path / "memory.max").read_text().startswith("5000")


def test_a_kernel_that_ignores_a_limit_is_told_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write", lambda path, value: None)
    monkeypatch.setattr(files, "read", lambda path: "9223372036854771712")
    with pytest.raises(Error, match=r"ignores memory\.kmem") as caught:
        limits.make_writes(resources.translate({"memory": {"kernel": 4096}}, ROOT, on_v1), {"memory": "/x"})
    assert caught.value.pointer == "/linux/resources/memory/kernel"


def test_other_refusals_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def busy(path: str, value: str) -> None:
        tried.append(path)
        raise OSError(EBUSY, "Device or resource busy", path)

    monkeypatch.setattr(files, "write", busy)
    with pytest.raises(Error, match="device or resource busy"):
        limits.make_writes(resources.translate({"memory": {"limit": 4096}}, ROOT, on_v1), {"memory": "/x"})
    assert tried == ["/x/memory.limit_in_bytes"]
