"""What is left of containers that have no state any longer, or never had a whole one.

Their cgroups are found by their marks. While they are removed the container's id is taken, so that nobody
can make a container of that name, in the same cgroups, meanwhile.
"""

from __future__ import annotations

import os
from time import time

from pyoci.cgroup import layout, marks, processes
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
    _remove_directory(f"{root}/{container_id}")
    _remove_cgroups(root, container_id)


def _remove_directory(path: str) -> None:
    """What a creation that was killed before its first state leaves."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        store.remove_files(directory)
        os.rmdir(path)
    except FileNotFoundError:
        return
    finally:
        os.close(directory)


def _remove_cgroups(root: str, container_id: str) -> None:
    owner = f"{root}/{container_id}"
    if owner not in marks.find(layout.detect(), owner):
        return
    try:
        claimed = store.claim(root, container_id)
    except Error as error:
        if error.code == "exists":
            return  # a new container: the cgroups are its own
        raise
    try:
        # Looked for again: until just now they could have been another's.
        cgroup = marks.find(layout.detect(), owner).get(owner)
        if cgroup:
            from pyoci.cgroup.systemd import driver

            unit = driver.adopt(cgroup)  # else systemd would keep it
            unit.kill(9)
            unit.destroy()
    finally:
        claimed.remove()
        claimed.close()


def collect(settings: Settings, dry: bool) -> Iterator[tuple[str, str]]:
    """Remove what every container without a state has left; with `dry` only find it.

    Yields an id and what is, or was, left of it.
    """
    for container_id in store.identifiers(settings.root):
        if _was_interrupted(f"{settings.root}/{container_id}"):
            yield container_id, "its creation was interrupted"
            if not dry:
                remove(settings.root, container_id)
    prefix = f"{settings.root}/"
    for owner, cgroup in sorted(marks.find(layout.detect(), prefix).items()):
        container_id = owner.removeprefix(prefix)
        if "/" not in container_id and not os.path.lexists(owner):
            yield container_id, _describe(cgroup)
            if not dry:
                remove(settings.root, container_id)


def _was_interrupted(path: str) -> bool:
    """Whether a state directory has no state, and nobody who is about to write one."""
    try:
        age = time() - os.stat(path).st_mtime
        if age < BEGINNING_SECONDS or os.path.exists(f"{path}/state.json"):
            return False
        return not store.is_locked(path)
    except FileNotFoundError:
        return False


def _describe(cgroup: Manager) -> str:
    inside = cgroup.pids()
    what = f"the processes {processes.describe(inside)}" if inside else "no process"
    return f"its state is gone, its cgroup {cgroup.groups[0].path} is there with {what}"
