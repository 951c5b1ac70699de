"""A sleeping container with resources, by each way to make its cgroups, and what the kernel has of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyoci.cgroup import UNIFIED, layout
from support import cgroups
from support.containers import Bundle, Runtime
from support.systemd import SYSTEMD, WithSystemd

UNIT = "limited-box.scope"


def managers() -> list[str]:
    """The ways there are on this machine: a layout, made by pyoci itself, or by systemd."""
    return [*cgroups.layouts(), *(["systemd"] if SYSTEMD else [])]


def version(manager: str) -> int:
    """Which version's files its containers' limits are in."""
    return 2 if (layout.detect().mode if manager == "systemd" else manager) == "v2" else 1


class Limited:
    """A container named box, not yet made."""

    def __init__(self, runtime: Runtime, bundle: Bundle, manager: str) -> None:
        self.manager = manager
        self.runtime = WithSystemd(runtime.root, runtime.program) if manager == "systemd" else runtime
        self.bundle = bundle
        if manager == "systemd":
            bundle.config["linux"]["cgroupsPath"] = "system.slice:limited:box"

    def start(self, resources: dict[str, Any]) -> int:
        """Make it and let it run; its process as the host numbers it."""
        self._ask(resources)
        self.runtime.detached("run", "--detach", "--bundle", str(self.bundle.path), "box")
        pid: int = self.runtime.state("box")["pid"]
        return pid

    def refused(self, resources: dict[str, Any]) -> str:
        """What is said to resources that can't be had."""
        self._ask(resources)
        command = self.runtime.command("create", "--bundle", str(self.bundle.path), "box")
        with tempfile.TemporaryFile("w+") as said:  # no pipe: a container that is made would keep it open
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
            assert done.returncode == 1, "it was made"
            said.seek(0)
            return said.read()

    def _ask(self, resources: dict[str, Any]) -> None:
        self.bundle.config["linux"]["resources"] = resources
        self.bundle.save()

    def _hierarchy(self, file: str) -> layout.Hierarchy | None:
        """The hierarchy in which a file would be."""
        controller = file.partition(".")[0]
        wanted = UNIFIED if version(self.manager) == 2 or controller == "cgroup" else controller
        here = (one for one in layout.detect().hierarchies if wanted in one.controllers)
        return next(here, None)

    def _beside(self, hierarchy: layout.Hierarchy) -> str:
        """Where the container's cgroup is made, in a hierarchy."""
        if self.manager == "systemd":
            return "/system.slice"
        own = hierarchy.own.rstrip("/")
        return os.path.dirname(own).rstrip("/") if version(self.manager) == 2 else own

    def by_hand(self, lines: dict[str, str]) -> str:
        """What the kernel answers to who writes these lines to these files of a new cgroup beside the
        container's: "" if it takes them all, otherwise the words of the first error."""
        hierarchy = self._hierarchy(next(iter(lines)))
        if hierarchy is None:
            return "no cgroup "
        group = Path(f"{hierarchy.mount}{self._beside(hierarchy)}/by-hand")
        group.mkdir()
        try:
            for name, line in lines.items():
                if not (group / name).exists():
                    return "this kernel has no"
                (group / name).write_text(line)
        except OSError as error:
            return (error.strerror or "").lower()
        finally:
            group.rmdir()
        return ""

    def holds(self, file: str) -> list[str]:
        """The lines of a file of the container's cgroup, blanks in a row as one."""
        hierarchy = self._hierarchy(file)
        assert hierarchy
        own = cgroups.membership(self.runtime.state("box")["pid"])[",".join(hierarchy.controllers)]
        text = Path(f"{hierarchy.mount}{own}/{file}").read_text()
        return [" ".join(line.split()) for line in text.splitlines()]


@contextmanager
def limited(runtime: Runtime, bundle: Bundle, manager: str) -> Iterator[Limited]:
    """A container to be made in one of managers(); deleted in the end."""
    with cgroups.in_mode(layout.detect().mode if manager == "systemd" else manager):
        box = Limited(runtime, bundle, manager)
        yield box
        box.runtime.ok("delete", "--force", "box")


def disk() -> dict[str, int]:
    """The numbers of a block device; of one that can't be where there is none."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith(("ram", "zram", "loop")):
            major, minor = (int(word) for word in Path(f"/sys/block/{name}/dev").read_text().split(":"))
            return {"major": major, "minor": minor}
    return {"major": 259, "minor": 4095}
