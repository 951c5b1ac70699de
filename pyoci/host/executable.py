"""What a program needs to be run: the header of an ELF file, the #! line of a script (elf(5), execve(2))."""

from __future__ import annotations

import os
from struct import error as StructError
from struct import unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = 256  # BINPRM_BUF_SIZE: how much of a file the kernel looks at

# e_machine, linux/elf-em.h
MACHINES = {
    2: "sparc", 3: "x86 (32 bits)", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm (32 bits)",
    43: "sparc64", 62: "x86_64", 183: "aarch64", 243: "riscv", 258: "loongarch",
}  # fmt: skip
# uname(2)'s machine, also as a process of 32 bits sees it (personality(2)) -> what its kernel can run, the
# last one only where it was built for it
_RUNS = {"x86_64": (62, 3), "i686": (62, 3), "aarch64": (183, 40), "armv8l": (183, 40)}

_PT_INTERP = 3
_MOST_HEADERS = 512
_LONGEST_PATH = 4096


class Elf:
    """machine: e_machine; native: this machine's own; foreign: nothing here runs it;
    interpreter: the path in PT_INTERP, or b"" for a static program."""

    __slots__ = ("foreign", "interpreter", "machine", "native")

    def __init__(self, machine: int, interpreter: bytes) -> None:
        runs = _RUNS[os.uname().machine]
        self.machine = machine
        self.native = machine == runs[0]
        self.foreign = machine not in runs
        self.interpreter = interpreter

    def name(self) -> str:
        """The machine as people call it."""
        return MACHINES.get(self.machine, f"machine {self.machine}")


def parse_elf(head: bytes, read: Callable[[int, int], bytes]) -> Elf | None:
    """An ELF file, of which `read` gives (length, offset), or None when it is damaged or something else."""
    if head[:4] != b"\x7fELF" or len(head) < 20 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, wide = "<>"[head[5] - 1], head[4] == 2
    try:
        (machine,) = unpack_from(order + "H", head, 18)
        table, size, count = (
            (*unpack_from(order + "Q", head, 32), *unpack_from(order + "HH", head, 54))
            if wide
            else (*unpack_from(order + "I", head, 28), *unpack_from(order + "HH", head, 42))
        )
        interpreter = b""
        for index in range(min(count, _MOST_HEADERS)):
            header = read(size, table + index * size)
            if unpack_from(order + "I", header)[0] == _PT_INTERP:
                offset, length = (
                    (unpack_from(order + "Q", header, 8)[0], unpack_from(order + "Q", header, 32)[0])
                    if wide
                    else (unpack_from(order + "I", header, 4)[0], unpack_from(order + "I", header, 16)[0])
                )
                interpreter = read(min(length, _LONGEST_PATH), offset).partition(b"\0")[0]
                break
    except (StructError, OSError, OverflowError):
        return None
    return Elf(machine, interpreter)


def script_interpreter(head: bytes) -> bytes | None:
    """The program that a script's first line names, b"" if it names none; None for other files."""
    if head[:2] != b"#!":
        return None
    words = head[2:].partition(b"\n")[0].strip(b" \t").replace(b"\t", b" ").partition(b" ")
    return words[0].partition(b"\0")[0]
