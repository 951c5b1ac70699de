"""Which cgroup hierarchies this machine has, found from the mounts (cgroups(7))."""

from __future__ import annotations

import os

from pyoci.cgroup import UNIFIED
from pyoci.host import mountinfo, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Judge = Callable[[mountinfo.Mount], bool]


class Hierarchy:
    """A mounted cgroup hierarchy.

    controllers  what v1 mounts together here, e.g. ["cpu", "cpuacct"] or ["name=systemd"]; [""] for cgroup2
    mount        where it is mounted
    own          the runtime's own cgroup, as a path below the mount ("/" is the mount itself)
    """

    __slots__ = ("controllers", "mount", "own")

    def __init__(self, controllers: list[str], mount: str, own: str) -> None:
        self.controllers = controllers
        self.mount = mount
        self.own = own


class Layout:
    """Every hierarchy that is mounted.

    mode         "v1", "hybrid" (v1 and cgroup2), "v2" or "none"
    hierarchies  in the order in which they were mounted, but cgroup2, if it is there, last
    v1           controller (or "name=…") to mount point
    unified      mount point of cgroup2
    """

    __slots__ = ("hierarchies", "mode", "unified", "v1")

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies
        self.v1 = {name: h.mount for h in hierarchies for name in h.controllers if name != UNIFIED}
        self.unified = next((h.mount for h in hierarchies if h.controllers == [UNIFIED]), None)
        if self.unified is None:
            self.mode = "v1" if self.v1 else "none"
        else:
            self.mode = "hybrid" if self.v1 else "v2"


def detect(pid: int | str = "self") -> Layout:
    """The layout as this process sees it; what is `own` in it can be another process's cgroups. OSError when
    that process is gone."""
    return parse(mountinfo.read(), procfs.read(f"/proc/{pid}/cgroup"), is_in_sight)


def is_in_sight(mount: mountinfo.Mount) -> bool:
    """Whether a mount is what one comes to at its mount point: others may be mounted over that, or above."""
    try:
        device = os.stat(mount.point).st_dev
    except OSError:
        return False
    return mount.device == f"{os.major(device)}:{os.minor(device)}"


def parse(mounts: bytes, membership: bytes, in_sight: Judge = lambda mount: True) -> Layout:
    """The layout that the texts of /proc/self/mountinfo and /proc/self/cgroup tell.

    in_sight  asked of each mount that would be used, until there is one in each hierarchy
    """
    groups = [mount for mount in mountinfo.parse(mounts, b" - cgroup") if mount.type in ("cgroup", "cgroup2")]
    covered = {(mount.parent, mount.point) for mount in groups}  # on their very own roots, by other cgroups
    groups = [mount for mount in groups if (mount.id, mount.point) not in covered]
    found: list[tuple[bool, int, Hierarchy]] = []
    for line in membership.decode(errors="surrogateescape").split("\n"):
        if not line:
            continue
        number, names, own = line.split(":", 2)
        if number == "0":
            here = [mount for mount in groups if mount.type == "cgroup2"]
        else:
            wanted = names.split(",")
            here = [
                mount
                for mount in groups
                if mount.type == "cgroup" and all(name in mount.super_options for name in wanted)
            ]
        mount = _best(here, own, in_sight)
        if mount:
            hierarchy = Hierarchy(names.split(","), mount.point, _below(mount.root, own) or "/")
            found.append((names == UNIFIED, groups.index(mount), hierarchy))
    found.sort(key=lambda entry: entry[:2])
    return Layout([hierarchy for _, _, hierarchy in found])


def _best(mounts: list[mountinfo.Mount], own: str, in_sight: Judge) -> mountinfo.Mount | None:
    """Of a hierarchy's mounts in sight the first that shows our own cgroup, or else the first of all:
    others are some container's."""
    ours = [mount for mount in mounts if _below(mount.root, own)]
    rest = [mount for mount in mounts if mount not in ours]
    return next((mount for mount in (*ours, *rest) if in_sight(mount)), None)


def _below(root: str, path: str) -> str | None:
    """`path` as seen from a mount of `root`; None if it can't be seen there.

    In a container without a cgroup namespace both are the host's paths, and only the part below
    the mounted directory exists.
    """
    if root == "/":
        return path
    if path == root:
        return "/"
    return path[len(root) :] if path.startswith(root + "/") else None
