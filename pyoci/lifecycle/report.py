"""What is known of containers: their state, all of them, their processes."""

from __future__ import annotations

from pyoci import SPEC_VERSION
from pyoci.cgroup import manager
from pyoci.errors import Error
from pyoci.lifecycle import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.lifecycle.settings import Settings


def state(settings: Settings, container_id: str) -> dict[str, Any]:
    """runtime.md#state, with runc's additions: rootfs, created, owner (a user id)."""
    container = store.load(settings.root, container_id)
    try:
        return _describe(container)
    finally:
        container.close()


def _describe(container: store.Container) -> dict[str, Any]:
    known = container.state
    status = container.status()
    return {
        "ociVersion": SPEC_VERSION,
        "id": container.id,
        "pid": 0 if status == "stopped" else known["pid"],
        "status": status,
        "bundle": known["bundle"],
        "rootfs": known["rootfs"],
        "created": known["created"],
        "annotations": known["annotations"],
        "owner": known["owner"],
    }


def list_containers(settings: Settings) -> list[dict[str, Any]]:
    """The state of every container, by id; what vanishes meanwhile is left out, and what is broken
    is warned about."""
    result = []
    for container_id in store.identifiers(settings.root):
        try:
            result.append(state(settings, container_id))
        except Error as error:
            settings.warn(error.message)
    return result


def processes(settings: Settings, container_id: str) -> list[int]:
    """The host's process ids of everything in the container's cgroup. Error (not-supported) without one."""
    container = store.load(settings.root, container_id)
    try:
        cgroup = manager.load(container.state["cgroup"])
        cgroup.require("nothing else tells its processes from others")
        return cgroup.pids()
    finally:
        container.close()
