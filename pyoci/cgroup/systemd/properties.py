"""Limits as properties of a unit: pure, made from the very writes that set the limits in the cgroup.

What the unit doesn't know, systemd forgets: at a daemon-reload it writes down what it has of each unit
(systemd.resource-control(5)). So whatever it can know is told to it, and files without a property
are left to the write alone.
"""

from __future__ import annotations

from pyoci.cgroup import devices, resources
from pyoci.cgroup.systemd import values
from pyoci.cgroup.systemd.values import INFINITY
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyoci.cgroup.resources import Write
    from pyoci.cgroup.systemd.bus import Property

_QUOTA_STEP = 10_000  # microseconds a second: systemd keeps a quota as percents
_USUAL_PERIOD = 100_000  # microseconds, of a cgroup that was told no other


def of_writes(writes: Iterable[Write], period: int | None = None) -> list[Property]:
    """The properties that say what these writes do; a later one wins, and a weight over idle's end.

    A value that systemd can't be told is left out: the kernel has it, or refuses it, as it is written.

    period  microseconds, which a quota without one is a part of: the one in force, or None for the usual
    """
    period = period or _USUAL_PERIOD
    found: dict[str, Property] = {}
    quota: dict[str, int] = {}
    for write in sorted(writes, key=lambda write: write.choices != (("cpu.idle", "0"),)):
        for file, value in write.choices:
            if file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
                quota[file] = int(value)
            elif file == "cpu.max":
                asked = values.bandwidth(value)
                if asked:
                    found |= _bandwidth(asked[0], period if asked[1] is None else asked[1])
            elif file in _FILES:
                for one in _FILES[file](value):
                    found[one[0]] = one
    if "cpu.cfs_quota_us" in quota:
        found |= _bandwidth(quota["cpu.cfs_quota_us"], quota.get("cpu.cfs_period_us", _USUAL_PERIOD))
    return list(found.values())


def _number(
    name: str, read: Callable[[str], int | None], least: int, most: int = INFINITY
) -> Callable[[str], list[Property]]:
    """For a file with one number. Of limits that are less than systemd can say, the least that it can is
    nearest; of weights there are none but from `least` to `most`."""

    def convert(value: str) -> list[Property]:
        found = read(value)
        if found is None or found > most or (found < least and most != INFINITY):
            return []
        return [(name, ("t", max(found, least)))]

    return convert


def _list(name: str) -> Callable[[str], list[Property]]:
    def convert(value: str) -> list[Property]:
        mask = values.bits(value)
        return [] if mask is None else [(name, ("ay", mask))]

    return convert


def _bandwidth(quota: int, period: int) -> dict[str, Property]:
    share = INFINITY
    if quota > 0 and period > 0:  # rounded up: a limit must not get tighter
        share = -(-quota * 1_000_000 // period // _QUOTA_STEP) * _QUOTA_STEP
    if share > INFINITY or not 0 < period < INFINITY:
        return {}
    return {
        name: (name, ("t", value))
        for name, value in (("CPUQuotaPerSecUSec", share), ("CPUQuotaPeriodUSec", period))
    }


def _idle(value: str) -> list[Property]:
    idle = values.number(value)
    return [("CPUWeight", ("t", INFINITY if idle == 0 else 0))] if idle in (0, 1) else []


_FILES: dict[str, Callable[[str], list[Property]]] = {
    # cgroup2
    "memory.max": _number("MemoryMax", values.size, 1),
    "memory.high": _number("MemoryHigh", values.size, 1),
    "memory.low": _number("MemoryLow", values.size, 0),
    "memory.min": _number("MemoryMin", values.size, 0),
    "memory.swap.max": _number("MemorySwapMax", values.size, 0),
    "cpu.weight": _number("CPUWeight", values.number, 1, 10_000),
    "cpu.idle": _idle,
    "cpuset.cpus": _list("AllowedCPUs"),
    "cpuset.mems": _list("AllowedMemoryNodes"),
    "io.weight": _number("IOWeight", values.weight_for_all, 1, 10_000),
    "pids.max": _number("TasksMax", values.count, 1),
    # v1
    "memory.limit_in_bytes": _number("MemoryLimit", values.size_v1, 1),
    "cpu.shares": _number("CPUShares", values.number, *resources.CPU_SHARES),
    "blkio.weight": _number("BlockIOWeight", values.number, 10, 1000),
}


def of_devices(
    entries: list[dict[str, object]] | None, pointer: str, groups: Mapping[str, str], beside: bool
) -> list[Property]:
    """DevicePolicy and DeviceAllow of linux.resources.devices.

    groups  "char MAJOR" or "block MAJOR" -> its name in /proc/devices, by which systemd knows a major
    beside  whether the container's own rules are in force beside systemd's, as programs are on v2: both must
            allow an access, so that systemd is told of no list rather than of one that lacks something
    """
    everything: list[Property] = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    try:
        kept = devices.List(devices.rules(entries, pointer))
    except Error:
        return everything  # ordered rules that no list can say: the program attached to the cgroup does
    nodes = {
        (_node("char" if kind == "c" else "block", major, minor, groups), access)
        for (kind, major, minor), access in kept.exceptions.items()
    }
    named = [(node, access) for node, access in nodes if node]
    if kept.allow or (beside and len(named) < len(nodes)):
        return everything
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", sorted(named)))]


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
