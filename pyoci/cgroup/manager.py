"""A container's cgroups: naming, making, limiting, joining, freezing, killing, removing."""

from __future__ import annotations

import os
from errno import EBUSY, ENOTEMPTY
from time import monotonic, sleep

from pyoci.cgroup import UNIFIED, files, v1, v2
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.journal import Journal, Way
    from pyoci.cgroup.layout import Layout
    from pyoci.cgroup.resources import Write

    Group = v1.Group | v2.Group

REMOVE_SECONDS = 10.0
STABLE_SECONDS = 0.2
SIGKILL = 9


class Manager:
    """The cgroups of one container, one in each hierarchy; none with the driver "disabled".

    driver    "cgroupfs", "systemd" (a class of its own) or "disabled"
    mode      "v1", "hybrid", "v2" or "none", as in Layout
    groups    one a hierarchy, cgroup2's last
    ours      whether there is, or was, nothing in these cgroups but the container: kill() and destroy()
              touch no others
    mark      what the cgroups are marked with when they are made, or "": the container's state directory
    rootless  whether rights that are missing are put up with
    missing   controller to the directory in which there was no right to make its cgroup
    """

    __slots__ = ("driver", "groups", "mark", "missing", "mode", "ours", "rootless")

    def __init__(self, driver: str, mode: str, groups: list[Group]) -> None:
        self.driver = driver
        self.mode = mode
        self.groups = groups
        self.mark = ""
        self.ours = False
        self.rootless = False
        self.missing: dict[str, str] = {}

    def record(self) -> dict[str, Any]:
        """What load() needs to act on the same cgroups later, as JSON can hold it."""
        return {
            "driver": self.driver,
            "mode": self.mode,
            "groups": [
                {"controllers": list(group.controllers), "mount": group.mount, "path": group.path}
                for group in self.groups
            ],
            "rootless": self.rootless,
            "missing": self.missing,
        }

    def paths(self) -> dict[str, str]:
        """Controller to absolute path; "" is cgroup2's."""
        return {name: group.path for group in self.groups for name in group.controllers}

    # Making and removing

    def check(self) -> None:
        """Refuses cgroups that are there already and not fit for a new container; makes nothing.

        Error (busy) if processes are in one or below it, or it is frozen. To be called before record()
        is saved: who loads that may kill and remove what is in these cgroups.
        """
        for group in self.groups:
            if files.exists(group.path):
                self._check(group)

    def _check(self, group: Group) -> None:
        inside = files.processes(group.path)
        if inside:
            from pyoci.cgroup import processes

            raise Error(
                f"the cgroup {group.path} is in use by {processes.describe(inside)}",
                code="busy",
                pointer=files.PATH,
                hint="give each container a cgroup of its own",
            )
        if group.version == 2:
            v2.require_domain(group.path)
        self._check_thawed(group)

    def _check_thawed(self, group: Group) -> None:
        if group.frozen():
            raise Error(
                f"the cgroup {group.path} is frozen: whatever joins it would stop",
                code="busy",
                pointer=files.PATH,
                hint="thaw it, or the cgroup above it",
            )

    def create(self) -> None:
        """Makes the cgroups, and the directories above them that are missing.

        Error if one exists and has processes or is frozen; what was made until then is removed again.
        """
        made: list[str] = []
        try:
            for group in self.groups:
                try:
                    try:
                        group.make(made)
                    except FileExistsError:
                        self._check(group)
                        group.prepare()
                except OSError as error:
                    raise files.failure(error, f"making the cgroup {group.path}") from None
                self._check_thawed(group)
        except BaseException:
            _undo(made)
            raise
        self.ours = True
        self.put_mark()

    def put_mark(self) -> None:
        """Marks the cgroups, so that they can be found without the container's state."""
        if self.mark:
            from pyoci.cgroup import marks

            mark = marks.text(self.mark)
            for group in self.groups:
                marks.put(group.path, mark)

    def destroy(self) -> None:
        """Removes the container's cgroups and all below them; directories above stay, as with runc.

        Kills nothing. Waits up to REMOVE_SECONDS for processes that are exiting; Error (busy) names
        those that don't. What is gone already is fine.
        """
        if not self.ours:
            return
        deadline = monotonic() + REMOVE_SECONDS
        # cgroup2 first: it has an event for "empty", and the same processes are in every hierarchy.
        for group in sorted(self.groups, key=lambda group: -group.version):
            if not _remove(group.path):
                self._wait_and_remove(group, deadline)

    def _wait_and_remove(self, group: Group, deadline: float) -> None:
        from pyoci.cgroup import processes

        while True:
            left = max(deadline - monotonic(), 0)
            empty = (
                v2.wait_empty(group.path, left)
                if group.version == 2
                else (processes.wait_exits(group.path, left))
            )
            if empty and remove_tree(group.path):
                return
            if monotonic() >= deadline:
                inside = files.processes(group.path)
                raise Error(
                    f"the cgroup {group.path} can't be removed: "
                    + (processes.describe(inside) if inside else "the kernel says it is in use"),
                    code="busy",
                    pointer=files.PATH,
                    errno=EBUSY,
                )
            # Empty, yet busy: a zombie's last reference, or a cgroup made this instant.
            sleep(0.001)

    # Limits

    def set(self, wanted: dict[str, Any], pointer: str = "/linux/resources") -> None:
        """Applies the resources of a container being created, device rules included.

        With cgroups disabled, device rules are the one thing let go: engines write them unasked.
        """
        from pyoci.cgroup import limits

        limits.apply(self, wanted, pointer)
        if self.driver != "disabled":
            limits.restrict_devices(self, wanted.get("devices"), pointer)

    def update(
        self,
        wanted: dict[str, Any],
        pointer: str = "/linux/resources",
        was: dict[str, Any] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Applies the resources that are given and leaves the others as they are. On Error all is as before.

        was      linux.resources as asked for until now
        journal  has all that was changed afterwards, for whoever has to take it back
        """
        from pyoci.cgroup import merging
        from pyoci.cgroup.journal import Journal

        journal = journal or Journal(self.ways_back())
        was = was or {}
        wanted = merging.given(wanted)
        if "memory" in wanted and (was.get("memory") or {}).get("checkBeforeUpdate"):
            wanted["memory"] = {"checkBeforeUpdate": True, **wanted["memory"]}
        with journal:
            self._update(wanted, pointer, was, journal)

    def ways_back(self) -> dict[str, Way]:
        """What takes changes of these cgroups back that a journal has noted, by their kind."""

        def rules(place: str, before: Any) -> None:
            from pyoci.cgroup import device_changes

            device_changes.put_back(self, place, before)

        def schemata(path: str, lines: list[str]) -> None:
            from pyoci.cgroup import resctrl

            resctrl.write_schemata(path, lines, resctrl.POINTER)

        return {"file": files.write, "devices": rules, "schemata": schemata}

    def _update(
        self, wanted: dict[str, Any], pointer: str, was: dict[str, Any], journal: Journal
    ) -> list[Write]:
        """Makes the changes and returns the limits among them as writes."""
        from pyoci.cgroup import changes, device_changes, limits

        if not self.groups:
            limits.apply(self, wanted, pointer)  # refuses what is asked for, and so does the next
            if wanted.get("devices") != was.get("devices"):
                limits.restrict_devices(self, wanted.get("devices"), pointer)
            return []
        if self.missing:
            from pyoci.cgroup import lacking

            wanted = lacking.reachable(self, wanted, pointer, lambda name: limits.version(self, name))
        made = changes.update(self, wanted, pointer, journal, was)
        if wanted.get("devices") and wanted["devices"] != was.get("devices"):
            device_changes.replace(self, wanted["devices"], was.get("devices"), pointer, journal)
        return made

    # Processes

    def births(self) -> bool:
        """Whether processes are born in these cgroups (CLONE_INTO_CGROUP), rather than moved there."""
        return self.mode == "v2"

    def birth_fd(self) -> int:
        """A descriptor of the cgroup to be born in (CLONE_INTO_CGROUP), or -1 without v2.

        The caller closes it.
        """
        if self.mode != "v2" or not self.groups:
            return -1
        try:
            return os.open(self.groups[0].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise files.failure(error, f"opening the cgroup {self.groups[0].path}") from None

    def join(self, pid: int) -> None:
        """Moves a process, all its threads, into the container's cgroups."""
        for group in self.groups:
            move(group.path, pid)

    def exec_places(self, below: dict[str, str], init: int) -> list[str]:
        """The cgroups that a further process can be born in (CLONE_INTO_CGROUP), the next one to be tried
        where the kernel says EBUSY; none where v1 is mounted. The arguments are exec_join()'s."""
        if self.mode != "v2" or not self.groups or below.keys() - {""}:
            return []
        group = self.groups[0]
        places = [group.path + _chosen(group, below)]
        if not below and (beside := self._init_group(group, init)):
            places.append(beside)
        return places

    def exec_join(self, pid: int, below: dict[str, str] | None = None, init: int = 0) -> None:
        """Moves a process into the container's cgroups, or into some below them.

        below  controller to a path below the container's cgroup, "" for all controllers; "/" is the
               container's own
        init   the container's first process: where a cgroup2 group has children with controllers and so
               takes no processes (EBUSY), that one's cgroup is used
        """
        below = below or {}
        unknown = below.keys() - self.paths().keys() - {""}
        if unknown:
            raise Error(f"the container has no cgroup of the controller {min(unknown)}", code="usage")
        places = [(group, _chosen(group, below)) for group in self.groups]
        for group, inner in places:
            if inner and not files.exists(group.path + inner):
                raise Error(
                    f"there is no cgroup {inner[1:]} below the container's {group.path}", code="not-found"
                )
        for group, inner in places:
            try:
                files.write(f"{group.path}{inner}/cgroup.procs", str(pid))
            except OSError as error:
                beside = self._init_group(group, init) if error.errno == EBUSY and not below else ""
                if not beside:
                    what = f"moving process {pid} into {group.path}{inner}"
                    raise files.failure(error, what, "") from None
                move(beside, pid)

    def leave_frozen(self, pid: int) -> None:
        """Takes a process that is to be killed out of the container's frozen v1 group into our own: while
        it is frozen there not even SIGKILL reaches it (freezer-subsystem.txt)."""
        from pyoci.cgroup import layout

        if not self.frozen():
            return
        for hierarchy in layout.detect().hierarchies:
            if "freezer" in hierarchy.controllers:
                move((hierarchy.mount + hierarchy.own).rstrip("/"), pid)

    def _init_group(self, group: Group, init: int) -> str:
        """The cgroup2 group of the container's first process, if it is below the container's own."""
        if not init or group.version != 2:
            return ""
        try:
            lines = files.read(f"/proc/{init}/cgroup").split("\n")
        except OSError:  # ENAMETOOLONG: nested deeper than the kernel can say
            return ""
        for line in lines:
            if line.startswith("0::"):
                path = group.mount + line[3:]
                return path if path.startswith(group.path + "/") and ".." not in path.split("/") else ""
        return ""

    def pids(self) -> list[int]:
        """Every process in the container's cgroup and below it, as this pid namespace numbers them."""
        group = self._watched()
        return files.processes(group.path) if group else []

    def _watched(self) -> Group | None:
        """The hierarchy that is asked who is in the container: the one that can freeze it, if any."""
        return self._freezer() or (self.groups[0] if self.groups else None)

    def _freezer(self) -> Group | None:
        for group in self.groups:
            if "freezer" in group.controllers or group.version == 2:
                return group
        return None

    # Freezing and killing

    def freeze(self) -> None:
        """Stops every process; returns when all have stopped. Error (timeout) if they don't."""
        group = self._freezer_or_error()
        try:
            (v2 if group.version == 2 else v1).freeze(group.path)
        except OSError as error:
            raise files.failure(error, f"freezing {group.path}") from None

    def thaw(self) -> None:
        """Lets every process run on; a cgroup that is gone holds nobody up."""
        group = self._freezer_or_error()
        try:
            (v2 if group.version == 2 else v1).thaw(group.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.failure(error, f"thawing {group.path}") from None

    def frozen(self) -> bool:
        """Whether the container is, or is becoming, frozen, be it from a cgroup above."""
        group = self._freezer()
        return group.frozen() if group else False

    def frozen_at(self, below: dict[str, str] | None = None) -> str:
        """The file that keeps the container frozen, its own or of a cgroup above; "" if none that can be
        seen does. `below`, as exec_join() has it, begins at a cgroup in the container's.
        """
        group = self._freezer()
        if group is None:
            return ""
        asked, file = (
            ("cgroup.freeze", "cgroup.freeze")
            if group.version == 2
            else ("freezer.self_freezing", "freezer.state")
        )
        path = group.path + _chosen(group, below or {})
        while len(path) > len(group.mount):
            if files.exists(f"{path}/{asked}") and files.read(f"{path}/{asked}") == "1":
                return f"{path}/{file}"
            path = path.rpartition("/")[0]
        return ""

    def require(self, why: str) -> None:
        """Error (not-supported) for a container without cgroups; `why` says what can't be told then."""
        if not self.groups:
            raise Error(
                f"the container has no cgroups, and {why}",
                code="not-supported",
                pointer=files.PATH,
                hint="create it without --cgroup-manager disabled",
            )

    def can_freeze(self) -> bool:
        return self._freezer() is not None

    def _freezer_or_error(self) -> Group:
        group = self._freezer()
        if group is None:
            raise Error("there is no cgroup freezer here", code="not-supported", pointer=files.PATH)
        return group

    def kill(self, number: int) -> None:
        """Sends a signal to every process. SIGKILL reaches frozen ones too, which are thawed for it.

        Does not wait for them to exit: destroy() does.
        """
        group = self._watched()
        if group is None or not self.ours:
            return
        if number == SIGKILL:
            at_once = [other for other in self.groups if other.version == 2 and v2.kill(other.path)]
            if group in at_once:
                return
        if not files.processes(group.path):
            return
        from pyoci.cgroup import processes

        if number != SIGKILL:
            processes.signal_all(group.path, number)
            return
        if not processes.signal_until_stable(group.path, number, STABLE_SECONDS):
            self._kill_stopped(group)
        self.let_die()

    def let_die(self) -> None:
        """Thaws what v1 has frozen, in the container's cgroup and below: there not even a process that was
        sent SIGKILL dies before it runs again (freezer-subsystem.rst), nor does the first process of its
        pid namespace, which waits for it. Error (wrong-state) where a cgroup above is frozen.
        """
        group = self._freezer()
        if group is not None and group.version == 1 and self.ours:
            v1.thaw_below(group.path)
            if files.exists(group.path):
                v1.thaw(group.path)

    def _kill_stopped(self, group: Group) -> None:
        """For processes that multiply faster than they can be listed and killed."""
        from pyoci.cgroup import processes

        self.freeze()
        processes.signal_all(group.path, SIGKILL)
        self.thaw()


def new(
    layout: Layout,
    cgroups_path: str | None,
    container_id: str,
    driver: str = "cgroupfs",
    annotations: dict[str, str] | None = None,
) -> Manager:
    """The cgroups that a container will have. Decides names, touches nothing.

    An absolute cgroupsPath begins at each hierarchy's mount. A relative one, or the container's id where
    there is none, begins at the runtime's own cgroup in v1; in v2 beside it, as a group with
    processes can't have children with controllers. `..` doesn't lead out of either.
    """
    if driver == "disabled":
        return Manager(driver, layout.mode, [])
    if driver == "systemd":
        from pyoci.cgroup.systemd import driver as systemd

        return systemd.new(layout, cgroups_path, container_id, annotations or {})
    if driver != "cgroupfs":
        raise Error(f"no cgroup driver is called {driver!r}", code="usage")
    if layout.mode == "none":
        raise Error(
            "no cgroup hierarchy is mounted",
            code="not-supported",
            pointer=files.PATH,
            hint="mount one, or disable cgroups",
        )
    name = cgroups_path or container_id
    inner = normal(name)
    if inner == "/":
        raise Error(
            f"{name!r} is no cgroup of a container's own",
            code="invalid-config",
            pointer=files.PATH,
            hint=f"one below it would do, such as /containers/{container_id}",
        )
    groups: list[Group] = []
    for hierarchy in layout.hierarchies:
        unified = hierarchy.controllers == [UNIFIED]
        base = "" if name.startswith("/") else normal(hierarchy.own).rstrip("/")
        if unified and layout.mode == "v2":
            base = base.rpartition("/")[0]
        path = hierarchy.mount.rstrip("/") + base + inner.rstrip("/")
        groups.append(make_group(hierarchy.controllers, hierarchy.mount, path, layout.mode))
    return Manager(driver, layout.mode, groups)


def load(record: dict[str, Any]) -> Manager:
    """The cgroups that record() described."""
    groups = [
        make_group(saved["controllers"], saved["mount"], saved["path"], record["mode"])
        for saved in record["groups"]
    ]
    manager: Manager
    if record["driver"] == "systemd":
        from pyoci.cgroup.systemd import driver as systemd

        manager = systemd.load(record, groups)
    else:
        manager = Manager(record["driver"], record["mode"], groups)
    manager.ours = True
    manager.rootless, manager.missing = record.get("rootless", False), record.get("missing", {})
    return manager


def make_group(controllers: list[str], mount: str, path: str, mode: str) -> Group:
    """The group of a container in one hierarchy; touches nothing."""
    if controllers == [UNIFIED]:
        return v2.Group(mount, path, mode == "v2")
    return v1.Group(controllers, mount, path)


def normal(path: str) -> str:
    """A path from "/", with ".", ".." and double slashes resolved; ".." at the top stays there."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _chosen(group: Group, below: dict[str, str]) -> str:
    """Where below the container's cgroup exec was told to go in one hierarchy: "" or "/a/b"."""
    path = next((below[name] for name in group.controllers if name in below), below.get("", "/"))
    inner = path.strip("/")
    if not inner and path:
        return ""
    if any(part in ("", ".", "..") for part in inner.split("/")):
        raise Error(
            f"{path!r} is not a path below the container's cgroup",
            code="usage",
            hint="write it without . and ..",
        )
    return "/" + inner


def _undo(made: list[str]) -> None:
    for path in reversed(made):
        try:
            os.rmdir(path)
        except OSError:
            # Someone else's cgroup has come into it since: then it is theirs to remove.
            continue


def remove_tree(path: str) -> bool:
    """rmdir for a cgroup and all below it; True when all are gone, False if something is in use."""
    kept = [name for name, within in files.tree(path, ours=True) if not _remove_one(name, within)]
    return not kept


def _remove(path: str) -> bool:
    # Nearly always there is nothing below, and no need to look.
    return _remove_one(path) or remove_tree(path)


def _remove_one(path: str, within: int | None = None) -> bool:
    try:
        os.rmdir(path, dir_fd=within)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        # On a read-only mount that is the answer for a missing directory too.
        if not files.exists(path, within):
            return True
        raise files.failure(error, f"removing the cgroup {path}") from None
    return True


def move(path: str, pid: int) -> None:
    try:
        files.write(f"{path}/cgroup.procs", str(pid))
    except OSError as error:
        raise files.failure(error, f"moving process {pid} into {path}") from None
