"""What happens in a container: what it uses, told at intervals, and when its memory runs out.

The events are objects in runc's envelope: {"type": "stats", "id": ID, "data": {...}} and {"type": "oom",
"id": ID}. Between them nothing is done: one poll(2) waits for the kernel's notice, for the end of the
container, for that of the reader, and for the time.
"""

from __future__ import annotations

import os
import select
from time import monotonic_ns

from pyoci.cgroup import UNIFIED, manager, oom, resctrl, resctrl_stats
from pyoci.cgroup import stats as cgroup_stats
from pyoci.errors import Error
from pyoci.host import net_dev, procfs
from pyoci.lifecycle import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.lifecycle.settings import Settings

    Event = dict[str, Any]

MILLISECOND = 1_000_000  # in ns
_LONGEST_POLL = (1 << 31) - 1  # ms


def stats(settings: Settings, container_id: str) -> Event:
    """What the container uses now. Error (wrong-state) if it has ended."""
    container = _load_running(settings, container_id)
    try:
        return _stats(container)
    finally:
        container.close()


def watch(settings: Settings, container_id: str, interval: int, reader: int = -1) -> Iterator[Event]:
    """The events until the container ends: every `interval` ns what it uses, at once if memory runs out.

    reader  the descriptor that the events are written to: if it is a pipe whose reader goes, they end too
    """
    container = _load_running(settings, container_id)
    try:
        yield from _watch(settings, container, interval, reader)
    finally:
        container.close()


def _load_running(settings: Settings, container_id: str) -> store.Container:
    container = store.load(settings.root, container_id)
    status = container.status()
    if status in ("stopped", "creating"):
        container.close()
        raise _not_running(container_id, status)
    return container


def _not_running(container_id: str, status: str) -> Error:
    return Error(f"container with id {container_id} is not running: it is {status}", code="wrong-state")


def _stats(container: store.Container) -> Event:
    try:
        data = cgroup_stats.collect(manager.load(container.state["cgroup"]))
    except Error:
        # It ended while it was looked at, and somebody has deleted it.
        if not container.alive():
            raise _not_running(container.id, "stopped") from None
        raise
    share = container.state.get("resctrl")
    data["intel_rdt"] = resctrl_stats.collect(resctrl.load(share)) if share else {}
    data["network_interfaces"] = _interfaces(container.state["pid"])
    return {"type": "stats", "id": container.id, "data": data}


def _interfaces(pid: int) -> list[dict[str, str | int]] | None:
    """Those that are the container's own; None where it has none, or the host's, and nothing is its own."""
    try:
        shared = procfs.ns_id(pid, "net") == procfs.ns_id("self", "net")
    except OSError:
        return None
    return None if shared else net_dev.interfaces(pid) or None


def _watch(settings: Settings, container: store.Container, interval: int, reader: int) -> Iterator[Event]:
    cgroup = manager.load(container.state["cgroup"])
    cgroup.require(cgroup_stats.UNCOUNTED)
    try:
        process = os.pidfd_open(container.state["pid"])
    except ProcessLookupError:
        raise _not_running(container.id, "stopped") from None
    notices = None
    try:
        if not container.alive():  # the number was another process's by now
            raise _not_running(container.id, "stopped")
        notices = oom.watch(cgroup)
        if notices is None:
            where = "cgroup v2" if UNIFIED in cgroup.paths() else "the mounted hierarchies"
            settings.warn(f"nothing can tell when memory runs out: {where} has no memory controller here")
        yield from _wait(container, process, notices, interval, reader)
    finally:
        os.close(process)
        if notices:
            notices.close()


def _wait(
    container: store.Container,
    process: int,
    notices: oom.EventWatch | oom.FileWatch | None,
    interval: int,
    reader: int,
) -> Iterator[Event]:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if notices:
        poll.register(notices.descriptor, notices.mask)
    if reader >= 0:
        poll.register(reader, 0)  # POLLERR comes unasked
    due = monotonic_ns() + interval
    while True:
        left = max(due - monotonic_ns(), 0)
        ready = dict(poll.poll(min(-(-left // MILLISECOND), _LONGEST_POLL)))
        # Before the end: what ended the container may have been just this.
        if notices and (notices.descriptor in ready or process in ready) and notices.happened():
            yield {"type": "oom", "id": container.id}
        if notices and notices.over:
            poll.unregister(notices.descriptor)
            notices = None
        if process in ready or reader in ready:
            return
        if monotonic_ns() >= due:
            try:
                told = _stats(container)
            except Error:
                if not container.alive():
                    return
                raise
            yield told
            # What a slow reader has missed is not made up for.
            due = max(due + interval, monotonic_ns())
