"""Values for cgroup files, read as the kernel reads them: None for what it refuses, or what can't be known.

Kernel: lib/kstrtox.c, lib/cmdline.c (memparse), lib/bitmap-str.c (bitmap_parselist), kernel/sched/core.c.
"""

from __future__ import annotations

import re

INFINITY = 2**64 - 1
"""systemd's number for no limit."""

_NUMBER = re.compile(r"0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*", re.IGNORECASE)
_SUFFIXES = "kmgtpe"  # each is 2**10 of the one before
_REGION = re.compile(r"(\d+)(?:-(\d+)(?::(\d+)/(\d+))?)?", re.ASCII)
_QUOTA = re.compile(r"\s*(\S{1,15})(?:\s*(\d+))?", re.ASCII)
_MOST_BITS = 1 << 16  # more CPUs or nodes than any machine has


def size(text: str) -> int | None:
    """Bytes, as page_counter_memparse() reads them: `max`, or `64M`, `0x4000000`, `0400`."""
    text = text.strip()
    if text == "max":
        return INFINITY
    digits = _NUMBER.match(text)
    suffix = text[digits.end() :].lower() if digits else ""
    if not digits or (suffix and suffix not in tuple(_SUFFIXES)):
        return None
    return _integer(digits[0]) << 10 * (_SUFFIXES.index(suffix) + 1 if suffix else 0) & INFINITY


def size_v1(text: str) -> int | None:
    """Bytes, as v1's files take them: -1 is no limit, and `max` isn't known."""
    word = text.strip()
    return INFINITY if word == "-1" else None if word == "max" else size(word)


def count(text: str) -> int | None:
    """A number that may be `max`, as pids.max takes it."""
    text = text.strip()
    return INFINITY if text == "max" else number(text)


def number(text: str) -> int | None:
    """A number that isn't negative, as kstrtoull() reads it with any base: 100, +100, 0x64, 0144."""
    digits = text.removesuffix("\n").removeprefix("+")
    found = _integer(digits) if _NUMBER.fullmatch(digits) else None
    return found if found is None or found < INFINITY else None


def _integer(digits: str) -> int:
    low = digits.lower()
    if low.startswith("0x"):
        return int(low, 16)
    return int(low, 8 if low.startswith("0") else 10)


def bandwidth(text: str) -> tuple[int, int | None] | None:
    """Quota and period of cpu.max, in microseconds: the quota -1 for none, the period None if not given."""
    found = _QUOTA.match(text)
    if not found:
        return None
    word, period = found[1], int(found[2]) if found[2] else None
    digits = re.match(r"\d+", word, re.ASCII)
    if not digits and word != "max":
        return None
    return int(digits[0]) if digits else -1, period


def weight_for_all(text: str) -> int | None:
    """The weight that io.weight has for every device without one of its own: `default 50` or `50`."""
    found = re.match(r"(?:default\s*)?(\d+)", text, re.ASCII)
    return int(found[1]) if found and ":" not in text else None


def bits(text: str) -> bytes | None:
    """A list of CPUs or nodes, such as 0-3,8-15:1/2, as a mask, eight bits a byte.

    None also for `all` and `N`, which depend on the machine: a unit without a list has all there are.
    """
    mask = 0
    for region in re.split(r"[,\s]+", text.strip()):
        found = _REGION.fullmatch(region)
        if not found:
            if region:
                return None
            continue
        low, high, used, group = (int(part) if part else None for part in found.groups())
        chosen = _chosen(low or 0, low or 0 if high is None else high, used or 0, group)
        if chosen is None:
            return None
        mask |= chosen
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little") if mask else None


def _chosen(low: int, high: int, used: int, group: int | None) -> int | None:
    """The mask of one range; of each `group` bits the first `used`, where there is one."""
    if low > high or high > _MOST_BITS or (group is not None and not 0 < used <= group):
        return None
    if group is None:
        return (1 << high + 1) - (1 << low)
    return sum(1 << bit for bit in range(low, high + 1) if (bit - low) % group < used)
