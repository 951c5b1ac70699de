"""What a container's cgroups have counted, in the sections and by the names of runc's `events`."""

from __future__ import annotations

from pyoci.cgroup import files, stats_v1, stats_v2
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.manager import Manager

UNCOUNTED = "what it uses isn't counted"
# What runc tells also where nothing counts it. What isn't here is told only where it is more than 0.
_NO_MEMORY = {"limit": 0, "failcnt": 0}
_ALWAYS: dict[str, dict[str, Any]] = {
    "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
    "cpuset": dict.fromkeys(stats_v1.CPUSET_FLAGS, 0),
    "memory": dict.fromkeys(("usage", "swap", "kernel", "kernelTCP"), _NO_MEMORY),
    "pids": {},
    "blkio": {},
    "hugetlb": {},
}


def collect(cgroup: Manager) -> dict[str, Any]:
    """Sections by name: bytes, nanoseconds, or counts. Beside v1, cgroup2 adds what v1 doesn't have.

    Error (not-supported) without cgroups, (wrong-state) when they are gone.
    """
    cgroup.require(UNCOUNTED)
    found: dict[str, dict[str, Any]] = {}
    for group in cgroup.groups:
        if group.version == 2:
            add(found, stats_v2.collect(group.path))
        else:
            add(found, stats_v1.collect(group.controllers, group.path))
    if "current" not in found.get("pids", {}):
        found.setdefault("pids", {})["current"] = len(cgroup.pids())
    add(found, _ALWAYS)
    if not all(files.exists(group.path) for group in cgroup.groups):
        raise Error("the container's cgroups are gone", code="wrong-state", pointer=files.PATH)
    return found


def add(known: dict[str, dict[str, Any]], more: dict[str, dict[str, Any]]) -> None:
    """Add to each section the entries that it doesn't have."""
    for name, section in more.items():
        mine = known.setdefault(name, {})
        mine.update((key, value) for key, value in section.items() if key not in mine)
