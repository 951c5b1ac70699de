"""What an update really gives, and the configuration that then holds."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroup.merging import given, merged

# What Docker sends for `docker update --cpu-shares 512`.
DOCKER = {
    "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
    "cpu": {
        "shares": 512, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "",
        "mems": "",
    },
    "blockIO": {"weight": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "left"),
    [
        ({}, {}),
        (DOCKER, {"cpu": {"shares": 512}}),
        ({"pids": {"limit": 0}}, {}),
        ({"pids": {"limit": -1}}, {"pids": {"limit": -1}}),
        ({"cpu": {"burst": 0, "idle": 0}}, {"cpu": {"burst": 0, "idle": 0}}),
        ({"memory": {"swappiness": 0, "disableOOMKiller": False}},
         {"memory": {"swappiness": 0, "disableOOMKiller": False}}),
        ({"memory": {"swappiness": 2**64 - 1}}, {}),
        ({"devices": [], "hugepageLimits": [], "blockIO": {"weightDevice": []}}, {}),
        ({"unified": {"cpuset.cpus": ""}}, {"unified": {"cpuset.cpus": ""}}),
        ({"network": {"classID": 0}}, {}),
    ],
)  # fmt: skip
def test_what_is_not_given(resources: dict[str, Any], left: dict[str, Any]) -> None:
    assert given(resources) == left


def device(minor: int, **properties: int) -> dict[str, int]:
    return {"major": 8, "minor": minor, **properties}


@pytest.mark.parametrize(
    ("old", "new", "then"),
    [
        ({}, {"cpu": {"shares": 5}}, {"cpu": {"shares": 5}}),
        ({"cpu": {"shares": 9, "quota": 7}}, {"cpu": {"shares": 5}}, {"cpu": {"shares": 5, "quota": 7}}),
        ({"devices": [{"allow": True}]}, {"devices": [{"allow": False}]}, {"devices": [{"allow": False}]}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]},
         {"hugepageLimits": [{"pageSize": "1GB", "limit": 3}]},
         {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 3}]}),
        ({"blockIO": {"weightDevice": [device(0, weight=10), device(1, weight=11, leafWeight=9)]}},
         {"blockIO": {"weightDevice": [device(1, weight=12), device(2, weight=13)]}},
         {"blockIO": {"weightDevice": [device(0, weight=10), device(1, weight=12, leafWeight=9),
                                       device(2, weight=13)]}}),
        ({"rdma": {"a": {"hcaHandles": 1, "hcaObjects": 2}}}, {"rdma": {"a": {"hcaHandles": 3}, "b": {}}},
         {"rdma": {"a": {"hcaHandles": 3, "hcaObjects": 2}, "b": {}}}),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}},
         {"network": {"priorities": [{"name": "lo", "priority": 2}, {"name": "eth0", "priority": 3}]}},
         {"network": {"priorities": [{"name": "lo", "priority": 2}, {"name": "eth0", "priority": 3}]}}),
        ({"memory": {"limit": 5, "swap": 9}}, {"memory": {"limit": -1}},
         {"memory": {"limit": -1, "swap": -1}}),
        ({"unified": {"memory.high": "5"}}, {"unified": {"memory.low": "1"}},
         {"unified": {"memory.high": "5", "memory.low": "1"}}),
    ],
)  # fmt: skip
def test_what_holds_then(old: dict[str, Any], new: dict[str, Any], then: dict[str, Any]) -> None:
    before = repr(old)
    assert merged(old, new) == then
    assert repr(old) == before
