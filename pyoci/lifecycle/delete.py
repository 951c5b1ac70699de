"""Deleting a container: nothing of it is left, whatever state it was in (runtime.md#delete)."""

from __future__ import annotations

import os
from _signal import pidfd_send_signal

from pyoci.cgroup import manager
from pyoci.errors import Error
from pyoci.lifecycle import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.manager import Manager
    from pyoci.lifecycle.settings import Settings

KILL_SECONDS = 10.0


def delete(settings: Settings, container_id: str, force: bool) -> None:
    """Delete a stopped container, or a created one; with `force`, any, and a missing one is fine."""
    try:
        container = store.load(settings.root, container_id, lock=True)
    except Error as error:
        if force and error.code == "not-found":
            from pyoci.lifecycle import remains

            remains.remove(settings.root, container_id)
            return
        raise
    try:
        status = container.status()
        if status not in ("stopped", "created") and not force:
            raise Error(
                f"cannot delete container {container_id} that is not stopped: it is {status}",
                code="wrong-state",
                hint=f"pyoci kill {container_id} KILL, or pyoci delete --force {container_id}",
            )
        remove(container, settings)
    finally:
        container.close()


def remove(container: store.Container, settings: Settings) -> None:
    """Kill what lives, remove the cgroups and the state, then run the poststop hooks."""
    state = container.state
    cgroup = manager.load(state["cgroup"])
    alive = container.alive()
    if state.get("net_devices"):
        _take_back_devices(container, state["pid"] if alive else 0, settings)
    if alive:
        _kill_and_wait(container, cgroup)
    cgroup.kill(9)
    cgroup.destroy()
    if state.get("resctrl"):
        from pyoci.cgroup import resctrl

        resctrl.load(state["resctrl"]).destroy()
    container.remove()
    if state["hooks"].get("poststop"):
        run_poststop(state, settings)
    container.close()


def _take_back_devices(container: store.Container, pid: int, settings: Settings) -> None:
    from pyoci.lifecycle import net_devices

    namespace = net_devices.open_namespace(container.config(), pid)
    if namespace >= 0:
        try:
            net_devices.take_back(container.state["net_devices"], namespace, settings.warn)
        finally:
            os.close(namespace)


def _kill_and_wait(container: store.Container, cgroup: Manager) -> None:
    from pyoci.lifecycle.channel import wait_readable

    pid = container.state["pid"]
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if container.alive():  # the pidfd is surely the container's, not a later process's
            _kill(pidfd)
            # The others too: the first process of a pid namespace ends after all that are in it.
            cgroup.kill(9)
            if not wait_readable(pidfd, KILL_SECONDS):
                from pyoci.cgroup import processes

                left = processes.describe(cgroup.pids() or [pid])
                raise Error(
                    f"process {pid} of container {container.id} is still there {KILL_SECONDS:.0f} s "
                    f"after SIGKILL: {left}",
                    code="timeout",
                    hint="after each name stand its state and what it waits for in the kernel",
                )
    finally:
        os.close(pidfd)


def _kill(pidfd: int) -> None:
    try:
        pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        return  # it has just ended; others in the container may not have


def run_poststop(state: dict[str, Any], settings: Settings) -> None:
    """Run them all: a failure is worth a warning, the container is gone (runtime.md#lifecycle)."""
    from pyoci.lifecycle import hooks

    described = store.hook_state(state, "stopped", 0)
    directory = state["bundle"] if os.path.isdir(state["bundle"]) else "/"
    for index, hook in enumerate(state["hooks"].get("poststop") or ()):
        try:
            hooks.run({"poststop": [hook]}, "poststop", described, directory=directory, warn=settings.warn)
        except Error as error:
            settings.warn(f"/hooks/poststop/{index}: {error.message}")
