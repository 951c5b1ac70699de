"""What a test may leave behind on the host: processes, mounts, cgroups, descriptors, files, interfaces."""

from __future__ import annotations

import ctypes
import os
import re
import time
from pathlib import Path

from pyoci.cgroup import UNIFIED, layout

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_SETTLE = 3.0
# Where runtimes and engines keep things beside what they are told to; and the host's network interfaces.
PLACES = ("/run", "/tmp", "/var/lib", "/sys/class/net")
# What stays once it is there, with nothing in it: states of runtimes that are given no directory.
STATES = ("/run/pyoci", "/run/runc", "/run/crun")
# What engines and mount(8) make whatever they are told.
ENGINES = ("cni", "containerd", "containers", "docker")
KEPT = {
    *STATES, "/run/libpod", "/run/mount",
    *(f"{place}/{name}" for place in ("/run", "/var/lib") for name in ENGINES),
}  # fmt: skip
# What others keep in /tmp meanwhile, beside files: runs of these tests, by names as tempfile and
# short_directory make them, the VM, the shells of whoever works here.
OTHERS = re.compile(r"([a-z-]+-|tmp)[0-9a-z_]{8}|vm\.|bash_")


def adopt_orphans() -> None:
    """Whatever a runtime leaves running becomes our child, and so can be found (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[str]:
    """Our children that still run; the ended ones are reaped on the way."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            return set()
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except FileNotFoundError:
                continue
            found.add(f"process {pid} {words}")
    return found


def _mounts() -> set[str]:
    return {
        line.split(" ", 4)[4].split(" ")[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()
    }


def _cgroups() -> set[str]:
    """All there are, but for v1's beside the one that we are in: whoever put us there puts others there too,
    and a container's are below ours."""
    found: set[str] = set()
    for hierarchy in layout.detect().hierarchies:
        own = hierarchy.mount + hierarchy.own.rstrip("/")
        beside = "" if own == hierarchy.mount or hierarchy.controllers == [UNIFIED] else os.path.dirname(own)
        for directory, below, _ in os.walk(hierarchy.mount):
            if directory == beside:
                below[:] = [name for name in below if name == os.path.basename(own)]
            found.add(directory)
    return found


def _descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def _entries() -> set[str]:
    found = set()
    for place in (*PLACES, *filter(os.path.isdir, STATES)):
        for entry in os.scandir(place):
            others = place == "/tmp" and (OTHERS.match(entry.name) or entry.is_file(follow_symlinks=False))
            if not others and entry.path not in KEPT and entry.name != ".cache":
                found.add(entry.path)
    return found


class Before:
    """The host as it is now; left() tells what has come since."""

    def __init__(self) -> None:
        self.children = _children()  # a daemon that several tests share
        self.mounts = _mounts()
        self.cgroups = _cgroups()
        self.descriptors = _descriptors()
        self.entries = _entries()

    def _look(self) -> list[str]:
        return [
            *sorted(_children() - self.children),
            *(f"mount {point}" for point in sorted(_mounts() - self.mounts)),
            *(f"cgroup {path}" for path in sorted(_cgroups() - self.cgroups)),
            *(f"descriptor {number}" for number in sorted(_descriptors() - self.descriptors)),
            *sorted(_entries() - self.entries),
        ]

    def left(self) -> list[str]:
        """What is there that wasn't; looked for again while the kernel is still tidying up."""
        deadline = time.monotonic() + SECONDS_TO_SETTLE
        while (found := self._look()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found
