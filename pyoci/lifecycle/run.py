"""Create, start and, in the foreground, wait: what `run` is."""

from __future__ import annotations

import os

from pyoci._shim import lib
from pyoci.errors import Error
from pyoci.lifecycle import create as creation
from pyoci.lifecycle import delete, store
from pyoci.lifecycle.start import begin, notify_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.lifecycle.options import CreateOptions
    from pyoci.lifecycle.settings import Settings
    from pyoci.plan.steps import Step

PR_SET_CHILD_SUBREAPER = 36


def run(
    settings: Settings,
    container_id: str,
    options: CreateOptions,
    *,
    detach: bool = False,
    keep: bool = False,
    no_subreaper: bool = False,
    trace: Callable[[Step, int], None] | None = None,
) -> int:
    """Run a container; its exit status (128 + n when signal n ended it), or 0 when detached.

    In the foreground the container is deleted afterwards, unless `keep`. Without `no_subreaper`
    the container's orphans become our children, so that they are reaped (prctl(2)).
    """
    if not detach and not no_subreaper:
        lib.shim_prctl(PR_SET_CHILD_SUBREAPER, 1)
    making = creation.make(settings, container_id, options, gated=False, detached=detach, trace=trace)
    init = making.init
    assert init
    watch = proxy = None
    try:
        try:
            proxy = notify_proxy(making.container, settings)
            if not detach:
                from pyoci.lifecycle.foreground import Foreground

                # Only now: until here an interrupt ends pyoci, which takes back what it began.
                watch = Foreground()
                if making.master >= 0:
                    watch.attach(making.master)
                if proxy:
                    watch.pass_on(proxy)
            begin(making.container, init, init.answer, settings.warn)
        except BaseException:
            _discard(settings, making, container_id)
            raise
        if not watch:
            making.close()
            if proxy:
                proxy.wait_ready()
            return 0
        making.container.close()  # the lock: others may now signal, pause or exec
        status = watch.wait(init.pid, init.pidfd)
        init.pid = 0
        making.take_back_devices()
    finally:
        if proxy:
            proxy.close()
        if watch:
            watch.close()
    if not keep:
        _delete(settings, container_id)
    making.close()
    return status


def _delete(settings: Settings, container_id: str) -> None:
    """Delete the ended container, unless somebody has done so before us."""
    try:
        ended = store.load(settings.root, container_id, lock=True)
    except Error as error:
        if error.code != "not-found":
            raise
    else:
        delete.remove(ended, settings)


def _discard(settings: Settings, making: creation.Making, container_id: str) -> None:
    """Remove a container that could not be started: nobody has been told of it."""
    assert making.init
    making.take_back_devices()
    making.init.destroy()
    delete.remove(making.container, settings)
    if making.master >= 0:
        os.close(making.master)
