"""The Linux security modules that labels are for: whether they are on."""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.host import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_labels(process: dict[str, Any], mount_label: str = "") -> None:
    """Error (not-supported) for a profile or label of `process`, or one of mounts, whose module isn't on.

    To be asked before anything is made: where another module is on, the file that a label is written to
    would be that one's (proc_pid_attr(5)).
    """
    if process.get("apparmorProfile"):
        _require(_apparmor(), "/process/apparmorProfile")
    if process.get("selinuxLabel"):
        _require(_selinux(), "/process/selinuxLabel")
    if mount_label:
        _require(_selinux(), "/linux/mountLabel")


def _require(missing: str, pointer: str) -> None:
    if missing:
        raise Error(missing, code="not-supported", pointer=pointer, hint="remove the property")


def _apparmor() -> str:
    """Why there is no AppArmor, "" where it is on."""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            return "" if file.read().startswith("Y") else "AppArmor is off in this kernel"
    except FileNotFoundError:
        return "this kernel was built without AppArmor"


def _selinux() -> str:
    """Why there is no SELinux, "" where it is on: only then its filesystem is known."""
    known = b"\tselinuxfs\n" in procfs.read("/proc/filesystems")
    return "" if known else "SELinux is off in this kernel"
