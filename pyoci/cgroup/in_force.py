"""What is in force in a cgroup's file: whether that is what was asked for, and what would bring it back.

Kernel's Documentation: cgroup-v2.rst (flat and nested keyed files), cgroup-v1/*.rst.
"""

from __future__ import annotations

import os

from pyoci.cgroup import files

UNLIMITED = 2**62  # what v1 shows for no limit is a little below 2**63, whatever the size of a page

# Files with a line for each device or name: what a write says of one for which there is no line.
_KEYED = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=max",
    "blkio.weight_device": "default",
    "blkio.leaf_weight_device": "default",
    "blkio.bfq.weight_device": "default",
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
    "net_prio.ifpriomap": "0",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
}
_BYTES = (
    *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"),
    *("memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"),
    *("memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "memory.swap.high"),
)
_EXACT = (
    *("cpu.shares", "cpu.weight", "cpu.idle", "cpu.max.burst", "pids.max", "memory.swappiness"),
    *("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.rt_runtime_us", "cpu.rt_period_us"),
    *("blkio.weight", "blkio.bfq.weight", "blkio.leaf_weight", "net_cls.classid", "memory.use_hierarchy"),
)
_OWN_FORM = ("cpu.max", "cpuset.cpus", "cpuset.mems", "memory.oom_control")


def text(directory: str, file: str) -> str | None:
    """All that a file says; None if it can't be read."""
    try:
        return files.read(f"{directory}/{file}")
    except OSError:
        return None


def number(directory: str, file: str) -> int | None:
    """The first number in a file, UNLIMITED for none at all; None if the file isn't there."""
    found = text(directory, file)
    return parse(found) if found else None


def parse(value: str) -> int:
    """The first number of a value; UNLIMITED for the word that means none, and for what can't be counted."""
    word = value.split()[0]
    return UNLIMITED if word in ("max", "-1") else min(int(word), UNLIMITED)


def before(directory: str, file: str, value: str) -> str | None:
    """What has to be written to bring back what a write of `value` changes; None if nothing can."""
    found = text(directory, file)
    if found is None:
        return None
    if file == "memory.oom_control":
        return _line(found, "oom_kill_disable") or None
    if file not in _KEYED:
        if "\n" in found:
            return None
        if file in _BYTES and found.isdecimal() and int(found) >= UNLIMITED:
            return "-1"
        # Only a cpuset may be empty: it has all of the one above, and with processes can't be emptied.
        return found or text(directory, f"{file}.effective")
    key = _key(file, value)
    line = _line(found, key)
    if key == "default":
        return f"default {line or found}"
    return f"{key} {line or _KEYED[file]}"


def holds(directory: str, file: str, value: str) -> bool | None:
    """Whether a file says what was written to it; None where that can't be told."""
    if not (file in _KEYED or file in _BYTES or file in _EXACT or file in _OWN_FORM or _is_huge(file)):
        return None
    found = text(directory, file)
    if found is None:
        return None
    if file == "memory.oom_control":
        return _line(found, "oom_kill_disable") == value
    if file in _KEYED:
        key = _key(file, value)
        words = value.split()
        line = _line(found, key) or (found if key == "default" else _KEYED[file])
        wanted = words[1:] if len(words) > 1 else words
        return line == _KEYED[file] if wanted == ["0"] else set(wanted) <= set(line.split())
    if file.startswith("cpuset."):
        return _numbers(found) == _numbers(value)
    if file == "cpu.max":
        return found.split()[: len(value.split())] == value.split()
    if file in _EXACT:
        return found == value
    return _same_bytes(found, value, _granule(file))


def _is_huge(file: str) -> bool:
    return file.startswith("hugetlb.")


def _key(file: str, value: str) -> str:
    """Of which line a write is: a device's, an interface's, or the default."""
    first, _, rest = value.partition(" ")
    return first if rest else "default"


def _line(found: str, key: str) -> str:
    """What stands behind a key; "" if it isn't there."""
    for line in found.split("\n"):
        name, _, rest = line.partition(" ")
        if name == key:
            return rest
    return ""


def _numbers(ranges: str) -> set[int]:
    """A list like 0-3,7 as a set."""
    result: set[int] = set()
    for part in ranges.replace(" ", "").split(","):
        low, dash, high = part.partition("-")
        if low.isdecimal() and (high.isdecimal() or not dash):
            result.update(range(int(low), int(high or low) + 1))
    return result


def _granule(file: str) -> int:
    """The bytes in whose multiples the kernel keeps a limit."""
    if not _is_huge(file):
        return os.sysconf("SC_PAGE_SIZE")
    size = file.split(".")[1]
    digits = size[:-2]
    return int(digits) << {"KB": 10, "MB": 20, "GB": 30}.get(size[-2:], 0) if digits.isdecimal() else 1


def _same_bytes(found: str, value: str, granule: int) -> bool:
    """Whether a limit is what was written, rounded down to what the kernel counts in."""
    have, want = parse(found), parse(value)
    return have == want if want == UNLIMITED else 0 <= want - have < granule
