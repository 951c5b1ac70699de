"""Mounts that nobody else sees, for a test that takes some away."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType

CLONE_NEWNS = 0x20000


@contextlib.contextmanager
def own_mounts() -> Iterator[None]:
    """Within it, this thread and what it starts are in a mount namespace of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    directory = os.getcwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            yield
        finally:
            # The kernel takes only a thread that shares its directory with no other: unshare saw to that.
            if libc.setns(before, CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "setns")
            os.chdir(directory)
    finally:
        os.close(before)


class KeptMounts:
    """A mount namespace that stays until it is closed, with empty directories of its own in some places, and
    files with other contents."""

    def __init__(self, *places: str, files: Mapping[str, str] = MappingProxyType({})) -> None:
        for place in places:
            os.makedirs(place, exist_ok=True)
        with own_mounts():
            for place in places:
                subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", place], check=True)
            for path, content in files.items():
                with tempfile.NamedTemporaryFile("w") as file:
                    os.fchmod(file.fileno(), 0o644)
                    file.write(content)
                    file.flush()
                    subprocess.run(["mount", "--bind", file.name, path], check=True)
            self.descriptor = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)

    @property
    def descriptors(self) -> list[int]:
        """What a process that enters needs to inherit."""
        return [self.descriptor]

    def command(self, *command: str) -> list[str]:
        """The command, to be run in there."""
        return ["nsenter", f"--mount=/proc/self/fd/{self.descriptor}", "--", *command]

    def close(self) -> None:
        os.close(self.descriptor)
