"""Limits as properties of a unit: pure, made from the very writes that set the limits in the cgroup.

What the unit doesn't know, systemd forgets: at a daemon-reload it writes down what it has of each unit
(systemd.resource-control(5)). So whatever it can know is told to it, and files without a property
are left to the write alone.
"""

from __future__ import annotations

from pyoci.cgroup import devices
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyoci.cgroup.resources import Write
    from pyoci.cgroup.systemd.bus import Property

INFINITY = 2**64 - 1
_QUOTA_STEP = 10_000  # microseconds a second: systemd keeps a quota as percents


def of_writes(writes: Iterable[Write]) -> list[Property]:
    """The properties that say what these writes do; a later one wins, and a weight over idle's end."""
    found: dict[str, Property] = {}
    quota: dict[str, int] = {}
    for write in sorted(writes, key=lambda write: write.choices != (("cpu.idle", "0"),)):
        for file, value in write.choices:
            if file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
                quota[file] = int(value)
            elif file in _FILES:
                for one in _FILES[file](value):
                    found[one[0]] = one
    if "cpu.cfs_quota_us" in quota:
        for one in _bandwidth(quota["cpu.cfs_quota_us"], quota.get("cpu.cfs_period_us", 100_000)):
            found[one[0]] = one
    return list(found.values())


def _number(name: str) -> Callable[[str], list[Property]]:
    def convert(value: str) -> list[Property]:
        return [(name, ("t", INFINITY if value in ("max", "-1") else int(value)))]

    return convert


def _list(name: str) -> Callable[[str], list[Property]]:
    def convert(value: str) -> list[Property]:
        from pyoci.plan.scheduling import bit_mask

        return [(name, ("ay", bit_mask(value, "/linux/resources/cpu")))]

    return convert


def _cpu_max(value: str) -> list[Property]:
    quota, _, period = value.partition(" ")
    return _bandwidth(-1 if quota == "max" else int(quota), int(period or 100_000))


def _bandwidth(quota: int, period: int) -> list[Property]:
    share = INFINITY
    if quota > 0:  # rounded up: a limit must not get tighter
        share = -(-quota * 1_000_000 // period // _QUOTA_STEP) * _QUOTA_STEP
    return [("CPUQuotaPerSecUSec", ("t", share)), ("CPUQuotaPeriodUSec", ("t", period))]


def _idle(value: str) -> list[Property]:
    return [("CPUWeight", ("t", 0 if value == "1" else INFINITY))]


def _io_weight(value: str) -> list[Property]:
    word, _, weight = value.partition(" ")
    return [("IOWeight", ("t", int(weight)))] if word == "default" else []


_FILES: dict[str, Callable[[str], list[Property]]] = {
    # cgroup2
    "memory.max": _number("MemoryMax"),
    "memory.high": _number("MemoryHigh"),
    "memory.low": _number("MemoryLow"),
    "memory.min": _number("MemoryMin"),
    "memory.swap.max": _number("MemorySwapMax"),
    "cpu.weight": _number("CPUWeight"),
    "cpu.idle": _idle,
    "cpu.max": _cpu_max,
    "cpuset.cpus": _list("AllowedCPUs"),
    "cpuset.mems": _list("AllowedMemoryNodes"),
    "io.weight": _io_weight,
    "pids.max": _number("TasksMax"),
    # v1
    "memory.limit_in_bytes": _number("MemoryLimit"),
    "cpu.shares": _number("CPUShares"),
    "blkio.weight": _number("BlockIOWeight"),
}


def of_devices(
    entries: list[dict[str, object]] | None, pointer: str, groups: Mapping[str, str]
) -> list[Property]:
    """DevicePolicy and DeviceAllow of linux.resources.devices.

    groups  "char MAJOR" or "block MAJOR" -> its name in /proc/devices, by which systemd knows a major
    """
    try:
        kept = devices.List(devices.rules(entries, pointer))
    except Error:
        kept = None  # ordered rules that no list can say: the program attached to the cgroup does
    if kept is None or kept.allow:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    allowed = []
    for (kind, major, minor), access in kept.exceptions.items():
        node = _node("char" if kind == "c" else "block", major, minor, groups)
        if node:
            allowed.append((node, access))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _node(kind: str, major: int, minor: int, groups: Mapping[str, str]) -> str:
    """How systemd.resource-control(5) writes devices; "" for one that it can't name."""
    if major == devices.ANY:
        return f"{kind}-*" if minor == devices.ANY else ""
    if minor == devices.ANY:
        name = groups.get(f"{kind} {major}")
        return f"{kind}-{name}" if name else ""
    return f"/dev/{kind}/{major}:{minor}"


def device_groups(text: str) -> dict[str, str]:
    """/proc/devices as "char MAJOR" and "block MAJOR" -> name."""
    groups: dict[str, str] = {}
    kind = ""
    for line in text.splitlines():
        if line.endswith(" devices:"):
            kind = "char" if line.startswith("Character") else "block"
        elif line.strip():
            major, name = line.split(None, 1)
            groups.setdefault(f"{kind} {major}", name)
    return groups
