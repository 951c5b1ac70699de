"""Which cgroup hierarchies this machine has, found from the mounts (cgroups(7))."""

from __future__ import annotations

from pyoci.cgroup import UNIFIED
from pyoci.host import mountinfo, procfs


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


def detect() -> Layout:
    """The layout as this process sees it."""
    return parse(mountinfo.read(), procfs.read("/proc/self/cgroup"))


def parse(mounts: bytes, membership: bytes) -> Layout:
    """The layout that the texts of /proc/self/mountinfo and /proc/self/cgroup tell."""
    groups = [mount for mount in mountinfo.parse(mounts, b" - cgroup") if mount.type in ("cgroup", "cgroup2")]
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
        if here:
            mount = _best(here, own)
            hierarchy = Hierarchy(names.split(","), mount.point, _below(mount.root, own) or "/")
            found.append((names == UNIFIED, groups.index(mount), hierarchy))
    found.sort(key=lambda entry: entry[:2])
    return Layout([hierarchy for _, _, hierarchy in found])


def _best(mounts: list[mountinfo.Mount], own: str) -> mountinfo.Mount:
    """Of several mounts of a hierarchy the first that shows our own cgroup: others are some container's."""
    return next((mount for mount in mounts if _below(mount.root, own)), mounts[0])


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
