"""A container's group of the resctrl filesystem: its share of caches and memory bandwidth
(config-linux.md#intelrdt; the kernel's Documentation/filesystems/resctrl.rst).

    MOUNT/CLOSID                  made if it is missing and something is said of what it may use
    MOUNT/CLOSID/mon_groups/ID    made for enableMonitoring: what the container alone uses

Only what was made here is removed. Processes are put into the group by hand; their children follow.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSPC, ESRCH

from pyoci.cgroup import files
from pyoci.errors import Error
from pyoci.host import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.cgroup.journal import Journal

POINTER = "/linux/intelRdt"
DEFAULT = "/"  # the closID of the group that everything is in at first


class Group:
    """Where a container's processes are to be.

    path     directory of the group
    ours     whether it is, or will be, of our making
    monitor  directory of the monitoring group, always of our making; "" for none
    """

    __slots__ = ("monitor", "ours", "path")

    def __init__(self, path: str, ours: bool, monitor: str) -> None:
        self.path = path
        self.ours = ours
        self.monitor = monitor

    def record(self) -> dict[str, Any]:
        """What load() needs to act on the same group later, as JSON can hold it."""
        return {"path": self.path, "ours": self.ours, "monitor": self.monitor}

    def create(self, section: dict[str, Any]) -> None:
        """Make what is to be ours, and write down what the group may use."""
        if self.ours:
            try:
                _make(self.path, f"{POINTER}/closID")
            except Error:
                self.ours, self.monitor = False, ""
                raise
        if self.ours:
            lines = _schema_lines(section)
            if lines:
                where = "l3CacheSchema" if section.get("l3CacheSchema") else "memBwSchema"
                write_schemata(self.path, lines, f"{POINTER}/{where}")
        if section.get("schemata"):
            write_schemata(self.path, section["schemata"], f"{POINTER}/schemata")
        if self.monitor:
            monitor, self.monitor = self.monitor, ""
            _make(monitor, f"{POINTER}/enableMonitoring")
            self.monitor = monitor

    def change(self, section: dict[str, Any], journal: Journal) -> None:
        """Write down what a group of the container's own may use from now on."""
        if not self.ours:
            raise Error(
                f"the group {self.path} was there before the container, and others may be in it",
                code="not-supported",
                pointer=POINTER,
                hint=f"write {self.path}/schemata yourself, for all that are in it",
            )
        lines = _schema_lines(section)
        changed = {_resource(line) for line in lines}
        present = files.read(f"{self.path}/schemata").split("\n")
        before = [line.strip() for line in present if _resource(line) in changed]
        where = f"{POINTER}/{'l3CacheSchema' if section.get('l3CacheSchema') else 'memBwSchema'}"
        journal.note(f"{self.path}/schemata", "schemata", self.path, before)
        write_schemata(self.path, lines, where)

    def take_over(self, listed: Callable[[], list[int]]) -> None:
        """Move processes that run already, with all their threads and children, into the group."""
        moved: set[int] = set()
        while True:
            tasks = {task for pid in listed() for task in _threads(pid)} - moved
            for task in tasks:
                try:
                    self.join(task)
                except Error as error:
                    if error.errno != ESRCH:  # it has ended meanwhile
                        raise
            moved |= tasks
            if not tasks:
                return

    def join(self, pid: int) -> None:
        """Move a process into the group, and into the monitoring group."""
        for directory in filter(None, (self.path, self.monitor)):
            try:
                files.write(f"{directory}/tasks", str(pid))
            except OSError as error:
                raise _refused(
                    error, self.path, f"moving process {pid} to {directory}", f"{POINTER}/closID"
                ) from None

    def destroy(self) -> None:
        """Remove what is ours; what is gone already is fine."""
        for directory in (self.monitor, self.path if self.ours else ""):
            if directory:
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise files.failure(error, f"removing {directory}", POINTER) from None


def write_schemata(path: str, lines: list[str], pointer: str) -> None:
    """Write down what the group at a path may use. Error, with the kernel's own words, if it can't."""
    text = "\n".join(line.strip("\n") for line in lines) + "\n"
    try:
        files.write(f"{path}/schemata", text)
    except OSError as error:
        raise _refused(error, path, f"writing {text!r} to {path}/schemata", pointer) from None


def load(record: dict[str, Any]) -> Group:
    """The group of a container that was created."""
    return Group(record["path"], record["ours"], record["monitor"])


def find_mount(mounts: bytes) -> str:
    """Where a resctrl filesystem is mounted, of the mounts in a mountinfo file. Error without one."""
    for mount in mountinfo.parse(mounts, b" - resctrl "):
        return mount.point
    with open("/proc/filesystems") as known:
        supported = "resctrl" in known.read()
    raise Error(
        "no resctrl filesystem is mounted",
        code="not-supported",
        pointer=POINTER,
        hint="mount -t resctrl resctrl /sys/fs/resctrl"
        if supported
        else "this kernel has no resctrl, or no processor for it: remove the property",
    )


def plan(section: dict[str, Any], container_id: str, mount: str) -> Group:
    """The group that an intelRdt section means, below a mount; makes nothing, refuses what contradicts
    what is there."""
    name = section.get("closID") or container_id
    path = mount if name == DEFAULT else f"{mount}/{name}"
    there = os.path.isdir(path)
    limits = _schema_lines(section)
    if there and not section.get("closID"):
        raise Error(
            f"{path} is there already, and not of this container",
            code="exists",
            pointer=POINTER,
            hint="name the group by closID if it is meant, or give the container another id",
        )
    if there:
        _compare(path, limits, section)
    elif section.get("closID") and not limits and not section.get("schemata"):
        raise Error(
            f"the group {path} doesn't exist, and nothing is said of what it may use",
            code="not-found",
            pointer=f"{POINTER}/closID",
            hint="make the directory before, or set schemata",
        )
    _check_monitoring(section, mount)
    monitor = f"{path}/mon_groups/{container_id}" if section.get("enableMonitoring") else ""
    return Group(path, not there, monitor)


# What each property needs of info/L3_MON/mon_features. The last two are of specifications before 1.3: every
# group counts for itself, so nothing is made for them.
_MONITORED = {"enableMonitoring": "", "enableCMT": "llc_occupancy", "enableMBM": "mbm_"}


def _check_monitoring(section: dict[str, Any], mount: str) -> None:
    """Error for monitoring that the processor hasn't."""
    for name, feature in _MONITORED.items():
        if section.get(name):
            try:
                features = files.read(f"{mount}/info/L3_MON/mon_features")
            except OSError:
                features = ""
            if not any(line.startswith(feature) for line in features.split()):
                raise Error(
                    f"this processor doesn't monitor that: it has {' '.join(features.split()) or 'nothing'}",
                    code="not-supported",
                    pointer=f"{POINTER}/{name}",
                    hint="set it to false",
                )


def _schema_lines(section: dict[str, Any]) -> list[str]:
    """The lines of l3CacheSchema and memBwSchema; of MB: lines only the latter's, if it has one."""
    bandwidth: str = section.get("memBwSchema") or ""
    lines = [line for line in (section.get("l3CacheSchema") or "").split("\n") if line.strip()]
    if bandwidth:
        lines = [line for line in lines if _resource(line) != "MB"] + [bandwidth]
    return lines


def _resource(line: str) -> str:
    return line.partition(":")[0].strip()


def _compare(path: str, lines: list[str], section: dict[str, Any]) -> None:
    """Error if a group that is there may use something else than these lines say."""
    if not lines:
        return
    try:
        present = files.read(f"{path}/schemata")
    except OSError as error:
        raise files.failure(error, f"reading {path}/schemata", POINTER) from None
    allowed = {_resource(line): _shares(line) for line in present.split("\n")}
    for line in lines:
        found = allowed.get(_resource(line), {})
        if any(found.get(domain) != share for domain, share in _shares(line).items()):
            where = "memBwSchema" if line == section.get("memBwSchema") else "l3CacheSchema"
            same = [one.strip() for one in present.split("\n") if _resource(one) == _resource(line)]
            raise Error(
                f"{line.strip()} was found, where the group {path} has {''.join(same) or 'nothing like it'}",
                code="exists",
                pointer=f"{POINTER}/{where}",
                hint="give the container a group of its own by another closID, or none",
            )


def _shares(line: str) -> dict[str, str]:
    """Domain -> share of a line like L3:0=7ff;1=00f, without leading zeros."""
    shares = {}
    for part in line.partition(":")[2].split(";"):
        domain, _, share = part.partition("=")
        shares[domain.strip().lstrip("0") or "0"] = share.strip().lower().lstrip("0") or "0"
    return shares


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _make(directory: str, pointer: str) -> None:
    try:
        os.mkdir(directory)
    except OSError as error:
        raise _refused(error, os.path.dirname(directory), f"making {directory}", pointer) from None


def _refused(error: OSError, near: str, what: str, pointer: str) -> Error:
    """An Error with what the kernel says about it in the mount's info/last_cmd_status."""
    result = files.failure(error, what, pointer)
    if error.errno == ENOSPC:
        result.hint = "the processor has no further class of service: share a group by closID"
    elif error.errno != ENOENT:
        while len(near) > 1 and not files.exists(f"{near}/info/last_cmd_status"):
            near = os.path.dirname(near)
        try:
            said = files.read(f"{near}/info/last_cmd_status")
        except OSError:
            said = ""
        result.hint = "" if said == "ok" else said
    return result
