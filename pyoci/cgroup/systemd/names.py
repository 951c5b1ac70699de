"""Names of units and slices, and where systemd puts their cgroups (systemd.slice(5), systemd.unit(5))."""

from __future__ import annotations

from pyoci.cgroup.files import PATH
from pyoci.errors import Error

PREFIX = "pyoci"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids")
_LONGEST = 255  # UNIT_NAME_MAX - 1


class UnitName:
    """A container's unit: `name` (a scope, or a slice of its own) in the slice `slice`."""

    __slots__ = ("name", "slice")

    def __init__(self, slice_: str, name: str) -> None:
        self.slice = slice_
        self.name = name

    def cgroup(self) -> str:
        """The unit's cgroup, as a path below that of the manager."""
        if self.name.endswith(".slice"):
            return slice_path(self.name)
        return f"{slice_path(self.slice)}/{_escaped(self.name)}"


def unit_name(cgroups_path: str | None, container_id: str, *, default_slice: str) -> UnitName:
    """What `slice:prefix:name`, runc's form of cgroupsPath under systemd, names.

    Without a path it is `pyoci-ID.scope`. An empty slice is the default one and `-` is the root. A name
    that ends in `.slice` is a slice itself; any other becomes `prefix-name.scope`, and `-name.scope` without
    a prefix, as runc and crun have it.
    """
    if not cgroups_path:
        return UnitName(default_slice, _valid(f"{PREFIX}-{container_id}.scope", ".scope"))
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise _invalid(
            f"{cgroups_path!r} doesn't name a unit of systemd's",
            f"write slice:prefix:name, such as {default_slice}:{PREFIX}:{container_id}",
        )
    where, prefix, name = parts
    where = {"": default_slice, "-": "-.slice"}.get(where, where)
    slice_path(where)  # refuses what is no slice
    if name.endswith(".slice"):
        return UnitName(where, _valid(name, ".slice"))
    return UnitName(where, _valid(f"{prefix}-{name}.scope", ".scope"))


def slice_path(name: str) -> str:
    """A slice's cgroup: `a-b.slice` lies in `a.slice`; `-.slice`, the root, is ""."""
    if name == "-.slice":
        return ""
    _valid(name, ".slice")
    words = name.removesuffix(".slice").split("-")
    if not all(words):
        raise _invalid(f"{name!r} is no slice: there is an empty name beside a dash", "leave the dash out")
    slices = ("-".join(words[: count + 1]) + ".slice" for count in range(len(words)))
    return "".join(f"/{_escaped(one)}" for one in slices)


def _escaped(name: str) -> str:
    """A unit's name as that of a directory: with `_` before what could be a cgroup file's (systemd's
    cg_escape())."""
    stem = name.rpartition(".")[0]
    return f"_{name}" if name[0] in "_." or name.startswith("cgroup.") or stem in _CONTROLLERS else name


def _valid(name: str, suffix: str) -> str:
    stem = name.removesuffix(suffix)
    if not name.endswith(suffix):
        raise _invalid(f"{name!r} is no slice", f"it has to end in {suffix}")
    if not stem or len(name) > _LONGEST or not _LETTERS.issuperset(stem):
        raise _invalid(
            f"{name[:_LONGEST]!r} can't be the name of a unit",
            f"systemd takes up to {_LONGEST} letters, digits and :-_.\\@",
        )
    return name


def _invalid(message: str, hint: str) -> Error:
    return Error(message, code="invalid-config", pointer=PATH, hint=hint)
