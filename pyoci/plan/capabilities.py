"""Compiling process.capabilities: five sets of names into five masks (capabilities(7))."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.situation import Situation

# In the kernel's order: a name's place is its number.
NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(NAMES)}


class CapabilitySets:
    """The five masks; none of them holds what the kernel or the runtime doesn't have."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self) -> None:
        self.ambient = self.bounding = self.effective = self.inheritable = self.permitted = 0


def compile_capabilities(capabilities: dict[str, Any], situation: Situation, pointer: str) -> CapabilitySets:
    """The masks of process.capabilities. A name the kernel doesn't know and one the runtime can't
    grant are left out with a warning, as config.md#process asks."""
    result = CapabilitySets()
    for kind in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        names = capabilities.get(kind)
        if names:
            setattr(result, kind, _mask(names, situation, f"{pointer}/{kind}"))
    # A capability is raised to the ambient set only from both of these (capabilities(7)).
    result.ambient &= result.permitted & result.inheritable
    result.effective &= result.permitted
    return result


def _mask(names: list[str], situation: Situation, pointer: str) -> int:
    mask = 0
    for index, name in enumerate(names):
        number = NUMBERS.get(name)
        if number is None or number > situation.last_capability:
            situation.warn(f"{pointer}/{index}", f"this kernel doesn't know {name}: left out")
        elif not situation.bounding >> number & 1:
            situation.warn(f"{pointer}/{index}", f"pyoci itself doesn't have {name}: left out")
        else:
            mask |= 1 << number
    return mask
