"""libseccomp.so.2 through cffi: the numbers of system calls. Loaded only to compile a filter."""

from __future__ import annotations

from pyoci._libseccomp import ffi
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What seccomp_syscall_resolve_name(3) answers for a name it has never heard of. Other negative
# numbers stand for system calls that exist, though not on that architecture.
UNKNOWN = -1


class Library:
    """The opened library: how system calls are called and numbered."""

    __slots__ = ("lib",)

    def __init__(self, path: str) -> None:
        """Open the library. Error `not-supported` when the machine has none."""
        try:
            self.lib: Any = ffi.dlopen(path)
        except OSError as error:
            raise Error(
                f"the seccomp filter can't be compiled: {error}",
                code="not-supported",
                pointer="/linux/seccomp",
                hint="install libseccomp, on Debian and Ubuntu the package libseccomp2",
            ) from None

    def version(self) -> str:
        """Such as `2.5.4`."""
        version = self.lib.seccomp_version()
        return f"{version.major}.{version.minor}.{version.micro}"

    def known(self, name: str) -> bool:
        """Whether the library has heard of the system call, on any architecture."""
        if not name.isascii() or "\0" in name:
            return False
        return bool(self.lib.seccomp_syscall_resolve_name(name.encode()) != UNKNOWN)

    def number(self, name: str, architecture: int) -> int:
        """The number of a known system call on an architecture; negative when it isn't one of its own."""
        return int(self.lib.seccomp_syscall_resolve_name_arch(architecture, name.encode()))
