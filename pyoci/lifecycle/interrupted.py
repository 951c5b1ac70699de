"""An update that was killed half-way: what it has changed is in a file, and the next command puts it back.

ROOT/ID/update.undo   the journal's notes as JSON, there from before the first change until all is done
"""

from __future__ import annotations

import os

from pyoci.bundle import document
from pyoci.cgroup import manager
from pyoci.cgroup.journal import Journal
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.journal import Note
    from pyoci.cgroup.manager import Manager
    from pyoci.lifecycle.settings import Settings
    from pyoci.lifecycle.store import Container

FILE = "update.undo"


def journal(container: Container, cgroup: Manager, settings: Settings) -> Journal:
    """A journal of changes to a container that its directory keeps until they are taken back, or for good."""

    def keep(notes: list[Note]) -> None:
        if notes:
            container.replace(FILE, document.dump(notes, 0).encode())
        else:
            container.discard(FILE)

    def configure(name: str, sections: dict[str, Any]) -> None:
        config = container.config()
        linux = config.setdefault("linux", {})
        if all(linux.get(section) == before for section, before in sections.items()):
            return  # it wasn't written yet; and there may be no room to
        for section, before in sections.items():
            linux.pop(section, None)
            if before is not None:
                linux[section] = before
        container.save_config(config)

    def dissolve(path: str, group: dict[str, Any]) -> None:
        from pyoci.cgroup import resctrl

        resctrl.load(group).destroy()  # its processes are in the default group again
        container.state["resctrl"] = None
        container.save()

    ways = {**cgroup.ways_back(), "config": configure, "resctrl": dissolve}
    return Journal(ways, settings.warn, settings.debug, keep)


def put_back(container: Container, settings: Settings) -> bool:
    """Puts back what an update of a locked container has left half-way, with a warning that says what.

    True if that has let a container run on which the update had frozen.
    """
    try:
        data = container.read(FILE)
    except FileNotFoundError:
        return False
    if not container.alive():
        return False
    cgroup = manager.load(container.state["cgroup"])
    frozen = cgroup.frozen()
    left = journal(container, cgroup, settings)
    left.notes = _notes(data, os.path.join(container.path, FILE))
    settings.warn(f"an update of {container.id} was interrupted{left.undo()}")
    return frozen and not cgroup.frozen()


def _notes(data: bytes, path: str) -> list[Note]:
    notes = document.parse(data, path)
    if not isinstance(notes, list):
        raise Error(f"{path} isn't what an update writes there", hint="remove it, and update anew")
    return [(what, kind, place, before) for what, kind, place, before in notes]
