"""Going on without cgroups that can't be had: what may be asked for then, what may not, and what would help.

Who isn't root may make cgroups only in those that were given to him, in some hierarchies or in none. As with
runc the container then stays in pyoci's own; but what was to be limited, and can't be, is refused.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM

from pyoci.cgroup import UNIFIED, files, resources
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.cgroup.devices import Rule
    from pyoci.cgroup.manager import Group, Manager
    from pyoci.cgroup.resources import Write

_LEAVE_OUT = "leave the limit out"


def forgo(manager: Manager, named: bool) -> None:
    """Takes from a manager of new cgroups those that we have no right to make, and notes them in it.

    named  whether cgroupsPath says where they are to be: then all are wanted, and Error says which can't be
    """
    for group in list(manager.groups):
        refused = _refused(group)
        if not refused or (manager.driver == "systemd" and _is_systemds(group)):
            continue
        if named and manager.driver == "cgroupfs":
            raise Error(
                f"no right to make the cgroup {group.path}: {refused} belongs to somebody else",
                code="permission",
                pointer=files.PATH,
                hint="name one below a cgroup that root has made yours (chown), or none: then the container "
                "stays in pyoci's own where it can't have its own",
            )
        manager.groups.remove(group)
        for name in group.controllers:
            manager.missing[name] = refused


def _is_systemds(group: Group) -> bool:
    """Whether it is in the hierarchy in which systemd itself makes its units' cgroups."""
    return group.version == 2 or "name=systemd" in group.controllers


def _refused(group: Group) -> str:
    """Which directory keeps us from making a cgroup, "" if none does."""
    parent = os.path.dirname(group.path)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    return "" if os.access(parent, os.W_OK) else parent


def reachable(manager: Manager, wanted: dict[str, Any], pointer: str, version: Callable[[str], int]) -> Any:
    """What of linux.resources concerns cgroups that the container has; the rest wants no limit. Error if not.

    version  1 or 2: which kind of hierarchy of the container's has a controller; 0 if none
    """
    kept: dict[str, Any] = {}
    for section, value in wanted.items():
        asked = resources.translate({section: value}, pointer, _anywhere)
        lost = [write for write in asked if not version(write.controller)]
        for write in lost:
            if not _is_void(write):
                raise _no_cgroup(manager, write)
        if not lost:
            kept[section] = value
    return kept


def _anywhere(controller: str) -> int:
    return 2 if controller == UNIFIED else 1


def _is_void(write: Write) -> bool:
    """Whether a process without a cgroup of its own has what a write would give it: no limit."""
    return write.optional or write.choices[0][1] in ("-1", "max")


def _no_cgroup(manager: Manager, write: Write) -> Error:
    message, hint = "there is no cgroup to set this in", _LEAVE_OUT
    if manager.driver == "disabled":
        message += ", because cgroups are disabled"
    elif place := manager.missing.get(write.controller) or manager.missing.get(UNIFIED):
        message += f": pyoci has no right to make one in {place}"
        hint = f"{_remedies(manager)}; or {_LEAVE_OUT}"
    else:
        message = f"no cgroup hierarchy with the {write.controller} controller is mounted"
    return Error(message, code="not-supported", pointer=write.pointer, hint=hint)


def _remedies(manager: Manager) -> str:
    """How somebody without rights comes by cgroups on this machine."""
    if manager.mode != "v2":
        return "have root make a cgroup yours (chown) in every hierarchy, and start pyoci from within it"
    given = (
        "have root make a cgroup yours (chown it, its cgroup.procs and cgroup.subtree_control), and start "
        "pyoci from one below it"
    )
    if manager.driver != "systemd" and os.path.exists("/run/systemd/system"):
        return f"give --systemd-cgroup, which asks your own systemd; or {given}"
    return given


def may_go_unrestricted(error: Error, rules: list[Rule]) -> bool:
    """Whether the container may be made although nobody keeps to its device rules, as runc and crun do.

    It may if they deny everything but what they name: without the host's rights nobody makes a device node,
    and so there are only the nodes that the bundle itself puts into the container, for the user who may open
    them anyway. A rule against a particular device is meant for one of these.
    """
    if error.errno not in (0, EACCES, EPERM):
        return False
    return not any(rule for rule in rules if not rule.allow and rule.kind != "a")


def unenforceable(rules: list[Rule], error: Error) -> Error:
    """The Error for a rule against a device that nobody can be made to keep to."""
    denial = next(rule for rule in rules if not rule.allow and rule.kind != "a")
    return Error(
        f"no right to deny a device: {error.message}",
        code="permission",
        pointer=denial.pointer,
        errno=error.errno,
        hint="only root may set device rules; keep the device out of linux.devices and of mounts instead",
    )
