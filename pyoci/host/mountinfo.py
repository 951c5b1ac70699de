"""The mount table: lines of /proc/PID/mountinfo as small objects (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Mount:
    """One mount. Paths are decoded as file names are (surrogateescape), escapes undone.

    root           directory of the file system that is mounted; for cgroups, the cgroup
    point          where it is mounted, seen from the reader's root directory
    options        per-mount options, e.g. ["ro", "nosuid"]
    propagation    optional fields, e.g. ["shared:1"]
    super_options  per-superblock options; for cgroup v1, among them the controllers
    """

    __slots__ = (
        "device",
        "id",
        "options",
        "parent",
        "point",
        "propagation",
        "root",
        "source",
        "super_options",
        "type",
    )

    def __init__(self, line: bytes) -> None:
        fields, _, rest = line.partition(b" - ")
        words = fields.split(b" ")
        kind, source, *super_options = rest.split(b" ")
        self.id = int(words[0])
        self.parent = int(words[1])
        self.device = words[2].decode()
        self.root = unescape(words[3])
        self.point = unescape(words[4])
        self.options = words[5].decode().split(",")
        self.propagation = [word.decode() for word in words[6:]]
        self.type = unescape(kind)
        self.source = unescape(source)
        self.super_options = unescape(super_options[0]).split(",") if super_options else []

    def __repr__(self) -> str:
        return f"<Mount {self.type} {self.root} on {self.point}>"


def unescape(word: bytes) -> str:
    r"""A field as text: the kernel writes space, tab, newline, \ and # as \ooo, three octal digits."""
    if b"\\" not in word:
        return os.fsdecode(word)
    first, *rest = word.split(b"\\")
    for part in rest:
        first += bytes([int(part[:3], 8)]) + part[3:]
    return os.fsdecode(first)


def parse(text: bytes, containing: bytes = b"") -> Iterator[Mount]:
    """The mounts of a mountinfo file, in the kernel's order.

    Lines without `containing` are passed over unparsed: a machine with many containers has
    thousands of mounts.
    """
    for line in text.split(b"\n"):
        if line and containing in line:
            yield Mount(line)


def read(pid: int | str = "self") -> bytes:
    """The mountinfo file of a process, as it is. OSError when the process is gone."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return file.read()
