"""Device rules replaced while the container runs: never is more allowed meanwhile than by the old or the new.

On v2 the program is replaced at once. v1's lists are changed entry by entry while their default stays the
same. Otherwise the list has to be emptied first, which allows all or nothing for a moment: the container is
frozen during it. The kernel empties only lists of cgroups that have none below (device_cgroup.c).
"""

from __future__ import annotations

from errno import EINVAL, EPERM
from time import monotonic, sleep

from pyoci.cgroup import UNIFIED, device_filter, devices, files, limits, resources
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.devices import List
    from pyoci.cgroup.journal import Journal
    from pyoci.cgroup.manager import Manager

    Entries = list[dict[str, Any]] | None

REMOVED_SECONDS = 2.0
_NAME = "the device rules"


def replace(manager: Manager, entries: Entries, old: Entries, pointer: str, journal: Journal) -> None:
    """Puts device rules in force in place of `old`, and notes the way back. Error if they can't be."""
    paths = manager.paths()
    where = f"{pointer}/devices"
    if "devices" in paths:
        _lists(manager, paths["devices"], entries, old, where, journal)
    elif UNIFIED in paths:
        rules = devices.rules(entries, where)
        note = (_NAME, "devices", paths[UNIFIED], {"rules": old or []})
        journal.attempt([note], lambda: device_filter.attach(paths[UNIFIED], rules, where))
    else:
        limits.restrict_devices(manager, entries, pointer)


def put_back(manager: Manager, directory: str, before: dict[str, Any]) -> None:
    """Puts the rules in force again that replace() has noted: on v2 config's, on v1 a list."""
    if "rules" in before:
        device_filter.attach(directory, devices.rules(before["rules"], ""), "")
        return
    wanted, now = devices.List.of_data(before["list"]), devices.List.of_data(before["from"])
    try:
        _change(manager, directory, now, wanted, "")
    finally:
        if manager.frozen() and not before["frozen"]:
            manager.thaw()


def _lists(
    manager: Manager, directory: str, entries: Entries, old: Entries, where: str, journal: Journal
) -> None:
    wanted = devices.List(devices.rules(entries, where))
    now = devices.List.read(files.read(f"{directory}/devices.list"))
    if now.allow:
        now = devices.List(devices.rules(old, where))
    if wanted.allow != now.allow:
        _check_anew(manager, directory, wanted, where)  # before there is anything to be put back
    before = {"list": now.data(), "from": wanted.data(), "frozen": manager.frozen()}
    journal.note(_NAME, "devices", directory, before)
    _change(manager, directory, now, wanted, where)


def _change(manager: Manager, directory: str, now: List, wanted: List, where: str) -> None:
    """Gets v1's list to what is wanted: from `now`, from half-way between the two, or from whatever it is."""
    default = devices.List.read(files.read(f"{directory}/devices.list")).allow
    if not (default == now.allow == wanted.allow and _by_entries(directory, now, wanted, where)):
        _anew(manager, directory, wanted, where)
    found = devices.List.read(files.read(f"{directory}/devices.list"))
    if found.allow != wanted.allow or (not found.allow and found.exceptions != wanted.exceptions):
        raise Error(f"the kernel made other device rules of them in {directory}/devices.list", pointer=where)


def _by_entries(directory: str, now: List, wanted: List, where: str) -> bool:
    """Changes entry by entry; False where only the whole list can be.

    Of a list that allows by default an exception can't be taken out while a cgroup above has one for any of
    the same devices (EPERM): begun anew, it has that one alone.
    """
    try:
        _write(directory, wanted.changes_from(now), where)
    except Error as error:
        if error.errno != EPERM or not wanted.allow or files.children(directory):
            raise
        return False
    return True


def _anew(manager: Manager, directory: str, wanted: List, where: str) -> None:
    """Empties the list and writes the wanted one, nobody running meanwhile."""
    _check_anew(manager, directory, wanted, where)
    if manager.frozen() or not manager.can_freeze():
        _write(directory, wanted.writes(), where)
        return
    manager.freeze()
    try:
        _write(directory, wanted.writes(), where)
    finally:
        manager.thaw()


def _check_anew(manager: Manager, directory: str, wanted: List, where: str) -> None:
    """Error where a list can't be emptied: the kernel refuses while there are cgroups below (EINVAL), and we
    do if that allowed all to somebody."""
    below = files.children(directory)
    if below:
        default = "allow" if wanted.allow else "deny"
        raise Error(
            f"the list of {directory} can't be begun anew, to {default} by default, while there is the "
            f"cgroup {below[0]} below it",
            code="busy",
            pointer=where,
            hint="remove the cgroups below it, or give rules with the default that is in force",
        )
    if wanted.exceptions and wanted.allow and not manager.can_freeze():
        raise Error(
            "rules that allow by default can't be put in force without a moment in which all is allowed: "
            "there is no freezer cgroup to stop the container during it",
            code="not-supported",
            pointer=where,
            hint="mount the freezer hierarchy, or write rules that deny by default",
        )


def _write(directory: str, writes: list[tuple[str, str]], where: str) -> None:
    """Makes writes in order, each waiting for cgroups below that are removed already, and that the kernel
    counts for a moment longer."""
    deadline = monotonic() + REMOVED_SECONDS
    for file, value in writes:
        asked = [resources.one(file, value, where)]
        while True:
            try:
                limits.make_writes(asked, {"devices": directory, UNIFIED: directory})
                break
            except Error as error:
                gone = value == "a" and error.errno == EINVAL and not files.children(directory)
                if not gone or monotonic() > deadline:
                    raise
                sleep(0.001)
