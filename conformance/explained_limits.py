"""Known differences between the control files after the same resources, by layout, and why they are."""

from __future__ import annotations

from conformance import cgroups
from conformance.explanation import Explanation, be, each, replace
from conformance.limited import SYSTEMD

_ACCESS = (
    *each("crun", "1.8.1 denies no device where there is no list", "access *", case="devices: no list",
          undo=be("m")),
    *each("crun", "allows every container 5:1, the host's console", "access c:5:1", case="devices: *"),
    *each("runc", "1.1.5 allows every container /dev/net/tun (10:200), later ones don't",
          "access c:10:200", case="devices: no list", undo=be("m")),
    *each("runc", "1.1.5 allows every container /dev/net/tun (10:200), whatever the list denies",
          "access c:10:200", case="devices: *"),
)  # fmt: skip

_V1 = (
    *_ACCESS,
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

_OLD_CURVE = "converts shares as runc 1.3 and crun 1.23 do, not by the straight line of the older ones here"
_WEIGHTS = ("unified cpu.weight", "unified cpu.weight.nice")

_V2 = (
    *each("crun", "allows every node to be made, be it of a device that the list denies", "access c:10:200",
          case="devices: one denied", undo=be("")),
    *_ACCESS,
    *(explanation for case in ("swappiness", "no OOM killer", "kernel memory", "kernel TCP memory",
                               "realtime", "leaf weight", "class", "priorities")
      for explanation in each("runc", "ignores what cgroup v2 hasn't", "failure", case=case)),
    *each("runc", "ignores weights of devices where the scheduler isn't BFQ", "failure",
          case="weight of a device"),
    *each("runc", "1.1.5 is older than idle", "unified cpu.idle", case="*idle", undo=be("1")),
    *each("runc", "1.1.5 is older than idle", "unified cpu.weight", case="*idle", undo=be("1")),
    *each("runc", "1.1.5 is older than idle", "unified cpu.weight.nice", case="*idle", undo=be("19")),
    *each("crun", "refuses useHierarchy also where it asks for what v2 always does", "failure",
          case="cautious memory"),
    *each("crun", "takes a memory limit of 0 for one, and is killed by it", "failure", case="zeros"),
    *each("crun", "knows nothing of rdma", "failure", case="rdma"),
    *each("crun", "forgets the quota where only the period is updated", "unified cpu.max",
          case="update: period alone"),
    *(explanation for case in ("shares", "all at once", "update: shares", "update: all, by file")
      for explanation in each("pyoci", _OLD_CURVE, *_WEIGHTS, case=case)),
    *each("pyoci", "honours burst, for which runc 1.1.5 and crun 1.8.1 are too old", "unified cpu.max.burst",
          case="burst"),
    *each("pyoci", "limits reservations of huge pages too, for which runc 1.1.5 and crun 1.8.1 are too old",
          "unified hugetlb.2MB.rsvd.max", case="huge pages"),
    *each("pyoci", "takes back what it has done of an update that fails", "unified pids.max",
          case="update: quota that can't be"),
)  # fmt: skip

_TOLD = (
    *("AllowedCPUs", "AllowedMemoryNodes", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "DevicePolicy"),
    *("IOAccounting", "MemoryHigh", "MemoryLow", "MemoryMax", "MemoryMin", "MemorySwapMax", "TasksMax"),
)

_SYSTEMD = (
    *each("runc", "1.1.5 allows every container /dev/net/tun (10:200), later ones don't", "unit DeviceAllow",
          case="systemd: *", undo=replace("/dev/char/10:200 rwm | ", "")),
    *(explanation for case, weight, nice in (("all at once", "59", "2"), ("update: all, by file", "35", "5"))
      for explanation in (
          *each("runc", "1.1.5 converts shares by a straight line", "unified cpu.weight", "unit CPUWeight",
                case=f"systemd: {case}", undo=be(weight)),
          *each("runc", "1.1.5 converts shares by a straight line", "unified cpu.weight.nice",
                case=f"systemd: {case}", undo=be(nice)),
          *each("crun", "1.8.1 converts shares by a straight line", "unit CPUWeight",
                case=f"systemd: {case}", undo=be(weight)),
      )),
    *each("crun", "makes the container a cgroup below its unit's", "unified*", case="systemd: *"),
    *each("crun", "tells systemd of no limits but the shares, nor of devices: a reload may forget them",
          *(f"unit {name}" for name in (*_TOLD, "DeviceAllow")), case="systemd: *"),
    *each("pyoci", "tells systemd of idle, so that a reload keeps it", "unit CPUWeight",
          case="systemd: idle"),
)  # fmt: skip

EXPLAINED_LIMITS: tuple[Explanation, ...] = {
    "v1": _V1,
    "hybrid": (*_V1, *_HYBRID),
    "v2": (*_V2, *(_SYSTEMD if SYSTEMD else ())),
    "none": (),
}[cgroups.layout()]
