"""Compiling linux.namespaces: which are made, which are joined, and in which process."""

from __future__ import annotations

from pyoci.bundle.document import pointer
from pyoci.bundle.rules import sysctl_path
from pyoci.plan import steps
from pyoci.plan.kernel import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.steps import Step

# These two can't be made by the clone itself: a cgroup namespace takes the cgroup its maker is in
# as its root, so the process has to be in the container's first; the offsets of a time namespace
# can be set only while no process is in it (time_namespaces(7)).
LATE = ("cgroup", "time")


class Namespaces:
    """What config.json says of each namespace: in `new`, in `joined` (type -> path), or the host's.

    pointers  type -> the JSON pointer of its entry
    """

    __slots__ = ("joined", "new", "offsets", "pointers")

    def __init__(self, config: dict[str, Any]) -> None:
        linux = config.get("linux") or {}
        self.new: list[str] = []
        self.joined: dict[str, str] = {}
        self.pointers: dict[str, str] = {}
        for index, entry in enumerate(linux.get("namespaces") or ()):
            kind = entry["type"]
            self.pointers[kind] = f"/linux/namespaces/{index}"
            if entry.get("path"):
                self.joined[kind] = entry["path"]
            else:
                self.new.append(kind)
        self.offsets: dict[str, Any] = linux.get("timeOffsets") or {}

    def has(self, kind: str) -> bool:
        return kind in self.pointers

    @property
    def clone_flags(self) -> int:
        flags = 0
        for kind in self.new:
            if kind not in LATE and not (kind == "ipc" and self.owns_ipc):
                flags |= NAMESPACES[kind]
        return flags

    @property
    def owns_ipc(self) -> bool:
        """Whether the IPC namespace has to wait for the user mappings: the root of its mqueue
        filesystem, made with it, belongs to whoever its maker is at that moment (mq_overview(7))."""
        return "ipc" in self.new and "user" in self.new


def descriptor(kind: str) -> str:
    """The name under which a joined namespace's descriptor is known to the encoder."""
    return f"namespace:{kind}"


def compile_stage(namespaces: Namespaces, privileged: bool) -> list[Step]:
    """The steps of the stage: a process in the host's namespaces that joins those given by path and
    then clones the container's.

    Always a process of its own. Joined pid and time namespaces are for children only; who executes a
    program in a user namespace before the mappings are written isn't its root, and so loses every
    capability (capabilities(7)); and making a network namespace takes a millisecond or more, in which
    the runtime makes the cgroups.
    """
    # Root of the host may enter any namespace, also those another user namespace owns; once it has
    # joined a user namespace it may enter only that one's. Another user must go there first.
    order = sorted(namespaces.joined, key=lambda kind: (kind == "user") == privileged)
    plan = [
        steps.join_namespace(namespaces.pointers[kind] + "/path", fd=descriptor(kind), kind=NAMESPACES[kind])
        for kind in order
    ]
    if "time" in namespaces.new:
        plan.append(steps.time_offsets("/linux/timeOffsets", offsets=_offset_lines(namespaces.offsets)))
    plan.append(steps.clone("/linux/namespaces", flags=namespaces.clone_flags))
    return plan


def _offset_lines(offsets: dict[str, Any]) -> str:
    return "".join(
        f"{clock} {value.get('secs', 0)} {value.get('nanosecs', 0)}\n" for clock, value in offsets.items()
    )


def compile_names(config: dict[str, Any]) -> list[Step]:
    """Host and domain name, in the container's UTS namespace."""
    plan = []
    if config.get("hostname"):
        plan.append(steps.hostname("/hostname", name=config["hostname"]))
    if config.get("domainname"):
        plan.append(steps.domainname("/domainname", name=config["domainname"]))
    return plan


def compile_sysctls(config: dict[str, Any]) -> list[Step]:
    """Kernel parameters; both `.` and `/` separate, as in sysctl(8): the first one met decides."""
    values = (config.get("linux") or {}).get("sysctl") or {}
    return [
        steps.sysctl(pointer(["linux", "sysctl", key]), path=sysctl_path(key), value=value)
        for key, value in values.items()
    ]
