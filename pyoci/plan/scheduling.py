"""Compiling how the process is run: execution domain, scheduler, I/O priority, CPUs, memory policy."""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.plan import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.steps import Step

# personality(2)
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
# sched(7), linux/sched.h
POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# ioprio_set(2): the class stands above 13 bits of priority
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# set_mempolicy(2), linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


def compile_scheduling(
    config: dict[str, Any], process: dict[str, Any], pointer: str, *, priorities: bool
) -> list[Step]:
    """The steps for whichever of these properties are there. `priorities`: set the process's own among
    them here, else the runtime does it from outside."""
    plan: list[Step] = []
    linux = config.get("linux") or {}
    personality = linux.get("personality")
    if personality:
        persona = PERSONALITIES[personality["domain"]]
        plan.append(steps.personality("/linux/personality/domain", persona=persona))
    if priorities:
        plan += compile_priorities(process, pointer)
    policy = linux.get("memoryPolicy")
    if policy:
        mode = MEMORY_MODES[policy["mode"]]
        for flag in policy.get("flags") or ():
            mode |= MEMORY_FLAGS[flag]
        nodes = bit_mask(policy.get("nodes") or "", "/linux/memoryPolicy/nodes")
        plan.append(steps.memory_policy("/linux/memoryPolicy", mode=mode, nodes=nodes))
    return plan


def compile_priorities(process: dict[str, Any], pointer: str) -> list[Step]:
    """Scheduler and I/O priority, if there are any."""
    plan: list[Step] = []
    if process.get("scheduler"):
        attributes = _scheduler(process["scheduler"])
        plan.append(steps.scheduler(pointer + "/scheduler", attributes=attributes))
    priority = process.get("ioPriority")
    if priority:
        value = IO_CLASSES[priority["class"]] << 13 | priority.get("priority", 0)
        plan.append(steps.io_priority(pointer + "/ioPriority", priority=value))
    return plan


def compile_affinity(process: dict[str, Any], moment: str, pointer: str) -> list[Step]:
    """The CPUs of a further process, at the moment `initial` (while it is prepared) or `final`; the
    container's first process has nothing of this property (config.md#linux-process)."""
    cpus = (process.get("execCPUAffinity") or {}).get(moment)
    if not cpus:
        return []
    here = f"{pointer}/execCPUAffinity/{moment}"
    return [steps.affinity(here, mask=bit_mask(cpus, here))]


def _scheduler(scheduler: dict[str, Any]) -> bytes:
    """struct sched_attr, version 0 (48 bytes), sched_setattr(2)."""
    flags = 0
    for name in scheduler.get("flags") or ():
        flags |= SCHEDULER_FLAGS[name]
    fields = (
        (48, 4),
        (POLICIES[scheduler["policy"]], 4),
        (flags, 8),
        (scheduler.get("nice", 0) & 0xFFFFFFFF, 4),
        (scheduler.get("priority", 0), 4),
        (scheduler.get("runtime", 0), 8),
        (scheduler.get("deadline", 0), 8),
        (scheduler.get("period", 0), 8),
    )
    return b"".join([value.to_bytes(size, "little") for value, size in fields])


def bit_mask(text: str, pointer: str) -> bytes:
    """A list such as `0-3,7` (cpuset(7), list format) as a mask of whole 64-bit words."""
    mask = 0
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not part:
            continue
        low = first if first.isascii() and first.isdigit() else ""
        high = (last if dash else first) if (last if dash else first).isdigit() else ""
        if not low or not high or int(low) > int(high) or int(high) > 1 << 16:
            raise Error(
                f"{text!r} is not a list of numbers such as 0-3,7",
                code="invalid-config",
                pointer=pointer,
            )
        mask |= (1 << int(high) + 1) - (1 << int(low))
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
