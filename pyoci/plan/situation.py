"""What a compiler may know besides config.json: the caller's flags and facts about the host."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class CgroupHierarchy:
    """One of the host's cgroup hierarchies, as a container is to see it.

    directory    the name it goes by below /sys/fs/cgroup: `cpu,cpuacct`, `systemd`, `unified`
    controllers  what is in it, or ["name=systemd"] and the like; [""] is cgroup2
    path         the container's own cgroup as a host path; "" if it can't be reached by one
    shared       it has none of its own there, and the path is the runtime's
    """

    __slots__ = ("controllers", "directory", "path", "shared")

    def __init__(self, directory: str, controllers: list[str], path: str, *, shared: bool = False) -> None:
        self.directory = directory
        self.controllers = controllers
        self.path = path
        self.shared = shared


class CgroupView:
    """What mounts of type `cgroup` and `cgroup2` can show.

    unified       whether such a mount is cgroup2 itself: no v1 hierarchy has a controller
    hierarchies   every one, in the order in which they are to be mounted
    systemd_only  the destination that an annotation says is to have only name=systemd, or ""
    """

    __slots__ = ("hierarchies", "systemd_only", "unified")

    def __init__(
        self,
        unified: bool,
        hierarchies: list[CgroupHierarchy],
        *,
        systemd_only: str = "",
    ) -> None:
        self.unified = unified
        self.hierarchies = hierarchies
        self.systemd_only = systemd_only

    @property
    def shared(self) -> bool:
        """Whether the container lacks a cgroup of its own in any."""
        return any(hierarchy.shared for hierarchy in self.hierarchies)


class Situation:
    """The one argument through which the host's facts and the caller's wishes reach the compilers."""

    __slots__ = (
        "bounding", "cgroups", "container_id", "filter", "filter_flags", "filter_pointer", "gated", "kcore",
        "keyring", "last_capability", "listening", "nested", "pivot", "preserve", "privileged", "set_groups",
        "superuser", "warnings",
    )  # fmt: skip

    def __init__(self, container_id: str = "container") -> None:
        self.container_id = container_id
        self.gated = True  # wait at a socket for `start`; else for the runtime itself
        self.pivot = True
        self.kcore = False  # the kernel has a /proc/kcore
        self.keyring = True
        self.preserve = 0  # descriptors kept from 3 up, LISTEN_FDS included
        self.listening: Sequence[str] = ()  # LISTEN_FDS and LISTEN_FDNAMES, where sockets are passed
        self.privileged = True  # the runtime is root in the initial user namespace
        self.superuser = True  # the runtime is root in its own, which may be the initial one
        self.nested = False  # the runtime is root in a user namespace that isn't the initial one
        self.set_groups = True  # setgroups(2) is allowed in the container's user namespace
        self.bounding = (1 << 41) - 1  # capabilities the runtime can hand on
        self.last_capability = 40
        self.filter = b""  # compiled seccomp program
        self.filter_flags = 0
        self.filter_pointer = "/linux/seccomp"  # the property that asked for it
        self.cgroups: CgroupView | None = None
        self.warnings: list[str] = []

    def warn(self, pointer: str, message: str) -> None:
        self.warnings.append(f"{pointer}: {message}")
