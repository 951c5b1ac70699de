"""What is left of containers that have no state any longer, or never had a whole one.

Their cgroups are found by their marks. While they are removed the container's id is taken, so that nobody
can make a container of that name, in the same cgroups, meanwhile.
"""

from __future__ import annotations

import os
import stat
from time import time

from pyoci.cgroup import layout, processes
from pyoci.cgroup.marks import Marks
from pyoci.errors import Error
from pyoci.lifecycle import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyoci.cgroup.manager import Manager
    from pyoci.lifecycle.settings import Settings

# A directory is made a moment before it is locked: one as new as this may be somebody's who is at it.
BEGINNING_SECONDS = 60.0


def remove(root: str, container_id: str) -> None:
    """Remove what a container without a state has left: its directory, its processes, its cgroups."""
    store.check_id(container_id)
    _remove_directory(root, container_id)
    _remove_cgroups(root, container_id)


def _remove_directory(root: str, container_id: str) -> None:
    """What a creation that was killed before its first state leaves. Error if it is something else."""
    path = f"{root}/{container_id}"
    try:
        directory = store.open_directory(path)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise _no_container(path) from None
    container = store.Container(path, container_id, directory, {})
    try:
        container.lock()
        if not store.is_at(path, directory):
            return  # removed while we waited, and perhaps made anew: by somebody who is at it
        if _has_state(directory):
            return
        if not _is_beginning(directory):
            raise _no_container(path)
        container.remove()
    except FileNotFoundError:
        return
    finally:
        container.close()


def _no_container(path: str) -> Error:
    return Error(
        f"{path} is no container's: pyoci doesn't remove it",
        code="not-found",
        hint="give containers' state a directory of its own by --root",
    )


def _has_state(directory: int) -> bool:
    try:
        return os.stat("state.json", dir_fd=directory).st_size > 0
    except FileNotFoundError:
        return False


def _is_beginning(directory: int) -> bool:
    """Whether a directory without a state is one that a creation has begun, and not somebody else's."""
    names = set(os.listdir(directory))
    if names:
        return names <= {"state.json", "state.json.new"}
    return stat.S_IMODE(os.fstat(directory).st_mode) == store.MODE


def _remove_cgroups(root: str, container_id: str) -> None:
    marks = Marks(root)
    if container_id not in marks.find(layout.detect()):
        return
    try:
        claimed = store.claim(root, container_id)
    except Error as error:
        if error.code == "exists":
            return  # a new container: the cgroups are its own
        raise
    try:
        # Looked for again: until just now they could have been another's.
        cgroup = marks.find(layout.detect()).get(container_id)
        if cgroup:
            from pyoci.cgroup.systemd import driver

            unit = driver.adopt(cgroup)  # else systemd would keep it
            unit.kill(9)
            unit.destroy()
    finally:
        claimed.remove()
        claimed.close()


def collect(settings: Settings, dry: bool) -> Iterator[tuple[str, str, Error | None]]:
    """Remove what every container without a state has left; with `dry` only find it.

    Yields an id, what is, or was, left of it, and why that can't be removed; the others are nevertheless.
    """
    for container_id, what in _lost(settings.root):
        failure = None
        if not dry:
            try:
                remove(settings.root, container_id)
            except Error as error:
                failure = error
            except OSError as error:
                failure = Error(str(error), errno=error.errno or 0)
        yield container_id, what, failure


def _lost(root: str) -> Iterator[tuple[str, str]]:
    """An id and what is left, for every container without a state."""
    for container_id in store.identifiers(root):
        if _was_interrupted(f"{root}/{container_id}"):
            yield container_id, "its creation was interrupted"
    for container_id, cgroup in sorted(Marks(root).find(layout.detect()).items()):
        if _is_id(container_id) and not os.path.lexists(f"{root}/{container_id}"):
            yield container_id, _describe(cgroup)


def _is_id(text: str) -> bool:
    """Of a user's cgroups, which a container's root may have marked, not every mark names a container."""
    try:
        store.check_id(text)
    except Error:
        return False
    return True


def _was_interrupted(path: str) -> bool:
    """Whether a directory is one of a creation without a state, and nobody is about to write one."""
    try:
        directory = store.open_directory(path)
    except OSError:
        return False
    try:
        age = time() - os.fstat(directory).st_mtime
        if age < BEGINNING_SECONDS or _has_state(directory) or not _is_beginning(directory):
            return False
        return not store.is_locked(path)
    except FileNotFoundError:
        return False
    finally:
        os.close(directory)


def _describe(cgroup: Manager) -> str:
    inside = cgroup.pids()
    what = f"the processes {processes.describe(inside)}" if inside else "no process"
    path = processes.printable(cgroup.groups[0].path)
    return f"its state is gone, its cgroup {path} is there with {what}"
