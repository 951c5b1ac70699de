"""Known differences between the control files after the same resources, by layout, and why they are."""

from __future__ import annotations

from conformance import cgroups
from conformance.explanation import Explanation, each, replace

_V1 = (
    *each("runc", "1.1.5 allows every container /dev/net/tun (10:200), later ones don't",
          "devices devices.list", undo=replace("c 10:200 rwm | ", "")),
    *each("runc", "ignores memory.kernelTCP", "memory memory.kmem.tcp.limit_in_bytes",
          case="kernel TCP memory"),
    *each("runc", "1.1.5 is older than idle", "cpu cpu.idle", "cpu cpu.shares", case="idle"),
    *each("crun", "allows every container 5:1, the host's console", "devices devices.list",
          undo=replace("c 5:1 rwm | ", "")),
    *each("crun", "writes a quota of -1 as an unsigned number", "failure", case="no quota"),
    *each("crun", "writes -1 where the kernel wants `max`", "failure", case="endless pids"),
    *each("crun", "takes a memory limit of 0 for one, and is killed by it", "failure", case="zeros"),
    *each("crun", "knows none of the weights but blkio.weight, which went with CFQ", "failure",
          case="weight"),
    *each("crun", "knows none of the weights but blkio.weight, which went with CFQ",
          "update", "blkio blkio.bfq.weight*", case="update: weight"),
    *each("crun", "takes nothing back of an update that fails midway", "pids pids.max",
          case="update: quota that can't be"),
    *each("crun", "knows nothing of rdma", "failure", case="rdma"),
    *each("pyoci", "honours burst, for which runc 1.1.5 and crun 1.8.1 are too old", "cpu cpu.cfs_burst_us",
          case="burst"),
    *each("pyoci", "refuses memory.kernel where the kernel takes the limit and ignores it", "failure",
          case="kernel memory"),
)  # fmt: skip

_HYBRID = (
    *each("crun", "is run without the unified hierarchy, as it refuses a hybrid layout", "unified*"),
    *each("pyoci", "honours `unified` for the hierarchy that there is beside v1", "failure",
          case="unified for cgroup2 itself"),
)  # fmt: skip

_V2: tuple[Explanation, ...] = ()

EXPLAINED_LIMITS: tuple[Explanation, ...] = {
    "v1": _V1,
    "hybrid": (*_V1, *_HYBRID),
    "v2": _V2,
    "none": (),
}[cgroups.layout()]
