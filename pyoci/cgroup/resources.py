"""config's linux.resources as writes to cgroup files: pure, one function a section and version.

A number that is 0 where 0 can't be meant (limits, shares, quota, period, weights), an empty string and
null mean "not given", as engines and runc write them; -1 means no limit.
"""

from __future__ import annotations

from pyoci.cgroup import devices
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Section = dict[str, Any]

CPU_SHARES = (2, 262144)


class Write:
    """One value for one file.

    controller  "memory", …; "" for a file of cgroup2 itself
    choices     (file, value), the first whose file exists is written: the same knob has had several names
    pointer     the property that asked for it
    optional    where no such file exists the wish is fulfilled already
    usage       file whose number must not be above the value, or ""
    confirm     read the file back: there are kernels that take the value and do nothing
    """

    __slots__ = ("choices", "confirm", "controller", "optional", "pointer", "usage")

    def __init__(
        self,
        controller: str,
        choices: tuple[tuple[str, str], ...],
        pointer: str,
        optional: bool = False,
        usage: str = "",
        confirm: bool = False,
    ) -> None:
        self.controller = controller
        self.choices = choices
        self.pointer = pointer
        self.optional = optional
        self.usage = usage
        self.confirm = confirm

    def __repr__(self) -> str:
        files = " or ".join(f"{file}={value}" for file, value in self.choices)
        return f"<Write {files} for {self.pointer}>"


def one(
    file: str, value: object, pointer: str, optional: bool = False, usage: str = "", confirm: bool = False
) -> Write:
    """A write to the one file that has this knob; the controller is the first part of its name."""
    return Write(file.partition(".")[0], ((file, str(value)),), pointer, optional, usage, confirm)


def translate(resources: Section, pointer: str, version: Callable[[str], int]) -> list[Write]:
    """The writes that resources ask for, in an order in which a fresh cgroup takes them.

    version  1 or 2: which kind of hierarchy has a controller; 0 if none
    Error for a property that the hierarchy can't honour.
    """
    result: list[Write] = []
    for section, controller, compile_v1, compile_v2 in SECTIONS:
        wanted = resources.get(section)
        if not wanted:
            continue
        where = f"{pointer}/{section}"
        which = version(controller)
        asked = list((compile_v2 if which == 2 else compile_v1)(wanted, where))
        for write in asked:
            if not version(write.controller):
                raise Error(
                    f"no cgroup hierarchy with the {write.controller} controller is mounted",
                    code="not-supported",
                    pointer=write.pointer,
                )
        result += asked
    unified = resources.get("unified")
    if unified:
        if version("") != 2:
            raise Error(
                "there is no cgroup v2 hierarchy to set this in",
                code="not-supported",
                pointer=f"{pointer}/unified",
            )
        result += _unified(unified, f"{pointer}/unified")
    return result


def limit(value: int) -> str:
    """cgroup2's way to write a number of which -1 means none."""
    return "max" if value < 0 else str(value)


def refuse(what: str, pointer: str) -> Error:
    return Error(f"cgroup v2 has no {what}", code="not-supported", pointer=pointer)


def _memory_v1(memory: Section, pointer: str) -> Iterator[Write]:
    if memory.get("useHierarchy") is not None:
        value = int(memory["useHierarchy"])
        yield one("memory.use_hierarchy", value, f"{pointer}/useHierarchy", optional=bool(value))
    total, swap = memory.get("limit"), memory.get("swap")
    if total == -1 and not swap:
        # As a limit above memory+swap is refused, no limit means none of either.
        yield one("memory.memsw.limit_in_bytes", -1, f"{pointer}/limit", optional=True)
    if total:
        yield one("memory.limit_in_bytes", total, f"{pointer}/limit")
    if swap:
        yield one("memory.memsw.limit_in_bytes", swap, f"{pointer}/swap", optional=swap < 0)
    if memory.get("reservation"):
        yield one("memory.soft_limit_in_bytes", memory["reservation"], f"{pointer}/reservation")
    for name, part in (("kernel", "kmem"), ("kernelTCP", "kmem.tcp")):
        most = memory.get(name)
        if most:
            yield one(
                f"memory.{part}.limit_in_bytes",
                most,
                f"{pointer}/{name}",
                optional=most < 0,
                confirm=most > 0,
            )
    if memory.get("swappiness") is not None:
        yield one("memory.swappiness", memory["swappiness"], f"{pointer}/swappiness")
    if memory.get("disableOOMKiller"):
        yield one("memory.oom_control", 1, f"{pointer}/disableOOMKiller")


def _memory_v2(memory: Section, pointer: str) -> Iterator[Write]:
    if memory.get("useHierarchy") is False:
        raise refuse("memory accounting without hierarchy", f"{pointer}/useHierarchy")
    if memory.get("swappiness") is not None:
        raise refuse("swappiness of a cgroup", f"{pointer}/swappiness")
    if memory.get("disableOOMKiller"):
        raise refuse("way to disable the OOM killer", f"{pointer}/disableOOMKiller")
    for name in ("kernel", "kernelTCP"):
        if (memory.get(name) or 0) > 0:
            raise refuse("separate limit of kernel memory", f"{pointer}/{name}")
    total, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("reservation"):
        yield one("memory.low", limit(memory["reservation"]), f"{pointer}/reservation")
    if total == -1 and not swap:
        yield one("memory.swap.max", "max", f"{pointer}/limit", optional=True)
    if swap:
        value = swap_alone(total, swap, f"{pointer}/swap")
        yield one("memory.swap.max", limit(value), f"{pointer}/swap", optional=value <= 0)
    if total:
        usage = "memory.current" if memory.get("checkBeforeUpdate") and total > 0 else ""
        yield one("memory.max", limit(total), f"{pointer}/limit", usage=usage)


def swap_alone(total: int, swap: int, pointer: str) -> int:
    """v1's limit of memory and swap together as v2's of swap alone; -1 is none (bytes)."""
    if swap < 0:
        return -1
    if total <= 0 or swap < total:
        from pyoci.bundle.rules import swap_problem

        raise Error(swap_problem(swap, total), code="invalid-config", pointer=pointer)
    return swap - total


def _cpu_v1(cpu: Section, pointer: str) -> Iterator[Write]:
    yield from _cpuset(cpu, pointer)
    shares = cpu.get("shares")
    if shares:
        low, high = CPU_SHARES
        if not low <= shares <= high:
            # The kernel would take the nearest value it has, without a word.
            raise Error(
                f"{shares} is outside what the kernel can set ({low} to {high})",
                code="invalid-config",
                pointer=f"{pointer}/shares",
            )
        yield one("cpu.shares", shares, f"{pointer}/shares")
    for name, file in (
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
    ):
        if cpu.get(name):
            yield one(file, cpu[name], f"{pointer}/{name}")
    yield from _burst_and_idle(cpu, pointer, "cpu.cfs_burst_us")


def _cpu_v2(cpu: Section, pointer: str) -> Iterator[Write]:
    yield from _cpuset(cpu, pointer)
    for name in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(name):
            raise refuse("limit of realtime tasks", f"{pointer}/{name}")
    if cpu.get("shares"):
        yield one("cpu.weight", weight(cpu["shares"]), f"{pointer}/shares")
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        # Without a second number the kernel keeps the period that it has.
        value = str(quota) if quota and quota > 0 else "max"
        yield one(
            "cpu.max", f"{value} {period}" if period else value, f"{pointer}/{'quota' if quota else 'period'}"
        )
    yield from _burst_and_idle(cpu, pointer, "cpu.max.burst")


def _cpuset(cpu: Section, pointer: str) -> Iterator[Write]:
    for name in ("cpus", "mems"):
        if cpu.get(name):
            yield one(f"cpuset.{name}", cpu[name], f"{pointer}/{name}")


def _burst_and_idle(cpu: Section, pointer: str, burst: str) -> Iterator[Write]:
    if cpu.get("burst") is not None:
        yield one(burst, cpu["burst"], f"{pointer}/burst", optional=cpu["burst"] == 0)
    if cpu.get("idle") is not None:
        yield one("cpu.idle", cpu["idle"], f"{pointer}/idle", optional=cpu["idle"] == 0)


def weight(shares: int) -> int:
    """v1's cpu.shares (2 to 262144, 1024 by default) as v2's cpu.weight (1 to 10000, 100 by default).

    The curve that runc 1.3 and crun 1.23 agreed on: a parabola through the three pairs, in logarithms.
    """
    low, high = CPU_SHARES
    if shares <= low:
        return 1
    if shares >= high:
        return 10000
    from math import ceil, log2

    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def _pids(pids: Section, pointer: str) -> Iterator[Write]:
    if pids.get("limit") is not None:
        yield one("pids.max", limit(pids["limit"]), f"{pointer}/limit")


def _block_v1(block: Section, pointer: str) -> Iterator[Write]:
    if block.get("weight"):
        yield Write(
            "blkio",
            tuple((file, str(block["weight"])) for file in ("blkio.weight", "blkio.bfq.weight")),
            f"{pointer}/weight",
        )
    if block.get("leafWeight"):
        yield one("blkio.leaf_weight", block["leafWeight"], f"{pointer}/leafWeight")
    for index, device in enumerate(block.get("weightDevice") or []):
        where, name = f"{pointer}/weightDevice/{index}", _device(device)
        if device.get("weight"):
            yield Write(
                "blkio",
                tuple(
                    (file, f"{name} {device['weight']}")
                    for file in ("blkio.weight_device", "blkio.bfq.weight_device")
                ),
                f"{where}/weight",
            )
        if device.get("leafWeight"):
            yield one("blkio.leaf_weight_device", f"{name} {device['leafWeight']}", f"{where}/leafWeight")
    for name, direction, unit in THROTTLES:
        for index, device in enumerate(block.get(name) or []):
            yield one(
                f"blkio.throttle.{direction}_{unit}_device",
                f"{_device(device)} {device['rate']}",
                f"{pointer}/{name}/{index}",
            )


def _block_v2(block: Section, pointer: str) -> Iterator[Write]:
    if block.get("leafWeight"):
        raise refuse("weight of a cgroup's own tasks beside its children's", f"{pointer}/leafWeight")
    if block.get("weight"):
        yield Write(
            "io",
            (("io.bfq.weight", str(block["weight"])), ("io.weight", f"default {io_weight(block['weight'])}")),
            f"{pointer}/weight",
        )
    for index, device in enumerate(block.get("weightDevice") or []):
        where = f"{pointer}/weightDevice/{index}"
        if device.get("leafWeight"):
            raise refuse("weight of a cgroup's own tasks beside its children's", f"{where}/leafWeight")
        if device.get("weight"):
            yield Write(
                "io",
                (
                    ("io.bfq.weight", f"{_device(device)} {device['weight']}"),
                    ("io.weight", f"{_device(device)} {io_weight(device['weight'])}"),
                ),
                f"{where}/weight",
            )
    for name, direction, unit in THROTTLES:
        for index, device in enumerate(block.get(name) or []):
            yield one(
                "io.max",
                f"{_device(device)} {direction[0]}{unit}={device['rate'] or 'max'}",
                f"{pointer}/{name}/{index}",
            )


THROTTLES = (
    ("throttleReadBpsDevice", "read", "bps"),
    ("throttleWriteBpsDevice", "write", "bps"),
    ("throttleReadIOPSDevice", "read", "iops"),
    ("throttleWriteIOPSDevice", "write", "iops"),
)


def io_weight(value: int) -> int:
    """blkio.weight (10 to 1000) as io.weight (1 to 10000), linearly."""
    return 1 + (value - 10) * 9999 // 990


def _device(device: Section) -> str:
    return f"{device['major']}:{device['minor']}"


def _huge_v1(pages: list[Section], pointer: str) -> Iterator[Write]:
    return _huge(pages, pointer, "limit_in_bytes")


def _huge_v2(pages: list[Section], pointer: str) -> Iterator[Write]:
    return _huge(pages, pointer, "max")


def _huge(pages: list[Section], pointer: str, file: str) -> Iterator[Write]:
    for index, page in enumerate(pages):
        size, value = page["pageSize"], page["limit"]
        if "/" in size:
            raise Error(
                f"{size!r} is no page size", code="invalid-config", pointer=f"{pointer}/{index}/pageSize"
            )
        yield one(f"hugetlb.{size}.{file}", value, f"{pointer}/{index}")
        # Reservations are limited too, or a process maps more than it may touch and dies of SIGBUS.
        yield one(f"hugetlb.{size}.rsvd.{file}", value, f"{pointer}/{index}", optional=True)


def _network_v1(network: Section, pointer: str) -> Iterator[Write]:
    if network.get("classID"):
        yield one("net_cls.classid", network["classID"], f"{pointer}/classID")
    for index, entry in enumerate(network.get("priorities") or []):
        yield one(
            "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}", f"{pointer}/priorities/{index}"
        )


def _rdma(adapters: dict[str, Section], pointer: str) -> Iterator[Write]:
    for name, entry in adapters.items():
        parts = [name] + [
            f"{key}={entry[wish]}"
            for wish, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if entry.get(wish) is not None
        ]
        if len(parts) > 1:
            yield one("rdma.max", " ".join(parts), f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")


def _unified(files: dict[str, str], pointer: str) -> Iterator[Write]:
    from pyoci.bundle.unified import objection

    for name in sorted(files):
        where = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        against, remedy = objection(name, files[name])
        if against:
            raise Error(against, code="invalid-config", pointer=where, hint=f"{remedy} would do")
        # Files that keep one line a device take one line a write.
        for line in files[name].splitlines() or [""]:
            yield Write("", ((name, line),), where)


def device_writes(entries: list[Section] | None, pointer: str) -> list[Write]:
    """v1's device lists: everything denied but what the rules and the defaults allow."""
    where = f"{pointer}/devices"
    kept = devices.List(devices.rules(entries, where))
    return [one(file, value, where) for file, value in kept.writes()]


SECTIONS: tuple[tuple[str, str, Callable[..., Iterator[Write]], Callable[..., Iterator[Write]]], ...] = (
    ("cpu", "cpu", _cpu_v1, _cpu_v2),
    ("memory", "memory", _memory_v1, _memory_v2),
    ("pids", "pids", _pids, _pids),
    ("blockIO", "blkio", _block_v1, _block_v2),
    ("hugepageLimits", "hugetlb", _huge_v1, _huge_v2),
    ("network", "net_cls", _network_v1, _network_v1),
    ("rdma", "rdma", _rdma, _rdma),
)
