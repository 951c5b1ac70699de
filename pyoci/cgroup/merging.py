"""Resources laid over others: what an update really gives, and what then holds, as config.json says it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Section = dict[str, Any]

# Docker and others send 0 for each of these that nobody has set: it means "as it is".
_ZERO_IS_NOTHING = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"),
    "pids": ("limit",),
    "blockIO": ("weight", "leafWeight"),
    "network": ("classID",),
}
_LARGEST_SWAPPINESS = 200  # more is -1 in 64 bits, as engines write "the kernel's default"


def given(resources: Section) -> Section:
    """What of linux.resources is really said, without what engines write for "not given"."""
    result: Section = {}
    for name, section in resources.items():
        kept = section
        if isinstance(section, dict):
            zeros = _ZERO_IS_NOTHING.get(name, ())
            kept = {
                key: value
                for key, value in section.items()
                if value not in (None, "", [], {}) or name == "unified"
                if not (value == 0 and key in zeros)
            }
            if name == "memory" and kept.get("swappiness", 0) > _LARGEST_SWAPPINESS:
                del kept["swappiness"]
        if kept:
            result[name] = kept
    return result


def merged(old: Section, new: Section) -> Section:
    """linux.resources with what given() has left of an update laid over it. `old` isn't changed."""
    result = dict(old)
    for name, section in new.items():
        if name == "hugepageLimits":
            result[name] = _by(lambda page: page["pageSize"], old.get(name), section)
        elif name == "devices" or not isinstance(section, dict):
            result[name] = section
        else:
            result[name] = {
                **(old.get(name) or {}),
                **{key: _inner((old.get(name) or {}).get(key), value) for key, value in section.items()},
            }
    memory = new.get("memory") or {}
    if memory.get("limit") == -1 and "swap" not in memory:
        result["memory"]["swap"] = -1  # no limit of memory is none of both together either
    return result


def _inner(old: Any, new: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):  # an rdma adapter
        return {**old, **new}
    if isinstance(new, list) and new and isinstance(new[0], dict):
        if "major" in new[0]:  # weights and rates of block devices
            return _by(lambda device: (device["major"], device["minor"]), old, new)
        return _by(lambda interface: interface["name"], old, new)
    return new


def _by(key: Callable[[Section], Any], old: list[Section] | None, new: list[Section]) -> list[Section]:
    """Entries one for each key, the new ones over the old."""
    found: dict[Any, Section] = {}
    for entry in (*(old or ()), *new):
        found[key(entry)] = {**found.get(key(entry), {}), **entry}
    return list(found.values())
