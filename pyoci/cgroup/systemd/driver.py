"""The cgroups of a container whose unit systemd makes: when it comes into being, its limits, its end.

systemd makes the cgroup only around a process, so it all happens when the container's process joins.
Where v1 is mounted systemd makes its own hierarchy's group and those of the controllers it was
told a limit for; the others are made here, in the same place.
"""

from __future__ import annotations

from time import monotonic, sleep

from pyoci.cgroup import files, limits, resources, v1
from pyoci.cgroup.manager import Manager, make_group, move
from pyoci.cgroup.systemd import properties
from pyoci.cgroup.systemd.bus import Bus, Refusal
from pyoci.cgroup.systemd.names import UnitName, unit_name
from pyoci.errors import Error
from pyoci.host import privileges, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.journal import Journal, Way
    from pyoci.cgroup.layout import Layout
    from pyoci.cgroup.manager import Group
    from pyoci.cgroup.resources import Write
    from pyoci.cgroup.systemd.bus import Property

STARTED_SECONDS = 5.0
_START = "ssa(sv)a(sa(sv))"
# crun's annotation: the container gets a cgroup below its unit's, which stays free of processes.
SUBGROUP = "run.oci.systemd.subgroup"


class SystemdManager(Manager):
    """unit   the container's unit
    user   whether it is the calling user's manager that makes it, not the system's
    below  the cgroup below the unit's own that an annotation asks for, as "/a/b", or ""
    extra  properties that annotations ask for
    kills  oom.kills() before there was the unit, whose cgroup can't be asked once its process was killed
    """

    __slots__ = ("_pointer", "_wanted", "below", "container_id", "extra", "kills", "unit", "user")

    def __init__(self, mode: str, groups: list[Group], unit: UnitName, user: bool) -> None:
        super().__init__("systemd", mode, groups)
        self.unit = unit
        self.user = user
        self.extra: list[Property] = []
        self.below = ""
        self.container_id = ""
        self.kills = 0
        self._wanted: dict[str, Any] = {}
        self._pointer = "/linux/resources"

    def record(self) -> dict[str, Any]:
        unit = {"unit": self.unit.name, "slice": self.unit.slice, "user": self.user, "kills": self.kills}
        return {**super().record(), **unit}

    def births(self) -> bool:
        return False

    def create(self) -> None:
        """Nothing yet: join() has a process to make the unit around."""

    def set(self, wanted: dict[str, Any], pointer: str = "/linux/resources") -> None:
        self._wanted, self._pointer = wanted, pointer

    def join(self, pid: int) -> None:
        """Has systemd make the unit with this process, and sets the limits in it."""
        with Bus(self.user) as bus:
            self.ours = True
            self._start(bus, pid)
        if self.below:
            self._make_below(pid)
        for group in self.groups:
            if not files.exists(group.path):
                group.make([])
            else:
                group.prepare()
        self.put_mark()
        super().set(self._wanted, self._pointer)
        for group in self.groups:
            move(group.path, pid)

    def _make_below(self, pid: int) -> None:
        """Moves the process out of the unit's own cgroup before controllers are handed down from it:
        in v2 one that has processes can't have children with controllers."""
        for group in self.groups:
            if group.version == 2:
                v1.make(group.mount, group.path, [])
                move(group.path, pid)

    def _start(self, bus: Bus, pid: int) -> None:
        asked = [*self._description(), *self._limits(self._wanted, self._pointer), *self.extra]
        if self.unit.name.endswith(".slice"):
            asked.append(("Wants", ("as", [self.unit.slice])))
        else:
            asked += [("Slice", ("s", self.unit.slice)), ("PIDs", ("au", [pid])), ("Delegate", ("b", True))]
        try:
            self._ask_for_unit(bus, asked)
        except Refusal as refusal:
            if refusal.name == "UnitExists" and self.unit.name.endswith(".slice"):
                return
            if refusal.name == "UnitExists" and bus.repeated and self._has(pid):
                return  # it was made when it was asked for the first time
            self.ours = False
            raise self._refused(refusal, "start") from None
        if self.unit.name.endswith(".scope") and not self._has(pid):
            raise Error(
                f"{self.unit.name} was started, but process {pid} isn't in {self.unit.cgroup()}",
                code="kernel",
                pointer=files.PATH,
                hint="its process may have ended, or systemd changes the name for its cgroup: take another",
            )

    def _ask_for_unit(self, bus: Bus, asked: list[Property]) -> None:
        """Has the unit started. One that has failed, under the same name, is forgotten for it."""
        arguments: tuple[object, ...] = (self.unit.name, "fail", asked, [])
        try:
            bus.run_job("StartTransientUnit", _START, *arguments)
        except Refusal as refusal:
            if refusal.name != "UnitExists" or bus.repeated or self.unit.name.endswith(".slice"):
                raise
            self._forget_failure(bus)
            bus.run_job("StartTransientUnit", _START, *arguments)

    def _has(self, pid: int) -> bool:
        """Whether a process is in the unit, or comes into it within a moment."""
        deadline = monotonic() + STARTED_SECONDS
        while True:
            lines = files.read(f"/proc/{pid}/cgroup").split("\n")
            if any(line.endswith(self.unit.cgroup()) for line in lines):
                return True
            if monotonic() > deadline:
                return False
            sleep(0.01)  # a cgroup's membership has no event

    def _description(self) -> list[Property]:
        return [
            ("Description", ("s", f"container {self.container_id}")),
            ("DefaultDependencies", ("b", False)),
            ("MemoryAccounting", ("b", True)),
            ("CPUAccounting", ("b", True)),
            ("IOAccounting" if self.mode == "v2" else "BlockIOAccounting", ("b", True)),
            ("TasksAccounting", ("b", True)),
        ]

    def _limits(self, wanted: dict[str, Any], pointer: str) -> list[Property]:
        if self.missing:
            from pyoci.cgroup import lacking

            wanted = lacking.reachable(self, wanted, pointer, self._version)
        writes = resources.translate(wanted, pointer, self._version)
        return [*properties.of_writes(writes), *self._devices(wanted.get("devices"), pointer)]

    def _version(self, controller: str) -> int:
        """As limits.version(), which asks a cgroup2 group beside v1; here there is none before the unit."""
        known = self.mode == "v2" or controller in self.paths()
        return limits.version(self, controller) if known else 0

    def _devices(self, entries: list[dict[str, Any]] | None, pointer: str) -> list[Property]:
        groups = properties.device_groups(procfs.read("/proc/devices").decode())
        return properties.of_devices(entries, f"{pointer}/devices", groups, self.mode == "v2")

    def _update(
        self, wanted: dict[str, Any], pointer: str, was: dict[str, Any], journal: Journal
    ) -> list[Write]:
        """First in the cgroup, where a refusal is seen; systemd only logs one. Then it is told the unit."""
        from pyoci.cgroup import changes

        writes = super()._update(wanted, pointer, was, journal)
        _, period = changes.Now(self).bandwidth()
        asked = properties.of_writes(writes, period)
        if wanted.get("devices"):
            asked += self._devices(wanted["devices"], pointer)
        if asked:
            with Bus(self.user) as bus:
                self._tell(bus, asked, journal)
            changes.settle(writes, self)
        return writes

    def _tell(self, bus: Bus, asked: list[Property], journal: Journal) -> None:
        """Changes the unit's properties, and notes those that it had."""
        try:
            before = bus.unit_properties(self.unit.name, [name for name, _ in asked])
        except Refusal as refusal:
            raise self._refused(refusal, "describe") from None
        journal.note(f"the properties of {self.unit.name}", "unit", self.unit.name, told_as_data(before))
        self._change(bus, asked)
        for name, (_, value) in asked:
            journal.debug(f"{self.unit.name}: {name}={value}, before {dict(before)[name][1]}")

    def ways_back(self) -> dict[str, Way]:
        def back(_: str, before: list[Any]) -> None:
            with Bus(self.user) as bus:
                self._change(bus, told_of_data(before))

        return {**super().ways_back(), "unit": back}

    def _change(self, bus: Bus, asked: list[Property]) -> None:
        """Changes the unit's properties for as long as it lives ("runtime"), and returns once systemd has
        acted on them. A list is added to, and an empty one empties it."""
        lists: list[Property] = [
            (name, (signature, [])) for name, (signature, value) in asked if signature == "a(ss)" and value
        ]
        try:
            bus.call("SetUnitProperties", "sba(sv)", self.unit.name, True, [*lists, *asked])
            # Asked again it answers only after it has written to the cgroup what it was told.
            bus.call("GetUnit", "s", self.unit.name)
        except Refusal as refusal:
            raise self._refused(refusal, "change") from None

    def destroy(self) -> None:
        if not self.ours:
            return
        with Bus(self.user) as bus:
            self._stop(bus)
            self._forget_failure(bus)
        super().destroy()

    def _stop(self, bus: Bus) -> None:
        try:
            bus.run_job("StopUnit", "ss", self.unit.name, "replace")
        except Refusal as refusal:
            if refusal.name != "NoSuchUnit":
                raise self._refused(refusal, "stop") from None

    def _forget_failure(self, bus: Bus) -> None:
        """A unit that was killed stays listed as failed until it is told to be forgotten."""
        try:
            bus.call("ResetFailedUnit", "s", self.unit.name)
        except Refusal as refusal:
            if refusal.name != "NoSuchUnit":
                raise self._refused(refusal, "forget") from None

    def _refused(self, refusal: Refusal, verb: str) -> Error:
        pointer, hint, code = files.PATH, "", "kernel"
        if refusal.name == "UnitExists":
            code, hint = "busy", "give each container a unit of its own, or delete the one that has it"
        elif "ropert" in refusal.text:
            pointer = "/annotations"
            hint = "systemd.scope(5) and systemd.resource-control(5) list the properties"
        elif "AccessDenied" in refusal.name or "InteractiveAuthorization" in refusal.name:
            code, hint = "permission", "run as root, or in a session of the user's own manager"
        return Error(
            f"systemd refused to {verb} {self.unit.name}: {refusal.text.rstrip('.')}",
            code=code, pointer=pointer, hint=hint,
        )  # fmt: skip


def told_as_data(told: list[Property]) -> list[Any]:
    """Properties as JSON can hold them."""
    return [
        [name, signature, list(value) if isinstance(value, bytes) else value]
        for name, (signature, value) in told
    ]


def told_of_data(data: list[Any]) -> list[Property]:
    """The properties that told_as_data() told, with the tuples that D-Bus wants for structures."""
    return [
        (name, (signature, [tuple(one) for one in value] if signature == "a(ss)" else value))
        for name, signature, value in data
    ]


def new(
    layout: Layout, cgroups_path: str | None, container_id: str, annotations: dict[str, str]
) -> SystemdManager:
    """The unit that a container will have. Asks systemd for nothing but its own cgroup."""
    from pyoci.cgroup import delegation, oom
    from pyoci.cgroup.systemd import annotations as asked

    user = not privileges.is_host_root()
    unit = unit_name(cgroups_path, container_id, default_slice="user.slice" if user else "system.slice")
    extra = asked.properties(annotations)
    below = delegation.subgroup(annotations, SUBGROUP)
    try:
        with Bus(user) as bus:
            base = str(bus.manager_property("ControlGroup"))
    except Refusal as refusal:
        raise Error(f"systemd doesn't tell its cgroup: {refusal.text}", code="kernel") from None
    groups: list[Group] = []
    for hierarchy in layout.hierarchies:
        path = hierarchy.mount.rstrip("/") + base.rstrip("/") + unit.cgroup() + below
        groups.append(make_group(hierarchy.controllers, hierarchy.mount, path, layout.mode))
    manager = SystemdManager(layout.mode, groups, unit, user)
    manager.container_id, manager.extra, manager.below = container_id, extra, below
    manager.kills = oom.kills()
    return manager


def load(record: dict[str, Any], groups: list[Group]) -> SystemdManager:
    """The unit that record() described."""
    return SystemdManager(record["mode"], groups, UnitName(record["slice"], record["unit"]), record["user"])


def adopt(found: Manager) -> Manager:
    """Cgroups that were found without a record: as their unit's, if systemd has one with this very cgroup."""
    user = not privileges.is_host_root()
    for group in found.groups:
        path = group.path.removeprefix(group.mount)
        unit = path.rpartition("/")[2]
        named = unit.endswith((".scope", ".slice")) and unit.isascii()  # which all names of units are
        if named and _cgroup_of(unit, user) == path:
            manager = SystemdManager(found.mode, found.groups, UnitName("", unit), user)
            manager.ours = True
            return manager
    return found


def _cgroup_of(unit: str, user: bool) -> str:
    """The path that systemd has for a unit's cgroup; "" where it knows no such unit, or isn't there."""
    try:
        bus = Bus(user)
    except Error:
        return ""
    with bus:
        try:
            ((_, (_, path)),) = bus.unit_properties(unit, ["ControlGroup"])
        except Refusal:
            return ""
    return str(path)
