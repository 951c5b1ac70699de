"""Being told by the kernel when a container runs out of memory: an eventfd on v1, a poll on v2.

Nothing is asked again and again: each watch is a descriptor to poll, which wakes when there is news.
"""

from __future__ import annotations

import os
import select
from errno import ENODEV

from pyoci.cgroup import UNIFIED, files
from pyoci.cgroup.formats import flat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.manager import Manager


def kills() -> int:
    """How many processes the kernel has killed for lack of memory since it was booted, in any cgroup."""
    counts = dict(line.split() for line in files.read("/proc/vmstat").split("\n"))
    return int(counts.get("oom_kill", "0"))  # since Linux 4.13


class EventWatch:
    """v1: an eventfd registered for memory.oom_control (cgroup-v1/memory.rst, "OOM Control").

    over  whether the cgroup is gone, and never again will there be news of it
    """

    __slots__ = ("descriptor", "over", "path")

    mask = select.POLLIN

    def __init__(self, path: str) -> None:
        self.path = path
        self.over = False
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = -1
        try:
            control = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            files.write(f"{path}/cgroup.event_control", f"{self.descriptor} {control}")
        except BaseException:
            os.close(self.descriptor)
            raise
        finally:
            if control >= 0:
                os.close(control)

    def happened(self) -> bool:
        """Whether memory has run out since this was asked last."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return False
        # The kernel tells the end of the cgroup in the same way.
        self.over = not files.exists(f"{self.path}/cgroup.event_control")
        return not self.over

    def close(self) -> None:
        """End the watch."""
        os.close(self.descriptor)


class FileWatch:
    """v2: memory.events, of which poll(2) says when it has changed (cgroup-v2.rst, "memory.events"): also
    for what happens in cgroups below.

    over  whether the cgroup is gone, and never again will there be news of it
    """

    __slots__ = ("_killed", "descriptor", "over")

    mask = select.POLLPRI

    def __init__(self, path: str) -> None:
        self.over = False
        self.descriptor = os.open(f"{path}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        self._killed = self._count()

    def _count(self) -> int:
        return flat(os.pread(self.descriptor, 4096, 0).decode()).get("oom_kill", 0)

    def happened(self) -> bool:
        """Whether the kernel has killed for lack of memory since this was asked last."""
        before = self._killed
        try:
            self._killed = self._count()
        except OSError as error:
            if error.errno != ENODEV:
                raise
            self.over = True
            return False
        return self._killed > before

    def close(self) -> None:
        """End the watch."""
        os.close(self.descriptor)


def watch(cgroup: Manager) -> EventWatch | FileWatch | None:
    """A watch on whichever cgroup has the memory controller; None where none has.

    Error names the file that the kernel refused.
    """
    paths = cgroup.paths()
    try:
        if "memory" in paths:
            return EventWatch(paths["memory"])
        if UNIFIED in paths and files.exists(f"{paths[UNIFIED]}/memory.events"):
            return FileWatch(paths[UNIFIED])
    except OSError as error:
        raise files.failure(error, "watching the container's memory") from None
    return None
