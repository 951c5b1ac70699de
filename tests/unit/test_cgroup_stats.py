"""The kernel's files of what a cgroup has used, as they were found on machines, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import files, formats, manager, resctrl, resctrl_stats, stats, stats_v1, stats_v2
from pyoci.errors import Error
from pyoci.host import net_dev


def directory(path: Path, contents: dict[str, str]) -> str:
    for name, text in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return str(path)


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "huge_page_sizes", lambda: ["2MB", "1GB"])


def test_lists_of_ids() -> None:
    assert formats.ids("0-2,5,7-8") == [0, 1, 2, 5, 7, 8]
    assert formats.ids("") == []


def test_pressure() -> None:
    some = "some avg10=87.24 avg60=0.00 avg300=1.10 total=791391348"
    text = f"{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"
    assert formats.pressure(text) == {
        "some": {"avg10": 87.24, "avg60": 0.0, "avg300": 1.1, "total": 791391348},
        "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0},
    }
    assert formats.pressure("") == {}


def test_time_in_v1(tmp_path: Path) -> None:
    path = directory(
        tmp_path,
        {
            "cpu.stat": "nr_periods 12\nnr_throttled 3\nthrottled_time 4500\nnr_bursts 0\nburst_time 0\n",
            "cpuacct.stat": "user 2\nsystem 1\n",
            "cpuacct.usage": "13665273\n",
            "cpuacct.usage_percpu": "0 13665273 \n",
            "cpuacct.usage_all": "cpu user system\n0 0 0\n1 9665273 4000000\n",
        },
    )
    assert stats_v1.collect(["cpu", "cpuacct"], path) == {
        "cpu": {
            "throttling": {"periods": 12, "throttledPeriods": 3, "throttledTime": 4500},
            "usage": {
                "total": 13665273,
                "percpu": [0, 13665273],
                "percpu_kernel": [0, 4000000],
                "percpu_user": [0, 9665273],
                "kernel": 10_000_000,
                "user": 20_000_000,
            },
        }
    }


def test_memory_in_v1(tmp_path: Path) -> None:
    files_of = {"memory.stat": "cache 4096\nrss 57344\ntotal_cache 8192\n"}
    for prefix, usage in (("memory", 339968), ("memory.kmem", 274432), ("memory.kmem.tcp", 0)):
        files_of |= {
            f"{prefix}.limit_in_bytes": "9223372036854771712\n",
            f"{prefix}.usage_in_bytes": f"{usage}\n",
            f"{prefix}.max_usage_in_bytes": f"{usage * 2}\n",
            f"{prefix}.failcnt": "7\n",
        }
    limit = 9223372036854771712
    assert stats_v1.collect(["memory"], directory(tmp_path, files_of)) == {
        "memory": {
            "cache": 4096,
            "usage": {"limit": limit, "usage": 339968, "max": 679936, "failcnt": 7},
            "kernel": {"limit": limit, "usage": 274432, "max": 548864, "failcnt": 7},
            "kernelTCP": {"limit": limit, "failcnt": 7},
            "raw": {"cache": 4096, "rss": 57344, "total_cache": 8192},
        }
    }, "swap isn't counted on every machine"


THROTTLE = "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\n253:1 Read 512\nTotal 4608\n"
ENTRIES = [
    {"major": 8, "op": "Read", "value": 4096},
    {"major": 8, "op": "Write"},
    {"major": 8, "op": "Total", "value": 4096},
    {"major": 253, "minor": 1, "op": "Read", "value": 512},
]


@pytest.mark.parametrize(
    ("present", "told"),
    [
        ({"blkio.throttle.io_service_bytes": THROTTLE}, {"ioServiceBytesRecursive": ENTRIES}),
        (
            {
                "blkio.throttle.io_service_bytes": "8:0 Read 1\n",
                "blkio.throttle.io_service_bytes_recursive": THROTTLE,
                "blkio.throttle.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
                "blkio.bfq.io_service_bytes_recursive": "Total 0\n",
            },
            {
                "ioServiceBytesRecursive": ENTRIES,
                "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}],
            },
        ),
        (
            {
                "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n",
                "blkio.bfq.io_serviced_recursive": THROTTLE,
            },
            {"ioServicedRecursive": ENTRIES},
        ),
        (
            {
                f"blkio.{kind}_recursive": "8:16 Sync 5\nTotal 5\n"
                for kind in ("io_queued", "io_service_time", "io_wait_time", "io_merged")
            }
            | {"blkio.time_recursive": "8:16 6792\n", "blkio.sectors_recursive": "8:16 3\n"},
            {
                name: [{"major": 8, "minor": 16, "op": "Sync", "value": 5}]
                for name in (
                    "ioQueueRecursive",
                    "ioServiceTimeRecursive",
                    "ioWaitTimeRecursive",
                    "ioMergedRecursive",
                )
            }
            | {
                "ioTimeRecursive": [{"major": 8, "minor": 16, "value": 6792}],
                "sectorsRecursive": [{"major": 8, "minor": 16, "value": 3}],
            },
        ),
    ],
)  # fmt: skip
def test_disks_in_v1(tmp_path: Path, present: dict[str, str], told: dict[str, Any]) -> None:
    assert stats_v1.collect(["blkio"], directory(tmp_path, present)) == {"blkio": told}


def test_the_others_in_v1(tmp_path: Path) -> None:
    path = directory(
        tmp_path,
        {
            "pids.current": "3\n",
            "pids.max": "max\n",
            "cpuset.cpus": "0-1\n",
            "cpuset.mems": "0\n",
            "cpuset.sched_load_balance": "1\n",
            "cpuset.sched_relax_domain_level": "-1\n",
            "hugetlb.2MB.usage_in_bytes": "2097152\n",
            "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
            "hugetlb.2MB.failcnt": "1\n",
            "hugetlb.1GB.usage_in_bytes": "0\n",
            "hugetlb.1GB.rsvd.usage_in_bytes": "1073741824\n",
            "rdma.current": "mlx4_0 hca_handle=1 hca_object=20\n",
            "rdma.max": "mlx4_0 hca_handle=2 hca_object=max\n",
        },
    )
    found = stats_v1.collect(["pids", "cpuset", "hugetlb", "rdma", "freezer", "name=systemd"], path)
    assert found["pids"] == {"current": 3}
    assert found["cpuset"]["cpus"] == [0, 1]
    assert found["cpuset"]["sched_relax_domain_level"] == -1
    assert found["hugetlb"] == {
        "2MB": {"usage": 2097152, "max": 4194304, "failcnt": 1},
        "1GB": {"usage": 1073741824, "failcnt": 0},
    }
    assert found["rdma"] == {
        "rdma_limit": [{"device": "mlx4_0", "hca_handles": 2, "hca_objects": 0xFFFFFFFF}],
        "rdma_current": [{"device": "mlx4_0", "hca_handles": 1, "hca_objects": 20}],
    }
    assert set(found) == {"pids", "cpuset", "hugetlb", "rdma"}


V2 = {
    "cpu.stat": "usage_usec 1774\nuser_usec 1000\nsystem_usec 774\n"
    "nr_periods 5\nnr_throttled 2\nthrottled_usec 9\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=4\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=2\n",
    "cpuset.cpus.effective": "0-1\n",
    "cpuset.mems.effective": "0\n",
    "memory.max": "67108864\n",
    "memory.current": "483328\n",
    "memory.peak": "524288\n",
    "memory.stat": "anon 49152\nfile 4096\nkernel 94208\n",
    "memory.events": "low 0\nhigh 0\nmax 6\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.swap.max": "1048576\n",
    "memory.swap.current": "4096\n",
    "memory.swap.events": "high 0\nmax 3\nfail 0\n",
    "pids.current": "4\n",
    "pids.max": "20\n",
    "io.stat": "254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=512 dios=1 cost.usage=12\n7:1 \n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.events": "max 8\n",
    "hugetlb.1GB.current": "0\n",
    "hugetlb.1GB.rsvd.current": "1073741824\n",
}


def test_v2(tmp_path: Path) -> None:
    found = stats_v2.collect(directory(tmp_path, V2))
    psi = found["cpu"].pop("psi")
    assert psi["some"]["total"] == 4
    assert found == {
        "cpu": {
            "usage": {"total": 1774000, "kernel": 774000, "user": 1000000},
            "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 9000},
        },
        "cpuset": {"cpus": [0, 1], "mems": [0]},
        "memory": {
            "cache": 4096,
            "usage": {"limit": 67108864, "usage": 483328, "max": 524288, "failcnt": 6},
            "swap": {"limit": 68157440, "usage": 487424, "failcnt": 3},
            "raw": {"anon": 49152, "file": 4096, "kernel": 94208},
        },
        "pids": {"current": 4, "limit": 20},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 254, "op": "Read", "value": 4096},
                {"major": 254, "op": "Write"},
                {"major": 254, "op": "Discard", "value": 512},
            ],
            "ioServicedRecursive": [
                {"major": 254, "op": "Read", "value": 1},
                {"major": 254, "op": "Write"},
                {"major": 254, "op": "Discard", "value": 1},
            ],
        },
        "hugetlb": {
            "2MB": {"usage": 2097152, "failcnt": 8},
            "1GB": {"usage": 1073741824, "failcnt": 0},
        },
    }


@pytest.mark.parametrize(
    ("memory", "swap", "told"),
    [
        ("max", "max", formats.UNLIMITED),
        ("max", "0", formats.UNLIMITED),
        ("4096", "max", formats.UNLIMITED),
        ("4096", "0", 4096),
        ("4096", None, 4096),
    ],
)
def test_the_limit_of_memory_and_swap_together(
    tmp_path: Path, memory: str, swap: str | None, told: int
) -> None:
    files_of = {"memory.max": memory, **({"memory.swap.max": swap} if swap else {})}
    assert stats_v2.collect(directory(tmp_path, files_of))["memory"]["swap"]["limit"] == told


def cgroups(tmp_path: Path) -> manager.Manager:
    """A hybrid container: memory and pids in v1, and a group of cgroup2 that has no controllers."""
    directory(tmp_path / "memory", {"memory.stat": "cache 1\n", "memory.limit_in_bytes": "4096\n"})
    directory(tmp_path / "pids", {"pids.current": "2\n", "pids.max": "9\n"})
    directory(tmp_path / "unified", {name: V2[name] for name in ("cpu.stat", "cpu.pressure")})
    directory(tmp_path / "unified", {"memory.pressure": V2["cpu.pressure"], "cgroup.procs": ""})
    groups = [([name], name) for name in ("memory", "pids")] + [([""], "unified")]
    return manager.load(
        {
            "driver": "cgroupfs",
            "mode": "hybrid",
            "groups": [
                {"controllers": names, "mount": str(tmp_path), "path": str(tmp_path / place)}
                for names, place in groups
            ],
        }
    )


def test_cgroup2_adds_what_v1_does_not_have(tmp_path: Path) -> None:
    found = stats.collect(cgroups(tmp_path))
    assert found["memory"]["usage"] == {"limit": 4096, "failcnt": 0}
    assert found["memory"]["psi"]["some"]["total"] == 4
    assert found["memory"]["swap"] == {"limit": 0, "failcnt": 0}, "as runc tells what isn't counted"
    assert found["pids"] == {"current": 2, "limit": 9}
    assert found["cpu"]["usage"]["total"] == 1774000
    assert found["cpuset"]["sched_load_balance"] == 0
    assert (found["blkio"], found["hugetlb"]) == ({}, {})


def test_groups_that_are_gone(tmp_path: Path) -> None:
    found = cgroups(tmp_path)
    found.groups[0].path += "-gone"
    with pytest.raises(Error, match="gone"):
        stats.collect(found)


RESCTRL = {
    "info/L3/cbm_mask": "7ff\n",
    "info/L3/min_cbm_bits": "1\n",
    "info/L3/num_closids": "16\n",
    "info/MB/bandwidth_gran": "10\n",
    "info/MB/delay_linear": "1\n",
    "info/MB/min_bandwidth": "10\n",
    "info/MB/num_closids": "8\n",
    "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
    "schemata": "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n",
    "box/schemata": "    L3:0=00f;1=7ff\n    MB:0= 20;1=100\n",
    "box/mon_data/mon_L3_00/llc_occupancy": "4096\n",
    "box/mon_data/mon_L3_00/mbm_total_bytes": "300\n",
    "box/mon_data/mon_L3_00/mbm_local_bytes": "200\n",
    "box/mon_data/mon_L3_01/llc_occupancy": "Unavailable\n",
    "box/mon_data/mon_L3_01/mbm_total_bytes": "3\n",
    "box/mon_data/mon_L3_01/mbm_local_bytes": "2\n",
    "box/mon_groups/box/mon_data/mon_L3_00/llc_occupancy": "64\n",
}


def test_resctrl(tmp_path: Path) -> None:
    mount = directory(tmp_path, RESCTRL)
    assert resctrl_stats.collect(resctrl.Group(f"{mount}/box", True, "")) == {
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=00f;1=7ff",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 20;1=100",
        "mbm_stats": [
            {"mbm_total_bytes": 300, "mbm_local_bytes": 200},
            {"mbm_total_bytes": 3, "mbm_local_bytes": 2},
        ],
        "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 0}],
    }
    monitored = resctrl_stats.collect(resctrl.Group(f"{mount}/box", True, f"{mount}/box/mon_groups/box"))
    assert monitored["cmt_stats"] == [{"llc_occupancy": 64}]


def test_resctrl_of_a_processor_that_only_allots_cache(tmp_path: Path) -> None:
    names = ("info/L3/cbm_mask", "schemata", "box/schemata")
    mount = directory(tmp_path, {name: RESCTRL[name] for name in names})
    found = resctrl_stats.collect(resctrl.Group(f"{mount}/box", True, ""))
    assert set(found) == {"l3_cache_info", "l3_cache_schema_root", "l3_cache_schema"}


NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 5000000000      20    1    2    0     0          0         0     3000      30    3    4    0     0       0          0
eth0:1:       1       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"""  # noqa: E501


def test_network_interfaces() -> None:
    first, second = net_dev.parse(NET_DEV)
    assert first == {
        "Name": "eth0",
        "RxBytes": 5000000000,
        "RxPackets": 20,
        "RxErrors": 1,
        "RxDropped": 2,
        "TxBytes": 3000,
        "TxPackets": 30,
        "TxErrors": 3,
        "TxDropped": 4,
    }
    assert second["Name"] == "eth0:1"
