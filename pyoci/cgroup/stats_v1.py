"""What the controllers of cgroup v1 count of a container, one function a controller (cgroup-v1/*.rst)."""

from __future__ import annotations

from pyoci.cgroup import files
from pyoci.cgroup.formats import UNLIMITED, flat, ids, non_zero, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Section = dict[str, Any]

TICK = 10_000_000  # ns of one USER_HZ, of which the kernel shows 100 a second on every architecture


def collect(controllers: Sequence[str], path: str) -> dict[str, Section]:
    """The sections that the controllers of one hierarchy tell. Files that aren't there are left out."""
    found: dict[str, Section] = {}
    for name in controllers:
        section, read = READERS.get(name, ("", None))
        if read:
            found.setdefault(section, {}).update(read(path))
    return found


def _cpu(path: str) -> Section:
    counted = flat(files.read_or_nothing(f"{path}/cpu.stat"))
    throttling = {
        "periods": counted.get("nr_periods", 0),
        "throttledPeriods": counted.get("nr_throttled", 0),
        "throttledTime": counted.get("throttled_time", 0),
    }
    return {"throttling": non_zero(throttling)}


def _cpuacct(path: str) -> Section:
    ticks = flat(files.read_or_nothing(f"{path}/cpuacct.stat"))
    each = [line.split() for line in files.read_or_nothing(f"{path}/cpuacct.usage_all").split("\n")]
    rows = [[int(word) for word in words] for words in each if len(words) == 3 and words[0].isdecimal()]
    usage = {
        "total": number(files.read_or_nothing(f"{path}/cpuacct.usage")),
        "percpu": [int(word) for word in files.read_or_nothing(f"{path}/cpuacct.usage_percpu").split()],
        "percpu_kernel": [kernel for _, _, kernel in rows],
        "percpu_user": [user for _, user, _ in rows],
    }
    modes = {"kernel": ticks.get("system", 0) * TICK, "user": ticks.get("user", 0) * TICK}
    return {"usage": {**non_zero(usage), **modes}}


CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def _cpuset(path: str) -> Section:
    lists = {name: ids(files.read_or_nothing(f"{path}/cpuset.{name}")) for name in ("cpus", "mems")}
    flags = {name: number(files.read_or_nothing(f"{path}/cpuset.{name}")) for name in CPUSET_FLAGS}
    return {**non_zero(lists), **flags}


def _memory(path: str) -> Section:
    raw = flat(files.read_or_nothing(f"{path}/memory.stat"))
    kinds = (("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem"))
    entries = {name: _entry(f"{path}/{file}") for name, file in (*kinds, ("kernelTCP", "memory.kmem.tcp"))}
    return non_zero({"cache": raw.get("cache", 0), **entries, "raw": raw})


def _entry(prefix: str) -> Section:
    """One of memory's counters; nothing where this kernel doesn't keep it, as it does swap's on request."""
    limit = files.read_or_nothing(f"{prefix}.limit_in_bytes")
    if not limit:
        return {}
    return {
        "limit": number(limit),
        **_usage(prefix),
        "failcnt": number(files.read_or_nothing(f"{prefix}.failcnt")),
    }


def _usage(prefix: str) -> Section:
    usage = number(files.read_or_nothing(f"{prefix}.usage_in_bytes"))
    return non_zero({"usage": usage, "max": number(files.read_or_nothing(f"{prefix}.max_usage_in_bytes"))})


def pids(path: str) -> Section:
    """Both versions have these files: how many processes there are, and may be."""
    limit = number(files.read_or_nothing(f"{path}/pids.max"))
    current = number(files.read_or_nothing(f"{path}/pids.current"))
    return non_zero({"current": current, "limit": 0 if limit == UNLIMITED else limit})


_BLKIO = (
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
)


def _blkio(path: str) -> Section:
    """Who schedules a disk's requests counts them: BFQ, or CFQ of old kernels. The throttle counts what
    no scheduler does; its files without "recursive" are all that kernels before 4.17 have of it."""
    for pattern in ("blkio.bfq.{}_recursive", "blkio.{}_recursive", "blkio.throttle.{}_recursive",
                    "blkio.throttle.{}"):  # fmt: skip
        found = {}
        for name, kind in _BLKIO:
            found[name] = _requests(files.read_or_nothing(f"{path}/{pattern.format(kind)}"))
        if any(found.values()):
            return non_zero(found)
    return {}


def _requests(text: str) -> list[Section]:
    """Lines like `8:0 Read 4096`, or `8:0 4096` where there is but one kind; the last line sums up."""
    found = []
    for line in text.split("\n"):
        device, *words = line.split() or [""]
        major, colon, minor = device.partition(":")
        if colon and words:
            entry = {"major": int(major), "minor": int(minor), "op": "".join(words[:-1])}
            found.append(non_zero({**entry, "value": int(words[-1])}))
    return found


def _hugetlb(path: str) -> Section:
    found = {}
    for size in files.huge_page_sizes():
        # What is reserved, if this kernel counts it (5.7): what is in use is a part of that.
        for prefix in (f"{path}/hugetlb.{size}.rsvd", f"{path}/hugetlb.{size}"):
            if files.exists(f"{prefix}.usage_in_bytes"):
                failures = number(files.read_or_nothing(f"{prefix}.failcnt"))
                found[size] = {**_usage(prefix), "failcnt": failures}
                break
    return found


def rdma(path: str) -> Section:
    """Both versions have these files: handles and objects of each adapter that is in use."""
    files_of = (("rdma_limit", "rdma.max"), ("rdma_current", "rdma.current"))
    return non_zero({name: _adapters(files.read_or_nothing(f"{path}/{file}")) for name, file in files_of})


def _adapters(text: str) -> list[Section]:
    """Lines like `mlx4_0 hca_handle=2 hca_object=max`, where the numbers take 32 bits."""
    found = []
    for line in filter(None, text.split("\n")):
        device, *words = line.split()
        counts = dict(word.split("=") for word in words)
        told = {f"{name}s": min(number(value), (1 << 32) - 1) for name, value in counts.items()}
        found.append({"device": device, **non_zero(told)})
    return found


# controller -> (section, what reads it)
READERS: dict[str, tuple[str, Callable[[str], Section] | None]] = {
    "cpu": ("cpu", _cpu),
    "cpuacct": ("cpu", _cpuacct),
    "cpuset": ("cpuset", _cpuset),
    "memory": ("memory", _memory),
    "pids": ("pids", pids),
    "blkio": ("blkio", _blkio),
    "hugetlb": ("hugetlb", _hugetlb),
    "rdma": ("rdma", rdma),
}
