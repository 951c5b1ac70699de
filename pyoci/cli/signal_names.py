"""Signals by name and number, signal(7). The numbers are those of x86-64 and arm64."""

from __future__ import annotations

from pyoci.errors import Error

# fmt: off
_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
)
# fmt: on
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29}

# The C library keeps the kernel's first two real-time signals for itself.
_RTMIN, _RTMAX = 34, 64


def number(name: str) -> int:
    """The number of a signal: `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.

    0 is none: it only asks whether the process is there. Error `usage` for what is no signal.
    """
    if name.isascii() and name.isdecimal():
        value = int(name) if len(name) <= 4 else -1
        if 0 <= value <= _RTMAX:
            return value
    else:
        short = name.upper().removeprefix("SIG")
        if short in _NAMES:
            return _NAMES.index(short) + 1
        if short in _ALIASES:
            return _ALIASES[short]
        value = _real_time(short)
        if value:
            return value
    raise Error(
        f"unknown signal {name!r}",
        code="usage",
        hint="it is a name such as TERM, SIGKILL or RTMIN+3, or a number from 0 to 64",
    )


def _real_time(name: str) -> int:
    """RTMIN, RTMIN+N, RTMAX, RTMAX-N as numbers; 0 for anything else."""
    base, sign, offset = (_RTMIN, "+", name[5:]) if name.startswith("RTMIN") else (_RTMAX, "-", name[5:])
    if name[:5] not in ("RTMIN", "RTMAX"):
        return 0
    if not offset:
        return base
    if offset[0] != sign or not offset[1:].isdecimal() or not offset.isascii() or len(offset) > 3:
        return 0
    value = base + int(offset[1:]) if sign == "+" else base - int(offset[1:])
    return value if _RTMIN <= value <= _RTMAX else 0
