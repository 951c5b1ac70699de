"""libseccomp.so.2 through cffi: names to numbers, rules to BPF. Loaded only to compile a filter."""

from __future__ import annotations

import os

from pyoci._libseccomp import ffi
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# What seccomp_syscall_resolve_name(3) answers for a name it has never heard of. Other negative
# numbers stand for system calls that exist, though not on that architecture.
UNKNOWN = -1

_MAX_BYTES = 1 << 20


class Library:
    """The opened library. Every int that a method of Filter returns is 0 or a negative errno."""

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

    def native(self) -> int:
        """The token of the architecture that the library was built for."""
        return int(self.lib.seccomp_arch_native())

    def architecture(self, name: str) -> int:
        """The token of an architecture called as in config.json (SCMP_ARCH_X86), 0 when unknown."""
        short = name.removeprefix("SCMP_ARCH_").lower()
        return int(self.lib.seccomp_arch_resolve_name(short.encode()))

    def known(self, name: str) -> bool:
        """Whether the library has heard of the system call, on any architecture."""
        if not name.isascii() or "\0" in name:
            return False
        return bool(self.lib.seccomp_syscall_resolve_name(name.encode()) != UNKNOWN)

    def number(self, name: str, architecture: int) -> int:
        """The number of a known system call on an architecture; negative when it isn't one of its own."""
        return int(self.lib.seccomp_syscall_resolve_name_arch(architecture, name.encode()))

    def filter(self, default_action: int) -> Filter:
        """A filter for the native architecture without rules, answering `default_action` to everything."""
        return Filter(self.lib, default_action)


class Filter:
    """A filter being put together: seccomp_init(3) to seccomp_export_bpf(3)."""

    __slots__ = ("_context", "_lib")

    def __init__(self, lib: Any, default_action: int) -> None:
        context = lib.seccomp_init(default_action)
        if context == ffi.NULL:
            raise Error(
                "libseccomp refuses the default action",
                code="not-supported",
                pointer="/linux/seccomp/defaultAction",
            )
        self._lib = lib
        self._context = ffi.gc(context, lib.seccomp_release)
        # SCMP_FLTATR_CTL_OPTIMIZE stays off: a binary tree loads twice as fast, but libseccomp 2.5.4
        # answers wrongly from one where several rules for a call compare the same argument.

    def add_architecture(self, token: int) -> int:
        """-EEXIST: it is there already; -EDOM: of another endianness than the native one."""
        return int(self._lib.seccomp_arch_add(self._context, token))

    def add_rule(self, action: int, name: str, conditions: Sequence[tuple[int, int, int, int]]) -> int:
        """Answer `action` to the system call where all conditions (argument, operator, a, b) hold.

        The library translates the call to each architecture of the filter, and leaves out those
        that lack it. -EEXIST: an earlier rule has decided this already.
        """
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        compare = ffi.new("struct scmp_arg_cmp[]", list(conditions))
        return int(self._lib.seccomp_rule_add_array(self._context, action, number, len(conditions), compare))

    def export(self) -> bytes:
        """The program: struct sock_filter after struct sock_filter, of 8 bytes each."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            failure = self._lib.seccomp_export_bpf(self._context, fd)
            if failure:
                raise Error(
                    f"libseccomp can't make a program of the filter: {os.strerror(-failure)}",
                    pointer="/linux/seccomp",
                    errno=-failure,
                )
            return os.pread(fd, _MAX_BYTES, 0)
        finally:
            os.close(fd)
