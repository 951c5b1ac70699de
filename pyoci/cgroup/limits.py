"""Putting resources into force: the writes that they translate to, made in the container's cgroups."""

from __future__ import annotations

from errno import EINVAL, ENOENT

from pyoci.cgroup import UNIFIED, devices, files, resources
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.manager import Manager
    from pyoci.cgroup.resources import Write


def apply(manager: Manager, wanted: dict[str, Any], pointer: str) -> None:
    """Sets what is given of linux.resources, device rules excepted. Error for what can't be honoured."""

    def version_of(controller: str) -> int:
        return version(manager, controller)

    if manager.missing or not manager.groups:
        from pyoci.cgroup import lacking

        wanted = lacking.reachable(manager, wanted, pointer, version_of)
    make_writes(resources.translate(wanted, pointer, version_of), manager.paths())


def restrict_devices(manager: Manager, entries: list[dict[str, Any]] | None, pointer: str) -> None:
    """Puts device rules in force. Error if a rule can't be; without one no cgroup is needed."""
    try:
        _restrict_devices(manager, entries, pointer)
    except Error as error:
        if not manager.rootless:
            raise
        from pyoci.cgroup import lacking

        rules = devices.rules(entries, f"{pointer}/devices")
        if not lacking.may_go_unrestricted(error, rules):
            raise lacking.unenforceable(rules, error) from None


def _restrict_devices(manager: Manager, entries: list[dict[str, Any]] | None, pointer: str) -> None:
    paths = manager.paths()
    if "devices" in paths:
        make_writes(resources.device_writes(entries, pointer), paths)
        return
    rules = devices.rules(entries, f"{pointer}/devices")
    if UNIFIED in paths:
        from pyoci.cgroup import device_filter

        device_filter.attach(paths[UNIFIED], rules, f"{pointer}/devices")
    elif entries and not devices.allow_all(rules):
        raise Error(
            "no cgroup hierarchy that could enforce device rules is mounted",
            code="not-supported",
            pointer=f"{pointer}/devices",
        )


def version(manager: Manager, controller: str) -> int:
    """Which version of cgroups has a controller: 1, 2, or 0 for none. What v1 calls blkio, v2 calls io."""
    paths = manager.paths()
    if controller in paths:
        return 2 if controller == UNIFIED else 1
    if UNIFIED not in paths or controller.startswith("net_"):
        return 0
    if manager.mode == "v2":
        return 2
    name = "io" if controller == "blkio" else controller
    return 2 if name in files.read(f"{paths[UNIFIED]}/cgroup.controllers").split() else 0


def make_writes(writes: list[Write], paths: dict[str, str]) -> None:
    """Makes writes in order, and those that the kernel calls invalid once more after the others.

    So pairs that must not contradict each other at any moment (limit and memory+swap, quota and period)
    get to where they should be from any values they have now.
    """
    while writes:
        refused: list[tuple[Write, Error]] = []
        for write in writes:
            error = put(write, paths)
            if error:
                refused.append((write, error))
        if len(refused) == len(writes):
            raise refused[0][1]
        writes = [write for write, _ in refused]


def place(write: Write, paths: dict[str, str]) -> tuple[str, str, str] | None:
    """Where a write goes: directory, file and value; None where nothing has to be written."""
    directory = paths.get(write.controller) or paths[UNIFIED]
    for file, value in write.choices:
        if files.exists(f"{directory}/{file}"):
            return directory, file, value
    if write.optional:
        return None
    names = " or ".join(file for file, _ in write.choices)
    message, why, hint = f"this kernel has no {names} in {directory}", "", ""
    if not files.exists(directory):
        message += ", nor is there that directory"
    elif directory == paths.get(UNIFIED):
        from pyoci.cgroup import v2

        why, hint = v2.withheld(directory, write.choices[0][0].partition(".")[0])
    raise Error(
        f"there is no {names} in {directory}{why}" if why else message,
        code="not-supported",
        pointer=write.pointer,
        errno=ENOENT,
        hint=hint,
    )


def put(write: Write, paths: dict[str, str]) -> Error | None:
    """Makes one write; the Error of an EINVAL is returned, others are raised."""
    directory = paths.get(write.controller) or paths[UNIFIED]
    for file, value in write.choices:
        path = f"{directory}/{file}"
        try:
            if write.usage:
                _check_usage(write, directory, int(value))
            files.write(path, value)
            if write.confirm and int(files.read(path)) > int(value):
                raise Error(f"this kernel ignores {file}", code="not-supported", pointer=write.pointer)
            return None
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"the kernel refused {value!r} for {file} in {directory}"
            refusal = files.failure(error, message, write.pointer)
            from pyoci.cgroup import refusals

            refusal.hint = refusals.hint(directory, file, value, error.errno or 0)
            if error.errno == EINVAL:
                return refusal
            raise refusal from None
    place(write, paths)  # says what is missing
    return None


def _check_usage(write: Write, directory: str, most: int) -> None:
    used = int(files.read(f"{directory}/{write.usage}"))
    if used > most:
        raise Error(
            f"{most} is below the {used} bytes in use now ({write.usage} in {directory})",
            code="busy",
            pointer=write.pointer,
        )
