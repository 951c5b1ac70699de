"""Device rules replaced while the container runs: never is more allowed meanwhile than by the old or the new.

On v2 the program is replaced at once. v1's lists are changed entry by entry where they deny by default, as
nearly all do. Otherwise the list has to be emptied first, which allows all or nothing for a moment: the
container is frozen during it.
"""

from __future__ import annotations

from pyoci.cgroup import UNIFIED, device_filter, devices, files, limits, resources
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.devices import List
    from pyoci.cgroup.journal import Journal
    from pyoci.cgroup.manager import Manager

    Entries = list[dict[str, Any]] | None


def replace(manager: Manager, entries: Entries, old: Entries, pointer: str, journal: Journal) -> None:
    """Puts device rules in force in place of `old`, and notes the way back. Error if they can't be."""
    paths = manager.paths()
    where = f"{pointer}/devices"
    if "devices" in paths:
        _lists(manager, paths["devices"], entries, old, where, journal)
    elif UNIFIED in paths:
        rules, before = devices.rules(entries, where), devices.rules(old, where)
        device_filter.attach(paths[UNIFIED], rules, where)
        journal.note("the device rules", lambda: device_filter.attach(paths[UNIFIED], before, where))
    else:
        limits.restrict_devices(manager, entries, pointer)


def _lists(
    manager: Manager, directory: str, entries: Entries, old: Entries, where: str, journal: Journal
) -> None:
    wanted = devices.List(devices.rules(entries, where))
    now = devices.List.read(files.read(f"{directory}/devices.list"))
    if now.allow:
        now = devices.List(devices.rules(old, where))
    journal.note("the device rules", lambda: _change(manager, directory, now, where))
    _change(manager, directory, wanted, where)


def _change(manager: Manager, directory: str, wanted: List, where: str) -> None:
    """Gets v1's list from whatever it is to what is wanted."""
    now = devices.List.read(files.read(f"{directory}/devices.list"))
    if not (wanted.allow or now.allow):
        _write(directory, wanted.changes_from(now), where)
    elif manager.frozen():
        _write(directory, wanted.writes(), where)
    elif manager.can_freeze():
        manager.freeze()
        try:
            _write(directory, wanted.writes(), where)
        finally:
            manager.thaw()
    elif wanted.exceptions and wanted.allow:
        raise Error(
            "rules that allow by default can't be put in force without a moment in which all is allowed: "
            "there is no freezer cgroup to stop the container during it",
            code="not-supported",
            pointer=where,
            hint="mount the freezer hierarchy, or write rules that deny by default",
        )
    else:
        _write(directory, wanted.writes(), where)
    found = devices.List.read(files.read(f"{directory}/devices.list"))
    if found.allow != wanted.allow or (not found.allow and found.exceptions != wanted.exceptions):
        raise Error(f"the kernel made other device rules of them in {directory}/devices.list", pointer=where)


def _write(directory: str, writes: list[tuple[str, str]], where: str) -> None:
    asked = [resources.one(file, value, where) for file, value in writes]
    limits.make_writes(asked, {"devices": directory, UNIFIED: directory})
