"""cgroups as a test sees them: their files' values, who is in them, and v1 without cgroup2 beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyoci.cgroup import files, layout
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from support.mounts import own_mounts

Start = Callable[..., subprocess.Popen[bytes]]


def layouts() -> list[str]:
    """The modes that tests can be run in on this machine: its own, and v1 alone if that can be had."""
    mode = layout.detect().mode
    return ["hybrid", "v1"] if mode == "hybrid" else [mode]


@contextlib.contextmanager
def in_mode(mode: str) -> Iterator[Layout]:
    """Within it, this thread and what it starts find the cgroups in one of the modes of layouts()."""
    machine = layout.detect()
    if machine.mode == mode:
        yield machine
        return
    assert machine.unified
    with own_mounts():
        subprocess.run(["umount", machine.unified], check=True)
        # crun writes there all the same, and the directory is everybody's.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", machine.unified], check=True)
        found = layout.detect()
        assert found.mode == mode
        yield found


def value(group: Manager, controller: str, file: str) -> str:
    """What a file of the container's cgroup holds; "" is cgroup2's controller."""
    return files.read(f"{group.paths()[controller]}/{file}")


def membership(pid: int | str) -> dict[str, str]:
    """Controllers, as /proc names them, to the process's cgroup, in the hierarchies that are mounted."""
    mounted = {",".join(hierarchy.controllers) for hierarchy in layout.detect().hierarchies}
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return {names: path for _, names, path in lines if names in mounted}


def eventually(condition: Callable[[], object]) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def remove_named(name: str) -> None:
    """Removes the cgroups of that name, and those in them, from below every hierarchy's root; whoever is
    still in there is killed."""
    for hierarchy in layout.detect().hierarchies:
        top = Path(hierarchy.mount, name)

        def gone(top: Path = top) -> bool:
            for directory, _, present in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    _kill_members(Path(directory), present)
                    os.rmdir(directory)
            return not top.exists()

        eventually(gone)


def _kill_members(group: Path, present: list[str]) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    for file, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if file in present:
            (group / file).write_text(thawed)
