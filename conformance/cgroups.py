"""The host's cgroup hierarchies of both versions: where they are, what is in them, what a limit is."""

from __future__ import annotations

import os
from pathlib import Path

from conformance import host

# A limit by its name in config.json -> controller, v1 file, v2 file.
FILES = {
    "memory.limit": ("memory", "memory.limit_in_bytes", "memory.max"),
    "memory.reservation": ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    "memory.swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "memory.swappiness": ("memory", "memory.swappiness", ""),
    "memory.disableOOMKiller": ("memory", "memory.oom_control", ""),
    "cpu.shares": ("cpu", "cpu.shares", ""),
    "cpu.quota": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "cpu.period": ("cpu", "cpu.cfs_period_us", "cpu.max"),
    "cpu.idle": ("cpu", "cpu.idle", "cpu.idle"),
    "cpu.cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    "cpu.mems": ("cpuset", "cpuset.mems", "cpuset.mems"),
    "pids.limit": ("pids", "pids.max", "pids.max"),
    "devices": ("devices", "devices.list", ""),
}


def hierarchies() -> dict[str, Path]:
    """Where cgroup hierarchies are mounted: by controller (`name=...` for a named one), "" the unified."""
    found: dict[str, Path] = {}
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            before, after = line.rstrip("\n").split(" - ", 1)
            point = Path(host.unescape(before.split(" ")[4]))
            kind, _, super_options = after.split(" ", 2)
            if kind == "cgroup2":
                found.setdefault("", point)
            elif kind == "cgroup":
                known = {"rw", "ro", "xattr", "none", "clone_children", "noprefix", "cpuset_v2_mode"}
                for option in super_options.split(","):
                    if option not in known and not option.startswith("release_agent="):
                        found.setdefault(option, point)
    return found


def layout() -> str:
    """v1, hybrid, v2 or none, by what is mounted."""
    mounted = hierarchies()
    versions = ("v1" if any(mounted) else "") + ("v2" if "" in mounted else "")
    return {"v1": "v1", "v2": "v2", "v1v2": "hybrid", "": "none"}[versions]


def named(marker: str) -> list[Path]:
    """Directories with `marker` in their name anywhere in the cgroup hierarchies, deepest first."""
    found: list[Path] = []
    for top in sorted(set(hierarchies().values())):
        for directory, names, _ in os.walk(top):
            if marker in directory:
                found.append(Path(directory))
            elif directory.count("/") - str(top).count("/") > 6:
                names.clear()
    return sorted(set(found), key=lambda path: -len(path.parts))


def remove(path: Path) -> None:
    """Remove a cgroup of ours, and end what is in it: nobody else would."""
    for line in (path / "cgroup.procs").read_text().split():
        host.end(int(line))
    # The kernel takes a moment to forget a process that has ended.
    host.until(lambda: not (path / "cgroup.procs").read_text(), 2)
    path.rmdir()


def paths(pid: int | str) -> dict[str, str]:
    """A process's cgroups, as /proc/PID/cgroup has them: by controller, "" the unified one."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def directory(pid: int | str, controller: str) -> Path | None:
    """The directory of a process's cgroup that has `controller` on this machine, of either version."""
    mounted, own = hierarchies(), paths(pid)
    if controller in mounted and controller in own:
        return mounted[controller] / own[controller].lstrip("/")
    if "" in mounted and "" in own:
        unified = mounted[""] / own[""].lstrip("/")
        controllers = unified / "cgroup.controllers"
        if controllers.exists() and controller in controllers.read_text().split():
            return unified
    return None


def limit(pid: int | str, name: str) -> str | None:
    """The value of a limit of FILES for a process; None where this machine's hierarchies have no such thing.

    cpu.quota and cpu.period of version 2 are the two words of cpu.max; its memory.swap leaves memory out.
    """
    controller, first, second = FILES[name]
    where = directory(pid, controller)
    if where is None:
        return None
    version1 = controller in hierarchies()
    path = where / (first if version1 else second)
    if not path.is_file():
        return None
    value = path.read_text().strip()
    if not version1 and name in ("cpu.quota", "cpu.period"):
        return value.split()[0 if name == "cpu.quota" else 1]
    return value


def limits(pid: int | str) -> dict[str, str]:
    """All the limits this machine has, with their values for a process."""
    found = {name: limit(pid, name) for name in FILES}
    return {name: value for name, value in found.items() if value is not None}
