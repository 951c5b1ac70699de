"""A container's cgroups: naming, making, limiting, joining, freezing, killing, removing."""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP
from time import monotonic, sleep

from pyoci.cgroup import files, processes, resources, v1, v2
from pyoci.cgroup.layout import UNIFIED
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.layout import Layout

    Group = v1.Group | v2.Group

REMOVE_SECONDS = 10.0
KILL_SECONDS = 10.0
SIGKILL = 9


class Manager:
    """The cgroups of one container, one in each hierarchy; none with the driver "disabled".

    driver  "cgroupfs" or "disabled"
    mode    "v1", "hybrid", "v2" or "none", as in Layout
    groups  one a hierarchy, cgroup2's last
    """

    __slots__ = ("driver", "groups", "mode")

    def __init__(self, driver: str, mode: str, groups: list[Group]) -> None:
        self.driver = driver
        self.mode = mode
        self.groups = groups

    def record(self) -> dict[str, Any]:
        """What load() needs to act on the same cgroups later, as JSON can hold it."""
        return {
            "driver": self.driver,
            "mode": self.mode,
            "groups": [
                {"controllers": list(group.controllers), "mount": group.mount, "path": group.path}
                for group in self.groups
            ],
        }

    def paths(self) -> dict[str, str]:
        """Controller to absolute path; "" is cgroup2's."""
        return {name: group.path for group in self.groups for name in group.controllers}

    def links(self) -> dict[str, str]:
        """Controller to the name of the directory that its hierarchy is mounted on, where the two differ.

        These are the symbolic links that stand in /sys/fs/cgroup beside co-mounted controllers.
        """
        found = {}
        for group in self.groups:
            directory = group.mount.rpartition("/")[2]
            if group.version == 1 and len(group.controllers) > 1:
                found.update({name: directory for name in group.controllers if name != directory})
        return found

    # Making and removing

    def check(self) -> None:
        """Refuses cgroups that are there already and not fit for a new container; makes nothing.

        Error (busy) if processes are in one or below it, or it is frozen.
        """
        for group in self.groups:
            if files.exists(group.path):
                self._check(group)

    def _check(self, group: Group) -> None:
        inside = files.processes(group.path)
        if inside:
            raise Error(
                f"the cgroup {group.path} is in use by {processes.describe(inside)}",
                code="busy",
                pointer=files.PATH,
                hint="give each container a cgroup of its own",
            )
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
                    group.make(made)
                except FileExistsError:
                    self._check(group)
                    self._adopt(group)
                except OSError as error:
                    raise files.failure(error, f"making the cgroup {group.path}") from None
                self._check_thawed(group)
        except BaseException:
            _undo(made)
            raise

    def _adopt(self, group: Group) -> None:
        """Does for an empty cgroup that was there what make() does after mkdir(2)."""
        try:
            if isinstance(group, v2.Group):
                v2.enable_controllers(group.mount, group.path)
            elif "cpuset" in group.controllers:
                v1.fill_cpuset(group.mount, group.path)
        except OSError as error:
            raise files.failure(error, f"preparing the cgroup {group.path}") from None

    def destroy(self) -> None:
        """Removes the container's cgroups and all below them; directories above stay, as with runc.

        Kills nothing. Waits up to REMOVE_SECONDS for processes that are exiting; Error (busy) names
        those that don't. What is gone already is fine.
        """
        deadline = monotonic() + REMOVE_SECONDS
        # cgroup2 first: it has an event for "empty", and the same processes are in every hierarchy.
        for group in sorted(self.groups, key=lambda group: -group.version):
            if not _remove(group.path):
                self._wait_and_remove(group, deadline)

    def _wait_and_remove(self, group: Group, deadline: float) -> None:
        while True:
            left = max(deadline - monotonic(), 0)
            empty = v2.wait_empty(group.path, left) if group.version == 2 else (
                processes.wait_exits(group.path, left))
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
        """Applies the resources of a container being created, device rules included."""
        self.update(wanted, pointer)
        if not wanted.get("devices"):
            self._restrict_devices(None, pointer)

    def update(self, wanted: dict[str, Any], pointer: str = "/linux/resources") -> None:
        """Applies the resources that are given and leaves the others as they are.

        A section counts as a whole: swap needs limit beside it, period quota.
        """
        if self.groups:
            _apply(resources.translate(wanted, pointer, self._version), self.paths())
        elif any(wanted.values()):
            name = next(name for name in wanted if wanted[name])
            if name != "devices":
                raise Error("there is no cgroup to set this in, because cgroups are disabled",
                            code="not-supported", pointer=f"{pointer}/{name}")
        if wanted.get("devices"):
            self._restrict_devices(wanted["devices"], pointer)

    def _version(self, controller: str) -> int:
        """Which version has a controller: 1, 2 or 0 for none; blkio is called io in cgroup2."""
        paths = self.paths()
        if controller in paths:
            return 2 if controller == UNIFIED else 1
        if UNIFIED not in paths or controller.startswith("net_"):
            return 0
        if self.mode == "v2":
            return 2
        name = "io" if controller == "blkio" else controller
        return 2 if name in files.read(f"{paths[UNIFIED]}/cgroup.controllers").split() else 0

    def _restrict_devices(self, rules: list[dict[str, Any]] | None, pointer: str) -> None:
        path = self.paths().get("devices")
        if path is not None:
            _apply(resources.device_writes(rules, pointer), {"devices": path})
        elif rules and any(not rule["allow"] for rule in rules):
            raise Error("device rules can't be enforced here: no hierarchy with the devices controller is mounted",
                        code="not-supported", pointer=f"{pointer}/devices")

    # Processes

    def birth_fd(self) -> int:
        """A descriptor of the cgroup to be born in (CLONE_INTO_CGROUP), which the caller closes; -1 without v2."""
        if self.mode != "v2" or not self.groups:
            return -1
        try:
            return os.open(self.groups[0].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise files.failure(error, f"opening the cgroup {self.groups[0].path}") from None

    def join(self, pid: int) -> None:
        """Moves a process, all its threads, into the container's cgroups."""
        for group in self.groups:
            _join(group.path, pid)

    def exec_join(self, pid: int, subgroup: str | None = None, init: int = 0) -> None:
        """Moves a process into the container's cgroups, or below them.

        subgroup  path below the container's cgroup ("/": the cgroup itself); with v1 also
                  "controller,controller:path", for these alone
        init      the container's first process: where a cgroup2 group has children with controllers and
                  so takes no processes (EBUSY), its cgroup is used
        """
        names, below = split_subgroup(subgroup)
        unknown = names - self.paths().keys()
        if unknown:
            raise Error(f"the container has no cgroup for the controller {sorted(unknown)[0]}", code="usage")
        for group in self.groups:
            if names and not names.intersection(group.controllers):
                _join(group.path, pid)
                continue
            path = group.path + below
            if below and not files.exists(path):
                raise Error(f"there is no cgroup {below[1:]} in the container's ({path})", code="not-found")
            try:
                files.write(f"{path}/cgroup.procs", str(pid))
            except OSError as error:
                beside = self._init_group(group, init) if error.errno == EBUSY and subgroup is None else ""
                if not beside:
                    raise files.failure(error, f"moving process {pid} into {path}", "") from None
                _join(beside, pid)

    def _init_group(self, group: Group, init: int) -> str:
        """The cgroup2 group of the container's first process, if it is below the container's own."""
        if not init or group.version != 2:
            return ""
        for line in files.read(f"/proc/{init}/cgroup").splitlines():
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
        """Lets every process run on."""
        group = self._freezer_or_error()
        try:
            (v2 if group.version == 2 else v1).thaw(group.path)
        except OSError as error:
            raise files.failure(error, f"thawing {group.path}") from None

    def frozen(self) -> bool:
        """Whether the container is, or is becoming, frozen, be it from a cgroup above."""
        group = self._freezer()
        return group.frozen() if group else False

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
        if group is None:
            return
        if number != SIGKILL:
            processes.signal_all(group.path, number)
            return
        at_once = any(v2.kill(other.path) for other in self.groups if isinstance(other, v2.Group))
        # In hybrid a process may have been moved out of the cgroup2 group alone.
        if not (at_once and self.mode == "v2") and not (
            processes.signal_until_stable(group.path, number, KILL_SECONDS)
        ):
            raise Error(f"{group.path} keeps making processes faster than they can be killed",
                        code="timeout", pointer=files.PATH)
        if "freezer" in group.controllers:
            # v1 freezes so hard that a frozen process can't even die.
            v1.thaw_below(group.path)


def new(layout: Layout, cgroups_path: str | None, container_id: str, driver: str = "cgroupfs") -> Manager:
    """The cgroups that a container will have. Decides names, touches nothing.

    An absolute cgroupsPath begins at each hierarchy's mount. A relative one, or the container's id where
    there is none, begins at the runtime's own cgroup in v1; in v2 beside it, as a group with
    processes can't have children with controllers. `..` doesn't lead out of either.
    """
    if driver == "disabled":
        return Manager(driver, layout.mode, [])
    if driver == "systemd":
        raise Error("the systemd cgroup driver is not supported yet", code="not-supported",
                    hint="leave --systemd-cgroup out to use cgroupfs")
    if driver != "cgroupfs":
        raise Error(f"no cgroup driver is called {driver!r}", code="usage")
    if layout.mode == "none":
        raise Error("no cgroup hierarchy is mounted", code="not-supported", pointer=files.PATH,
                    hint="mount one, or disable cgroups")
    name = cgroups_path or container_id
    inner = normal(name)
    if name.startswith("/") and inner == "/":
        raise Error("the root of the cgroup hierarchies can't be a container's cgroup",
                    code="invalid-config", pointer=files.PATH)
    groups: list[Group] = []
    for hierarchy in layout.hierarchies:
        unified = hierarchy.controllers == [UNIFIED]
        base = "" if name.startswith("/") else normal(hierarchy.own).rstrip("/")
        if unified and layout.mode == "v2":
            base = base.rpartition("/")[0]
        path = hierarchy.mount.rstrip("/") + base + inner.rstrip("/")
        if unified:
            groups.append(v2.Group(hierarchy.mount, path))
        else:
            groups.append(v1.Group(hierarchy.controllers, hierarchy.mount, path))
    return Manager(driver, layout.mode, groups)


def load(record: dict[str, Any]) -> Manager:
    """The cgroups that record() described."""
    groups: list[Group] = []
    for saved in record["groups"]:
        if saved["controllers"] == [UNIFIED]:
            groups.append(v2.Group(saved["mount"], saved["path"]))
        else:
            groups.append(v1.Group(saved["controllers"], saved["mount"], saved["path"]))
    return Manager(record["driver"], record["mode"], groups)


def normal(path: str) -> str:
    """A path from "/", with ".", ".." and double slashes resolved; ".." at the top stays there."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def split_subgroup(subgroup: str | None) -> tuple[set[str], str]:
    """The controllers (none: all) and the path ("" or "/a/b") that exec's --cgroup names."""
    if subgroup is None:
        return set(), ""
    names, colon, path = subgroup.rpartition(":")
    parts = path.split("/")
    if path == "/":
        parts = []
    elif any(part in ("", ".", "..") for part in parts):
        raise Error(f"{path!r} is not a path below the container's cgroup", code="usage",
                    hint="write it without a leading slash and without . and ..")
    return set(names.split(",")) if colon else set(), "".join("/" + part for part in parts)


def _undo(made: list[str]) -> None:
    for path in reversed(made):
        try:
            os.rmdir(path)
        except OSError:
            # Someone else's cgroup has come into it since: then it is theirs to remove.
            continue


def remove_tree(path: str) -> bool:
    """rmdir for a cgroup and all below it; True when all are gone, False if something is in use."""
    return all([_remove_one(group) for group in files.tree(path)])


def _remove(path: str) -> bool:
    # Nearly always there is nothing below, and no need to look.
    return _remove_one(path) or remove_tree(path)


def _remove_one(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        raise files.failure(error, f"removing the cgroup {path}") from None
    return True


def _join(path: str, pid: int) -> None:
    try:
        files.write(f"{path}/cgroup.procs", str(pid))
    except OSError as error:
        raise files.failure(error, f"moving process {pid} into {path}") from None


def _apply(writes: list[resources.Write], paths: dict[str, str]) -> None:
    """Makes writes in order, and those that the kernel calls invalid once more after the others.

    So pairs that must not contradict each other at any moment (limit and memory+swap, quota and period)
    get to where they should be from any values they have now.
    """
    while writes:
        refused: list[tuple[resources.Write, Error]] = []
        for write in writes:
            error = _put(write, paths)
            if error:
                refused.append((write, error))
        if len(refused) == len(writes):
            raise refused[0][1]
        writes = [write for write, _ in refused]


def _put(write: resources.Write, paths: dict[str, str]) -> Error | None:
    """Makes one write; the Error of an EINVAL is returned, others are raised."""
    directory = paths.get(write.controller) or paths[UNIFIED]
    for file, value in write.choices:
        path = f"{directory}/{file}"
        try:
            if write.usage and int(files.read(f"{directory}/{write.usage}")) > int(value):
                raise Error(f"{value} is below what is in use now ({write.usage} in {directory})",
                            code="busy", pointer=write.pointer)
            files.write(path, value)
            if write.confirm and int(files.read(path)) > int(value):
                raise Error(f"this kernel ignores {file}", code="not-supported", pointer=write.pointer)
            return None
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"the kernel refused {value!r} for {file} in {directory}"
            if error.errno in (ENODEV, EOPNOTSUPP):
                message = f"{file} in {directory} can't take {value!r}"
            refusal = files.failure(error, message, write.pointer)
            if error.errno == EINVAL:
                return refusal
            raise refusal from None
    if write.optional:
        return None
    names = " or ".join(file for file, _ in write.choices)
    gone = "" if files.exists(directory) else ", nor is there that directory"
    raise Error(f"this kernel has no {names} in {directory}{gone}",
                code="not-supported", pointer=write.pointer, errno=ENOENT)
