"""Which entries of linux.resources.unified are limits: its files act as soon as they are written to.

What they do is told by the kernel's cgroup-v2.rst. What isn't spoken of here is the kernel's to judge.
"""

from __future__ import annotations

from pyoci.bundle.document import quote

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_MOVES = "moves the process that it names, be it the host's first, into the container's cgroup"
_ACTS = {
    "cgroup.procs": (_MOVES, "pyoci exec, which starts a process there,"),
    "cgroup.threads": (_MOVES, "pyoci exec, which starts a process there,"),
    "cgroup.kill": ("kills every process of the container", "pyoci kill --all"),
    "cgroup.freeze": ("stops the container, its start included, or lets it go on", "pyoci pause or resume"),
    "cgroup.type": ("makes a cgroup of threads, where no container starts", "a cgroup made in the container"),
}
# Armed as long as the file is open; cgroup.pressure is another thing, a switch.
_PRESSURE = ("cpu.pressure", "memory.pressure", "io.pressure", "irq.pressure")


def objection(name: str, value: str) -> tuple[str, str]:
    """What is against writing such a value to such a file and what would do; empty if nothing is."""
    if not _NAME.issuperset(name) or "." not in name.strip("."):
        return "that is no name of a cgroup's file", "a file of the cgroup's like memory.high"
    if name in _ACTS:
        does, remedy = _ACTS[name]
        return f"it {does}", remedy
    if name in _PRESSURE:
        return "it asks for notices, which end when pyoci closes the file", "pyoci events"
    if not (value.isascii() and all(line.replace("\t", " ").isprintable() for line in value.split("\n"))):
        return f"{quote(value)} was found", "printable ASCII characters, in one line or several,"
    return "", ""
