"""What a compiler may know besides config.json: the caller's flags and facts about the host."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class CgroupView:
    """Where the container's cgroups are, for mounts of type `cgroup`.

    unified  mount point of the cgroup2 hierarchy if it is the only one, else ""
    v1       name of the hierarchy's directory (`cpu,cpuacct`) -> its mount point
    paths    the same name -> the container's own cgroup as a host path; under "" the cgroup2 one
    """

    __slots__ = ("paths", "unified", "v1")

    def __init__(self, unified: str, v1: Mapping[str, str], paths: Mapping[str, str]) -> None:
        self.unified = unified
        self.v1 = v1
        self.paths = paths


class Situation:
    """The one argument through which the host's facts and the caller's wishes reach the compilers."""

    __slots__ = (
        "bounding", "cgroups", "container_id", "filter", "filter_flags", "gated", "kcore",
        "keyring", "last_capability", "pivot", "preserve", "privileged", "set_groups", "superuser",
        "warnings",
    )  # fmt: skip

    def __init__(self, container_id: str = "container") -> None:
        self.container_id = container_id
        self.gated = True  # wait at a socket for `start`; else for the runtime itself
        self.pivot = True
        self.kcore = False  # the kernel has a /proc/kcore
        self.keyring = True
        self.preserve = 0  # descriptors kept from 3 up, LISTEN_FDS included
        self.privileged = True  # the runtime is root in the initial user namespace
        self.superuser = True  # the runtime is root in its own, which may be the initial one
        self.set_groups = True  # setgroups(2) is allowed in the container's user namespace
        self.bounding = (1 << 41) - 1  # capabilities the runtime can hand on
        self.last_capability = 40
        self.filter = b""  # compiled seccomp program
        self.filter_flags = 0
        self.cgroups: CgroupView | None = None
        self.warnings: list[str] = []

    def warn(self, pointer: str, message: str) -> None:
        self.warnings.append(f"{pointer}: {message}")
