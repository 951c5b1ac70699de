"""Adding mounts to a running container, and removing them: all of a file's, or none."""

from __future__ import annotations

import os

from pyoci.bundle import document, rules, schema
from pyoci.cgroup import layout, manager
from pyoci.errors import Error
from pyoci.lifecycle import facts, store
from pyoci.lifecycle import init as executor
from pyoci.lifecycle.create import open_descriptors
from pyoci.lifecycle.joining import Joined
from pyoci.plan import steps
from pyoci.plan.mounting import compile_addition, compile_removal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.lifecycle.settings import Settings
    from pyoci.plan.plan import Plan
    from pyoci.plan.steps import Step

    Mounts = list[dict[str, Any]]

MOUNTING = ("mount_bind", "mount_filesystem")


def add(settings: Settings, container_id: str, path: str) -> None:
    """Mount what the file lists, in its order, with all that an entry of config.json can say.

    Relative sources are the bundle's. Error: nothing stays mounted, but targets that were made remain.
    """
    mounts = _read(path, settings)

    def change(container: store.Container, joined: Joined) -> None:
        config = container.config()
        for warning in rules.check_mounts(mounts, config.get("linux") or {}):
            settings.warn(warning)
        plan = compile_addition(
            config,
            mounts,
            bundle=container.state["bundle"],
            cgroups=_cgroups(container, mounts),
            kinds=joined.kinds,
            user=joined.maps_root,
            warn=lambda pointer, message: settings.warn(f"{pointer}: {message}"),
        )
        _add(plan, joined, settings)

    _with_running(settings, container_id, change)


def remove(settings: Settings, container_id: str, path: str) -> None:
    """Unmount the destinations of what the file lists, the last first."""
    mounts = _read(path, settings)
    targets = [(f"/mounts/{index}", mount["destination"]) for index, mount in enumerate(mounts)]

    def change(container: store.Container, joined: Joined) -> None:
        plan = compile_removal(reversed(targets), kinds=joined.kinds, user=joined.maps_root)
        _run(plan, {"process": joined.pidfd}, settings, [])

    _with_running(settings, container_id, change)


def _read(path: str, settings: Settings) -> Mounts:
    """A list of mounts, or an object that has one as `mounts`, such as a whole config.json."""
    found: Any = document.parse(document.read_file(path, "the file of mounts"), path)
    if isinstance(found, dict):
        found = found.get("mounts")
    if not isinstance(found, list):
        raise Error(
            f"{path} has no mounts",
            code="invalid-config",
            pointer="/mounts",
            hint='it is like {"mounts": [{"destination": "/data", "source": "/srv", "options": ["bind"]}]}',
        )
    for index, mount in enumerate(found):
        for warning in schema.check_mount(mount, f"/mounts/{index}"):
            settings.warn(warning)
    return found


def _with_running(
    settings: Settings, container_id: str, change: Callable[[store.Container, Joined], None]
) -> None:
    """Change a container that has a mount namespace, while nobody else does."""
    container = store.load(settings.root, container_id, lock=True)
    try:
        _check_state(container)
        joined = Joined(container.state["pid"])
        try:
            _check_state(container)  # the process may have ended before its pidfd was opened
            change(container, joined)
        finally:
            joined.close()
    finally:
        container.close()


def _check_state(container: store.Container) -> None:
    status = container.status()
    if status not in ("created", "running", "paused"):
        raise Error(
            f"cannot change the mounts of container {container.id}: it is {status}", code="wrong-state"
        )


def _cgroups(container: store.Container, mounts: Mounts) -> Any:
    if not any(mount.get("type") in ("cgroup", "cgroup2") for mount in mounts):
        return None
    cgroups, annotations = manager.load(container.state["cgroup"]), container.state["annotations"]
    return facts.cgroup_view(layout.detect(), cgroups, annotations)


def _add(plan: Plan, joined: Joined, settings: Settings) -> None:
    opened: dict[str, int] = {}
    try:
        open_descriptors(plan, opened, settings)
        plan.steps = [_with_copied_link(step, opened) for step in plan.steps]
        done: list[Step] = []
        try:
            _run(plan, {**opened, "process": joined.pidfd}, settings, done)
        except BaseException:
            _undo(done, joined, settings)
            raise
    finally:
        for descriptor in opened.values():
            if descriptor >= 0:
                os.close(descriptor)


def _with_copied_link(step: Step, opened: dict[str, int]) -> Step:
    """A symbolic link that is to be copied: its value is read here, where it is the host's."""
    if step.op != "mount_bind" or opened[str(step.args[1])] >= 0:
        return step
    value = os.readlink(str(step.args[0]))
    return steps.make_symlink(step.pointer, value=value, path=str(step.args[2]), replace=2)


def _undo(done: list[Step], joined: Joined, settings: Settings) -> None:
    """Unmount what was mounted before a failure, of which the caller is about to hear."""
    targets = []
    for step in reversed(done):
        if step.op in MOUNTING:
            targets.append((step.pointer, str(step.args[2])))
    if targets:
        plan = compile_removal(targets, kinds=joined.kinds, user=joined.maps_root)
        try:
            _run(plan, {"process": joined.pidfd}, settings, [])
        except Error as error:
            settings.warn(f"what was mounted before the failure stays: {error.message}")


def _run(plan: Plan, descriptors: dict[str, int], settings: Settings, done: list[Step]) -> None:
    """Run a plan that ends by itself. Into `done` goes each step that is done."""
    process = executor.spawn(
        plan,
        descriptors=descriptors,
        warn=settings.warn,
        trace=lambda step, _: done.append(step),
    )
    try:
        process.receive()
    finally:
        process.destroy()
    if not done or done[-1] is not plan.steps[-1]:
        raise Error("the process that changes the container's mounts was killed")
