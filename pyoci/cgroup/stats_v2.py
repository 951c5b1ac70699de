"""What the controllers of cgroup v2 count of a container, in v1's terms as runc tells them (cgroup-v2.rst).

A file that isn't there is left out: its controller isn't enabled, or is v1's.
"""

from __future__ import annotations

from pyoci.cgroup import files
from pyoci.cgroup.formats import UNLIMITED, flat, ids, nested, non_zero, number, pressure
from pyoci.cgroup.stats_v1 import pids, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Section = dict[str, Any]

MICROSECOND = 1000  # in ns


def collect(path: str) -> dict[str, Section]:
    """The sections that one cgroup tells."""
    sections = {
        "cpu": _cpu(path),
        "cpuset": _cpuset(path),
        "memory": _memory(path),
        "pids": pids(path),
        "blkio": _io(path),
        "hugetlb": _hugetlb(path),
        "rdma": rdma(path),
    }
    return non_zero(sections)


def _cpu(path: str) -> Section:
    counted = flat(files.read_or_nothing(f"{path}/cpu.stat"))
    if not counted:
        return {}
    throttling = {
        "periods": counted.get("nr_periods", 0),
        "throttledPeriods": counted.get("nr_throttled", 0),
        "throttledTime": counted.get("throttled_usec", 0) * MICROSECOND,
    }
    usage = {
        **non_zero({"total": counted.get("usage_usec", 0) * MICROSECOND}),
        "kernel": counted.get("system_usec", 0) * MICROSECOND,
        "user": counted.get("user_usec", 0) * MICROSECOND,
    }
    return {"usage": usage, "throttling": non_zero(throttling), **_pressure(f"{path}/cpu.pressure")}


def _pressure(file: str) -> Section:
    """PSI, where the kernel keeps it."""
    return non_zero({"psi": pressure(files.read_or_nothing(file))})


def _cpuset(path: str) -> Section:
    """What the container may use; the cgroup's own lists are empty where nothing narrows it."""
    files_of = (("cpus", "cpuset.cpus.effective"), ("mems", "cpuset.mems.effective"))
    return non_zero({name: ids(files.read_or_nothing(f"{path}/{file}")) for name, file in files_of})


def _memory(path: str) -> Section:
    """Swap is told as v1 does, together with memory. How often the limit was hit is told for both."""
    told = _pressure(f"{path}/memory.pressure")
    limit = files.read_or_nothing(f"{path}/memory.max")
    if not limit:
        return told
    raw = flat(files.read_or_nothing(f"{path}/memory.stat"))
    events = flat(files.read_or_nothing(f"{path}/memory.events"))
    peak = number(files.read_or_nothing(f"{path}/memory.peak"))
    usage = number(files.read_or_nothing(f"{path}/memory.current"))
    swap_events = flat(files.read_or_nothing(f"{path}/memory.swap.events"))
    swap_limit = number(files.read_or_nothing(f"{path}/memory.swap.max"))
    swap_usage = number(files.read_or_nothing(f"{path}/memory.swap.current"))
    return {
        **non_zero({"cache": raw.get("file", 0)}),
        "usage": {
            "limit": number(limit),
            **non_zero({"usage": usage, "max": peak}),
            "failcnt": events.get("max", 0),
        },
        "swap": {
            "limit": min(number(limit) + swap_limit, UNLIMITED),
            **non_zero({"usage": usage + swap_usage}),
            "failcnt": swap_events.get("max", 0),
        },
        "raw": raw,
        **told,
    }


# io.stat's keys, and v1's tables and operations that count the same
_IO = (
    ("ioServiceBytesRecursive", (("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard"))),
    ("ioServicedRecursive", (("rios", "Read"), ("wios", "Write"), ("dios", "Discard"))),
)


def _io(path: str) -> Section:
    devices = nested(files.read_or_nothing(f"{path}/io.stat"))
    found: Section = {}
    for table, operations in _IO:
        entries = []
        for device, counts in devices.items():
            major, _, minor = device.partition(":")
            numbers = {"major": int(major), "minor": int(minor)}
            entries += [
                non_zero({**numbers, "op": operation, "value": counts[key]})
                for key, operation in operations
                if key in counts
            ]
        found[table] = entries
    return {**non_zero(found), **_pressure(f"{path}/io.pressure")}


def _hugetlb(path: str) -> Section:
    found = {}
    for size in files.huge_page_sizes():
        # What is reserved, if this kernel counts it (5.7): what is in use is a part of that.
        for prefix in (f"{path}/hugetlb.{size}.rsvd", f"{path}/hugetlb.{size}"):
            if files.exists(f"{prefix}.current"):
                usage = number(files.read_or_nothing(f"{prefix}.current"))
                events = flat(files.read_or_nothing(f"{path}/hugetlb.{size}.events"))
                found[size] = {**non_zero({"usage": usage}), "failcnt": events.get("max", 0)}
                break
    return found
