"""Why the kernel refuses a limit, where its own word doesn't tell: what is in use, and which cgroups above or
below are against it (cgroup-v1/cpusets.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst).
"""

from __future__ import annotations

from errno import EBUSY, EINVAL

from pyoci.cgroup import files, in_force
from pyoci.cgroup.in_force import UNLIMITED

_QUOTA, _PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


def hint(directory: str, file: str, value: str, number: int) -> str:
    """What there is to say about an errno for a value of a file; "" for nothing."""
    if number == EBUSY and file.endswith("limit_in_bytes"):
        return _usage(f"{directory}/{file.removesuffix('limit_in_bytes')}")
    if number == EINVAL and file in (_QUOTA, _PERIOD):
        return _bandwidth(directory, file, value)
    if number == EINVAL and file.startswith("devices.") and value == "a":
        below = files.children(directory)
        return f"a list can't be begun anew over the cgroup {below[0]}" if below else ""
    if file.startswith("cpuset."):
        return (number == EBUSY and _wider_below(directory, file, value)) or _above(directory, file)
    return ""


def _usage(stem: str) -> str:
    try:
        used, most = files.read(f"{stem}usage_in_bytes"), files.read(f"{stem}max_usage_in_bytes")
    except OSError:
        return ""
    return f"{used} bytes are in use, of which too few can be freed; the most there were is {most}"


def _above(directory: str, file: str) -> str:
    """What there is to choose from: cgroup2's file, or v1's."""
    above = directory.rpartition("/")[0]
    for name in (f"{file}.effective", file):
        found = in_force.text(above, name)
        if found is not None:
            return f"the cgroup above has {found or 'none'}"
    return ""


def _wider_below(directory: str, file: str, value: str) -> str:
    """A cgroup below that has what its parent is to lose: v1 doesn't take it away."""
    wanted = in_force.ranges(value) or []
    for child in files.children(directory):
        found = in_force.text(child, file) or ""
        for low, high in in_force.ranges(found) or []:
            if not any(least <= low and high <= most for least, most in wanted):
                return f"the cgroup {child} below it has {found}"
    return ""


def _bandwidth(directory: str, file: str, value: str) -> str:
    """A cgroup above that has a smaller share of the time, or one below that has a greater one."""
    number = in_force.parse(value)
    kept = _share(directory)
    if not number or not kept:
        return ""
    quota, period = (number, kept[1]) if file == _QUOTA else (kept[0], number)
    for child in files.children(directory):
        share = _share(child)
        if share and share[0] != UNLIMITED and share[0] * period > quota * share[1]:
            return f"the cgroup {child} below it has {share[0]} of {share[1]} microseconds"
    above = directory.rpartition("/")[0]
    while share := _share(above):
        if share[0] != UNLIMITED:
            larger = quota * share[1] > share[0] * period
            return f"the cgroup {above} has {share[0]} of {share[1]} microseconds" if larger else ""
        above = above.rpartition("/")[0]
    return ""


def _share(directory: str) -> tuple[int, int] | None:
    """Quota and period of a v1 cgroup, in microseconds; None where there are none, as in the root."""
    quota, period = in_force.number(directory, _QUOTA), in_force.number(directory, _PERIOD)
    return (quota, period) if quota and period else None
