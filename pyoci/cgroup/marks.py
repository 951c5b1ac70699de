"""The mark on a container's cgroups that says whose they are: an extended attribute.

It serves when a container's state is gone. The value is the path of the state directory. cgroups keep such
attributes in memory for as long as they are there; nobody but the host's root can change a trusted one.
"""

from __future__ import annotations

import os

from pyoci.cgroup import files
from pyoci.cgroup.manager import Manager, make_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.layout import Layout

_NAMES = ("trusted.pyoci", "user.pyoci")  # the host's root's; anybody's, on cgroup2 since Linux 5.7


def put(path: str, owner: str) -> None:
    """Marks a cgroup. Where the kernel can't, or we may not, it is only harder to find."""
    for name in _NAMES:
        try:
            os.setxattr(path, name, owner.encode())
            return
        except OSError:
            continue


def owner(path: str, within: int | None = None) -> str:
    """What a cgroup, as files.tree() names it, is marked with; "" if with nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    except OSError:
        return ""  # gone, or somebody keeps it to himself
    try:
        for name in _NAMES:
            try:
                return os.getxattr(descriptor, name).decode(errors="surrogateescape")
            except OSError:
                continue
        return ""
    finally:
        os.close(descriptor)


def find(layout: Layout, prefix: str) -> dict[str, Manager]:
    """The cgroups of every container whose state directory has, or had, a path that begins so."""
    found: dict[str, Manager] = {}
    for hierarchy in layout.hierarchies:
        for name, within in files.tree(hierarchy.mount):
            whose = owner(name, within)
            if not whose.startswith(prefix):
                continue
            path = name if within is None else f"{os.readlink(f'/proc/self/fd/{within}')}/{name}"
            manager = found.setdefault(whose, Manager("cgroupfs", layout.mode, []))
            manager.ours = True
            manager.groups.append(make_group(hierarchy.controllers, hierarchy.mount, path, layout.mode))
    return found
