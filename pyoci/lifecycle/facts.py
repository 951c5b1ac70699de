"""What a plan is compiled from besides config.json: the facts of the machine and the wishes of the caller."""

from __future__ import annotations

import os

from pyoci.cgroup import UNIFIED, manager
from pyoci.host import privileges
from pyoci.plan.situation import CgroupHierarchy, CgroupView, Situation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.layout import Layout
    from pyoci.cgroup.manager import Manager
    from pyoci.lifecycle.options import CreateOptions
    from pyoci.lifecycle.settings import Settings

# crun's annotation: the destination at which only the hierarchy name=systemd is to be, as in v1.
FORCE_CGROUP_V1 = "run.oci.systemd.force_cgroup_v1"


def choose_cgroups(config: dict[str, Any], where: Layout, container_id: str, settings: Settings) -> Manager:
    """The cgroups that the container will have; without root's rights those that there is a right to make."""
    linux = config.get("linux") or {}
    if settings.cgroup_manager == "disabled" and (linux.get("resources") or {}).get("devices"):
        settings.warn("/linux/resources/devices: has no effect, because cgroups are disabled")
    path = linux.get("cgroupsPath")
    chosen = manager.new(where, path, container_id, settings.cgroup_manager, config.get("annotations"))
    if settings.rootless:
        from pyoci.cgroup import lacking

        chosen.rootless = True
        lacking.forgo(chosen, named=bool(path))
        for controller, place in chosen.missing.items():
            settings.debug(
                f"goes on without a cgroup of {controller or 'cgroup2'}: no right to make one in {place}"
            )
    return chosen


def gather(
    config: dict[str, Any], options: CreateOptions, container_id: str, settings: Settings
) -> Situation:
    """The situation of a container to be created, all but its cgroups. Error: a label that can't be had."""
    linux = config.get("linux") or {}
    situation = Situation(container_id)
    situation.pivot = not options.no_pivot
    situation.kcore = os.path.exists("/proc/kcore")
    situation.keyring = not options.no_new_keyring
    situation.privileged = privileges.is_host_root()
    situation.superuser = os.geteuid() == 0
    situation.nested = situation.superuser and not situation.privileged
    situation.set_groups = _may_set_groups(linux, situation)
    situation.preserve = options.preserve_fds
    situation.listening = options.listening
    if config["process"].get("capabilities"):
        situation.last_capability = privileges.last_capability()
        if not any(entry["type"] == "user" for entry in linux.get("namespaces") or ()):
            situation.bounding = privileges.bounding_set()
    _check_labels(config)
    compile_filter(config, settings, situation)
    return situation


def _may_set_groups(linux: dict[str, Any], situation: Situation) -> bool:
    """Whether the container's processes may choose their groups: a user namespace denies it or not, and
    hands that on to those made in it; who maps nothing but himself has to deny it."""
    if situation.privileged:
        return True
    if situation.superuser:
        return privileges.may_set_groups()
    from pyoci.lifecycle import mappings

    return bool(linux.get("gidMappings")) and not mappings.is_by_hand(linux)


def _check_labels(config: dict[str, Any]) -> None:
    process, mounts = config["process"], (config.get("linux") or {}).get("mountLabel") or ""
    if mounts or process.get("apparmorProfile") or process.get("selinuxLabel"):
        from pyoci.host import lsm

        lsm.check_labels(process, mounts)


def compile_filter(config: dict[str, Any], settings: Settings, situation: Situation) -> None:
    """The seccomp program, if one is asked for: from the cache beside the containers' state, or newly
    compiled, or from an annotation."""
    if not (config.get("linux") or {}).get("seccomp") and not config.get("annotations"):
        return
    from pyoci.host import seccomp

    compiled = seccomp.of_config(config, f"{settings.root}/.cache/seccomp")
    if not compiled:
        return
    situation.filter, situation.filter_flags = compiled.program, compiled.flags
    situation.filter_pointer = compiled.pointer
    for warning in compiled.warnings:
        settings.warn(warning)


def cgroup_view(where: Layout, cgroup: Manager, annotations: dict[str, str]) -> CgroupView:
    """What cgroup mounts can show: the container's own cgroups, or ours if it has none."""
    own = cgroup.paths()
    hierarchies: list[CgroupHierarchy] = []
    for found in where.hierarchies:
        path = own.get(found.controllers[0])
        shared = path is None
        if path is None:
            # From within a cgroup namespace one outside it has a name that leads upwards.
            path = "" if found.own.startswith("/..") else (found.mount + found.own).rstrip("/")
        name = "unified" if found.controllers == [UNIFIED] else os.path.basename(found.mount)
        if found.controllers[0].startswith("name="):
            name = found.controllers[0].removeprefix("name=")
        if any(name == other.directory for other in hierarchies):
            name = ",".join(found.controllers)
        hierarchies.append(CgroupHierarchy(name, found.controllers, path, shared=shared))
    named = all(controllers.startswith("name=") for controllers in where.v1)
    return CgroupView(
        where.unified is not None and named,
        hierarchies,
        systemd_only=annotations.get(FORCE_CGROUP_V1, ""),
    )
