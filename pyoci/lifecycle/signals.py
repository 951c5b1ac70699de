"""Sending signals to a container (runtime.md#kill)."""

from __future__ import annotations

import os
from _signal import pidfd_send_signal

from pyoci.cgroup import manager
from pyoci.errors import Error
from pyoci.lifecycle import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.lifecycle.settings import Settings

SIGKILL = 9


def kill(settings: Settings, container_id: str, signal: int, everyone: bool = False) -> None:
    """Send a signal to the container's first process, or with `everyone` to all of its processes.

    Without a cgroup nobody knows the others: then the first one gets it alone.
    """
    container = store.load(settings.root, container_id)
    try:
        if everyone:
            cgroup = manager.load(container.state["cgroup"])
            if cgroup.groups:
                cgroup.kill(signal)  # also what a container that has ended left behind
                return
        status = container.status()
        if status not in ("created", "running", "paused"):
            raise Error(
                f"container not running: {container_id} is {status}, so no signal can reach it",
                code="wrong-state",
            )
        _send(container, signal)
    finally:
        container.close()


def _send(container: store.Container, signal: int) -> None:
    pid = container.state["pid"]
    try:
        pidfd = os.pidfd_open(pid)
        try:
            # Checked only now: the pidfd holds on to whatever process had the number when it was
            # opened, and its start time tells whether that was the container's.
            if not container.alive():
                raise ProcessLookupError
            pidfd_send_signal(pidfd, signal)
            if signal == SIGKILL:
                manager.load(container.state["cgroup"]).let_die()
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        raise Error(
            f"container not running: process {pid} of {container.id} has just ended", code="wrong-state"
        ) from None
    except OSError as error:
        raise Error(
            f"can't send signal {signal} to process {pid}: {os.strerror(error.errno or 0).lower()}",
            errno=error.errno or 0,
        ) from None
