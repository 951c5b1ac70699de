"""Whether SELinux is there."""

from __future__ import annotations

from pyoci.host import procfs


def enabled() -> bool:
    """Whether this kernel has it, switched on at boot: only then it has its filesystem."""
    return b"\tselinuxfs\n" in procfs.read("/proc/filesystems")
