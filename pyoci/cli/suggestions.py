"""What was perhaps meant: hints for flags and commands that don't exist."""

from __future__ import annotations

from difflib import get_close_matches

from pyoci.cli.commands import COMMANDS, GLOBAL_FLAGS, SWITCH
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.cli.commands import Flag

_LATER = "this version doesn't have it yet"
_OTHER_RUNTIMES = ("checkpoint", "events", "restore", "mounts")


def unknown_flag(word: str, known: list[Flag], command: str) -> Error:
    """The error for a flag that the command hasn't got, with what was perhaps meant."""
    shown, _, _ = word.partition("=")
    return Error(
        f"flag provided but not defined: {shown}", code="usage", hint=_flag_hint(shown, known, command)
    )


def _flag_hint(word: str, known: list[Flag], command: str) -> str:
    name = word.lstrip("-")
    if command and any(name in flag[:2] for flag in GLOBAL_FLAGS):
        return f"{word} is a global flag: write it before {command}"
    if not word.startswith("--"):
        for flag in known:
            if flag[1] == name[:1] and flag[2] != SWITCH:
                return f"leave a blank between -{flag[1]} and its value"
    near = _nearest(name, {flag[0] for flag in known})
    if near:
        return f"did you mean --{near}?"
    return f"`pyoci {command} --help` lists the flags" if command else "`pyoci --help` lists the flags"


def unknown_command(name: str) -> Error:
    """The error for a command that doesn't exist. Exit status 3, as runc's."""
    if name in _OTHER_RUNTIMES:
        hint = _LATER
    else:
        near = _nearest(name, COMMANDS)
        hint = f"did you mean {near}?" if near else "`pyoci --help` lists the commands"
    return Error(f"unknown command {name!r}", code="usage", hint=hint, status=3)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1)
    return near[0] if near else ""
