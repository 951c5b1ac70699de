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


def text(directory: str, file: str) -> str | None:
    """All that a file says; None if it can't be read."""
    try:
        return files.read(f"{directory}/{file}")
    except OSError:
        return None


def number(directory: str, file: str) -> int | None:
    """The first number in a file, UNLIMITED for none at all; None if the file isn't there."""
    return parse(text(directory, file) or "")


def parse(value: str) -> int | None:
    """The first number of a value; UNLIMITED for the word that means none, and for what can't be counted.
    None where there is no number, or one in another form than the kernel's own."""
    word = value.partition(" ")[0]
    if word in ("max", "-1"):
        return UNLIMITED
    return min(int(word), UNLIMITED) if word.isascii() and word.isdecimal() else None


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
    key = _key(value)
    line = _line(found, key)
    if key == "default":
        return f"default {line or found}"
    return f"{key} {line or _KEYED[file]}"


def holds(directory: str, file: str, value: str) -> bool | None:
    """Whether a file says what was written to it; None where that can't be told."""
    found = text(directory, file)
    if found is None:
        return None
    if file in _KEYED:
        return _line_holds(file, found, value)
    if file == "memory.oom_control":
        return _line(found, "oom_kill_disable") == value
    if file.startswith("cpuset."):
        wanted = ranges(value)
        return None if wanted is None else ranges(found) == wanted
    if file == "cpu.max":
        plain = value and all(parse(word) is not None for word in value.split(" "))
        return found.split()[: len(value.split())] == value.split() if plain else None
    if file in _EXACT or file in _BYTES or _is_huge(file):
        have, want = parse(found), parse(value)
        if have is None or want is None:
            return None
        return have == want if file in _EXACT or want == UNLIMITED else 0 <= want - have < _granule(file)
    return None


def _line_holds(file: str, found: str, value: str) -> bool | None:
    """The same for files with a line for each device or name."""
    key, words = _key(value), value.split()
    wanted = words[1:] if len(words) > 1 else words
    if not wanted or not all(_is_plain(word.rpartition("=")[2]) for word in wanted):
        return None
    line = _line(found, key) or (found if key == "default" else _KEYED[file])
    return line == _KEYED[file] if wanted == ["0"] else set(wanted) <= set(line.split())


def _is_plain(word: str) -> bool:
    return word == "default" or parse(word) is not None


def _is_huge(file: str) -> bool:
    return file.startswith("hugetlb.")


def _key(value: str) -> str:
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


def ranges(listed: str) -> list[tuple[int, int]] | None:
    """A list like 0-3,7 as ranges, in order and joined; None for what isn't one."""
    result: list[tuple[int, int]] = []
    parts = [part.partition("-") for part in listed.replace(" ", "").split(",")]
    ends = [(parse(low), parse(high) if dash else parse(low)) for low, dash, high in parts]
    for low, high in sorted((low, high) for low, high in ends if low is not None and high is not None):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result if all(None not in end for end in ends) else None


def _granule(file: str) -> int:
    """The bytes in whose multiples the kernel keeps a limit."""
    if not _is_huge(file):
        return os.sysconf("SC_PAGE_SIZE")
    size = file.split(".")[1]
    digits = size[:-2]
    return int(digits) << {"KB": 10, "MB": 20, "GB": 30}.get(size[-2:], 0) if digits.isdecimal() else 1
