"""Changing a container's resources while it lives: all that is asked for, or nothing."""

from __future__ import annotations

from pyoci.bundle import rules, schema
from pyoci.cgroup import manager, merging
from pyoci.errors import Error
from pyoci.lifecycle import interrupted, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.journal import Journal
    from pyoci.lifecycle.settings import Settings

STATES = ("created", "running", "paused")


def update(
    settings: Settings, container_id: str, resources: Any, intel_rdt: dict[str, str] | None = None
) -> None:
    """Put resources in force, as linux.resources says them; what isn't given stays as it is, and so does
    what is 0 where 0 can't be meant. A paused container stays paused.

    intel_rdt  l3CacheSchema and memBwSchema, as linux.intelRdt has them
    Error, with a pointer into `resources`: all is as it was before, or the message says what isn't.
    """
    for warning in (*schema.check_resources(resources), *rules.check_resources(resources)):
        settings.warn(warning)
    container = store.load(settings.root, container_id, lock=True)
    try:
        interrupted.put_back(container, settings)
        status = container.status()
        if status not in STATES:
            raise Error(f"container not running: {container_id} is {status}", code="wrong-state")
        cgroup = manager.load(container.state["cgroup"])
        with interrupted.journal(container, cgroup, settings) as journal:
            _change(container, cgroup, resources, intel_rdt or {}, journal)
            journal.commit()
    finally:
        container.close()


def _change(
    container: store.Container,
    cgroup: manager.Manager,
    resources: dict[str, Any],
    intel_rdt: dict[str, str],
    journal: Journal,
) -> None:
    config = container.config()
    linux = config.setdefault("linux", {})
    before = {name: linux.get(name) for name in ("resources", "intelRdt")}
    was = linux.get("resources") or {}
    cgroup.update(resources, "", was, journal)
    if intel_rdt:
        _share(container, cgroup, intel_rdt, journal)
        linux["intelRdt"] = {**(linux.get("intelRdt") or {}), **intel_rdt}
    linux["resources"] = merging.merged(was, merging.given(resources))
    # What reads it later, such as an error that names the limit, must find what is in force.
    note = ("the saved configuration", "config", "config.json", before)
    journal.attempt([note], lambda: container.save_config(config))


def _share(
    container: store.Container, cgroup: manager.Manager, section: dict[str, str], journal: Journal
) -> None:
    """Changes what caches and bandwidth the container may use; a group of its own is made for that if it
    has none."""
    from pyoci.cgroup import resctrl
    from pyoci.host import mountinfo

    if container.state.get("resctrl"):
        resctrl.load(container.state["resctrl"]).change(section, journal)
        return
    group = resctrl.plan(section, container.id, resctrl.find_mount(mountinfo.read()))
    record = group.record()
    journal.note(f"the group {group.path}", "resctrl", group.path, record)
    container.state["resctrl"] = record  # first of all, so that delete can undo what was begun
    container.save()
    try:
        group.create(section)
    finally:
        record.update(group.record())  # it isn't ours if somebody else has made it since
    group.take_over(cgroup.pids)
