"""The seccomp filters that are really installed in a process, read back from the kernel (ptrace(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

# linux/ptrace.h
_DETACH, _SEIZE, _INTERRUPT, _GET_FILTER, _GET_METADATA = 17, 0x4206, 0x4207, 0x420C, 0x420D
_WALL = 0x40000000  # __WALL of waitpid(2)
_INSTRUCTION = 8  # bytes of struct sock_filter

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _Metadata(ctypes.Structure):
    """struct seccomp_metadata: which filter is asked for, and its flags."""

    _fields_ = (("filter_off", ctypes.c_uint64), ("flags", ctypes.c_uint64))


def _ptrace(request: int, pid: int, address: int | None = None, data: object = None) -> int:
    result: int = _libc.ptrace(request, pid, address, data)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process held in a ptrace stop, and let go of as it was."""
    _ptrace(_SEIZE, pid)
    _ptrace(_INTERRUPT, pid)
    os.waitpid(pid, _WALL)
    try:
        yield
    finally:
        _ptrace(_DETACH, pid)


def read(pid: int) -> list[bytes]:
    """The programs of a process's filters as they were loaded, the oldest first.

    Takes CAP_SYS_ADMIN, a kernel with CONFIG_CHECKPOINT_RESTORE, and a reader without a filter.
    """
    if "\nSeccomp:\t2\n" not in Path(f"/proc/{pid}/status").read_text():
        return []
    programs = []
    with _stopped(pid), contextlib.suppress(FileNotFoundError):  # ENOENT: there is no more
        while True:
            length = _ptrace(_GET_FILTER, pid, len(programs))
            buffer = ctypes.create_string_buffer(length * _INSTRUCTION)
            _ptrace(_GET_FILTER, pid, len(programs), buffer)
            programs.append(buffer.raw)
    return programs


def flags(pid: int) -> int:
    """The flags of a process's oldest filter that the kernel remembers: SECCOMP_FILTER_FLAG_LOG."""
    metadata = _Metadata()
    with _stopped(pid):
        _ptrace(_GET_METADATA, pid, ctypes.sizeof(metadata), ctypes.addressof(metadata))
    return int(metadata.flags)
