"""Pausing and resuming all of a container's processes by its freezer cgroup."""

from __future__ import annotations

from pyoci.cgroup import manager
from pyoci.errors import Error
from pyoci.lifecycle import interrupted, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.lifecycle.settings import Settings


def pause(settings: Settings, container_id: str) -> None:
    """Stop every process of a running (or created) container where it is."""
    container = store.load(settings.root, container_id, lock=True)
    try:
        interrupted.put_back(container, settings)
        status = container.status()
        if status not in ("running", "created"):
            raise Error(f"container not running: {container_id} is {status}", code="wrong-state")
        manager.load(container.state["cgroup"]).freeze()
    finally:
        container.close()


def resume(settings: Settings, container_id: str) -> None:
    """Let a paused container's processes go on."""
    container = store.load(settings.root, container_id, lock=True)
    try:
        if interrupted.put_back(container, settings):
            return  # it wasn't paused, but stopped by an update
        status = container.status()
        if status != "paused":
            raise Error(f"container not paused: {container_id} is {status}", code="wrong-state")
        manager.load(container.state["cgroup"]).thaw()
    finally:
        container.close()
