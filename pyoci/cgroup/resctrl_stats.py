"""What a container's group of the resctrl filesystem may use and has used (the kernel's resctrl.rst)."""

from __future__ import annotations

import os

from pyoci.cgroup import files
from pyoci.cgroup.formats import non_zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.resctrl import Group

    Section = dict[str, Any]

_CACHE = (("cbm_mask", str), ("min_cbm_bits", int), ("num_closids", int))
_BANDWIDTH = (("bandwidth_gran", int), ("delay_linear", int), ("min_bandwidth", int), ("num_closids", int))


def collect(group: Group) -> Section:
    """runc's intel_rdt: what the processor allows, the schemata of all and of the group, and its counters:
    bytes of memory read and written (mbm) and of cache in use (cmt), one entry a cache.

    Only the resources that the processor has are told.
    """
    mount = _mount(group.path)
    schemata = _lines(f"{group.path}/schemata")
    all_schemata = _lines(f"{mount}/schemata")
    found: Section = {}
    # With caches split for code and data, both halves say the same of what there is.
    half = "L3" if files.exists(f"{mount}/info/L3") else "L3CODE"
    for resource, directory, name, keys in (
        ("L3", half, "l3_cache", _CACHE),
        ("MB", "MB", "mem_bw", _BANDWIDTH),
    ):
        information = {key: _value(f"{mount}/info/{directory}/{key}", kind) for key, kind in keys}
        if not any(information.values()):
            continue
        found[f"{name}_info"] = non_zero(information)
        for suffix, lines in (("schema_root", all_schemata), ("schema", schemata)):
            found[f"{name}_{suffix}"] = next((line for line in lines if line.startswith(resource)), "")
    return {**non_zero(found), **_monitored(mount, group.monitor or group.path)}


def _monitored(mount: str, directory: str) -> Section:
    features = _lines(f"{mount}/info/L3_MON/mon_features")
    found: Section = {}
    for name, keys in (
        ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
        ("cmt_stats", ("llc_occupancy",)),
    ):
        if any(key in features for key in keys):
            found[name] = [
                {key: _value(f"{cache}/{key}", int) for key in keys} for cache in _caches(directory)
            ]
    return found


def _caches(directory: str) -> list[str]:
    """The directories of a group's counters, one a cache of level 3."""
    try:
        names = sorted(os.listdir(f"{directory}/mon_data"))
    except FileNotFoundError:
        return []
    return [f"{directory}/mon_data/{name}" for name in names if name.startswith("mon_L3_")]


def _mount(path: str) -> str:
    """Where the filesystem is mounted, of which a group is a directory."""
    while len(path) > 1 and not files.exists(f"{path}/info"):
        path = os.path.dirname(path)
    return path


def _lines(path: str) -> list[str]:
    return [line.strip() for line in files.read_or_nothing(path).split("\n")]


def _value(path: str, kind: type) -> Any:
    """A file's value; 0 for what isn't there, or what the hardware calls "Unavailable" for the moment."""
    text = files.read_or_nothing(path)
    if kind is int:
        return int(text) if text.isdecimal() else 0
    return text
