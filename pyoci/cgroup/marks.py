"""The mark on a container's cgroups that says whose they are: an extended attribute.

It serves when a container's state is gone. cgroups keep such attributes in memory for as long as they are
there. Its value tells where the state is: by the path, and, as other mount namespaces have other directories
of that name, by the device and the inode of the directory above and by the mount namespace it was made in.
"""

from __future__ import annotations

import os

from pyoci.cgroup import files
from pyoci.cgroup.manager import Manager, make_group
from pyoci.host import privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.layout import Layout

# The first only the host's root sets and sees; the other, on cgroup2 since Linux 5.7, whoever may write to
# the cgroup sets, be it a container's root to whom it is delegated.
_NAMES = _TRUSTED, _USER = "trusted.pyoci", "user.pyoci"


def text(state: str) -> bytes:
    """The mark of a container that has its state in this directory."""
    place = os.stat(os.path.dirname(state))
    namespace = os.stat("/proc/self/ns/mnt").st_ino
    return f"{place.st_dev}:{place.st_ino}:{namespace} {state}".encode(errors="surrogateescape")


def put(path: str, mark: bytes) -> None:
    """Marks a cgroup. Where the kernel can't, or we may not, it is only harder to find."""
    for name in _NAMES:
        try:
            os.setxattr(path, name, mark)
            return
        except OSError:
            continue


class Marks:
    """The marks that can be believed to tell of containers with their state in one directory, `root`."""

    __slots__ = ("name", "place", "root", "user")

    def __init__(self, root: str) -> None:
        self.root = root
        self.name, self.user = (_TRUSTED, -1) if privileges.is_host_root() else (_USER, os.geteuid())
        there = root
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        found = os.stat(there)
        inode = found.st_ino if there == root else 0
        self.place = (found.st_dev, inode, os.stat("/proc/self/ns/mnt").st_ino)

    def container(self, cgroup: int) -> str:
        """The id of the container that a cgroup, open, belongs to; "" if it isn't ours to say."""
        try:
            place, _, state = os.fsdecode(os.getxattr(cgroup, self.name)).partition(" ")
            device, inode, namespace = (int(number) for number in place.split(":"))
            if self.user >= 0 and os.fstat(cgroup).st_uid != self.user:
                return ""  # somebody else's, and so is what it says
        except (OSError, ValueError):
            return ""
        root, _, container_id = state.rpartition("/")
        same = (device, inode) == self.place[:2]
        # The directory may have been lost as a whole, and be made anew.
        again = root == self.root and (device, namespace) == self.place[::2]
        return container_id if same or again else ""

    def find(self, layout: Layout) -> dict[str, Manager]:
        """The cgroups of every container whose state is, or was, in the directory, by its id."""
        found: dict[str, Manager] = {}
        for hierarchy in layout.hierarchies:
            for name, within in files.tree(hierarchy.mount):
                container_id, path = self._look(name, within)
                if container_id:
                    cgroup = found.setdefault(container_id, Manager("cgroupfs", layout.mode, []))
                    cgroup.ours = True
                    cgroup.groups.append(
                        make_group(hierarchy.controllers, hierarchy.mount, path, layout.mode)
                    )
        return found

    def _look(self, name: str, within: int | None) -> tuple[str, str]:
        """The container that a cgroup, as files.tree() names it, belongs to, and the cgroup's path."""
        try:
            cgroup = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
        except OSError:
            return "", ""  # gone, or somebody keeps it to himself
        try:
            container_id = self.container(cgroup)
            return container_id, os.readlink(f"/proc/self/fd/{cgroup}") if container_id else ""
        except OSError:
            return "", ""  # a path longer than the kernel can say: not where pyoci makes them
        finally:
            os.close(cgroup)
