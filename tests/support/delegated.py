"""A part of the cgroup hierarchies that an ordinary user may manage (cgroups(7), delegation)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pyoci.cgroup.layout import detect
from support.cgroups import eventually
from support.containers import reap_orphans
from support.unprivileged import GID, UID


class Delegated:
    """A cgroup that root has made the user's, in every hierarchy or in some, with one below it to start in.

    place  what goes before a command of root's so that it starts there
    """

    def __init__(self, *only: str) -> None:
        alone = detect().mode == "v2"
        self.groups: dict[str, Path] = {}
        for hierarchy in detect().hierarchies:
            name = hierarchy.controllers[0]
            if only and name not in only:
                continue
            own = "" if alone else hierarchy.own.rstrip("/")
            group = Path(hierarchy.mount + own, f"pyoci-test-{os.getpid()}")
            (group / "start").mkdir(parents=True)
            if "cpuset" in hierarchy.controllers:
                for file in ("cpuset.cpus", "cpuset.mems"):
                    for one in (group, group / "start"):
                        (one / file).write_text((one.parent / file).read_text())
            if alone:
                wanted = " ".join(f"+{name}" for name in ("memory", "pids", "cpu"))
                Path(hierarchy.mount, "cgroup.subtree_control").write_text(wanted)
            for one in (group, group / "start"):
                os.chown(one, UID, GID)
                for file in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"):
                    if (one / file).exists():
                        os.chown(one / file, UID, GID)
            self.groups[name] = group
        files = " ".join(f"{group}/start/cgroup.procs" for group in self.groups.values())
        self.place = ["sh", "-c", f'for f in {files}; do echo $$ > $f; done; exec "$@"', "sh"]

    def remove(self) -> None:
        for group in self.groups.values():
            for path in (group / "start", group):
                eventually(lambda path=path: _is_removed(path))


def _is_removed(path: Path) -> bool:
    """Busy while the container's is still there."""
    reap_orphans(set())
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()
