"""`--help`, `help` and `--version`, made from the table of commands."""

from __future__ import annotations

import sys

from pyoci import SPEC_VERSION, VERSION
from pyoci.cli.commands import COMMANDS, GLOBAL_FLAGS, HELP, LIST, NUMBER, SWITCH
from pyoci.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.cli.commands import Flag

EXAMPLES = {
    "exec": "pyoci exec -t -e TERM=linux web sh -c 'ps; id'",
    "kill": "pyoci kill web KILL",
    "list": "pyoci --root /run/user/1000/pyoci list --format json",
    "mounts": "pyoci mounts add web more-mounts.json",
    "ps": "pyoci ps web -o pid,args",
    "run": "pyoci run --bundle /srv/web web",
    "update": "pyoci update --memory 512M --cpu-quota 50000 web",
    "explain": "pyoci explain --bundle /srv/web",
}


def about(options: Given) -> int:
    """Print the version, or help on pyoci or on the command that is named. Error 3 for an unknown one."""
    if options.switches["version"]:
        write(version())
        return 0
    words = [word for word in options.arguments if word not in ("help", "h") and not word.startswith("-")]
    write(_topic(words[0]) if words else general_help())
    return 0


def _topic(name: str) -> str:
    if name == "man":
        from pyoci.cli.manual import page

        return page()
    if name == "bash":
        from pyoci.cli.completion import bash

        return bash()
    return command_help(name)


def version() -> str:
    """The lines that podman and Docker parse."""
    lines = [
        f"pyoci version {VERSION}",
        f"spec: {SPEC_VERSION}",
        f"python: {sys.version.split()[0]}",
        f"libseccomp: {_libseccomp()}",
    ]
    commit = _commit()
    if commit:
        lines.insert(1, f"commit: {commit}")
    return "\n".join(lines) + "\n"


def _libseccomp() -> str:
    from pyoci.errors import Error

    try:
        from pyoci.host.libseccomp import Library
        from pyoci.host.seccomp import find_library

        return Library(find_library()[0]).version()
    except (Error, ImportError):
        return "not found"


def _commit() -> str:
    """The commit this was built from; the build writes the module when it knows."""
    try:
        return str(__import__("pyoci._commit", fromlist=("COMMIT",)).COMMIT)
    except ImportError:
        return ""


def general_help() -> str:
    """What `pyoci --help` prints."""
    commands = [(name, summary) for name, (summary, _, _) in COMMANDS.items()]
    return (
        "pyoci runs containers from OCI bundles: a directory with a config.json and a root filesystem.\n\n"
        "Usage:\n  pyoci [global flags] COMMAND [flags] [arguments]\n\n"
        f"Commands:\n{_columns(commands)}\n"
        f"Global flags:\n{_columns([flag_row(flag) for flag in GLOBAL_FLAGS])}\n"
        "`pyoci COMMAND --help` tells more of a command. `pyoci help man` prints the manual page\n"
        "for man(1), `pyoci help bash` a script that completes command lines in bash.\n"
    )


def command_help(name: str) -> str:
    """What `pyoci COMMAND --help` prints."""
    if name not in COMMANDS:
        from pyoci.cli.suggestions import unknown_command

        raise unknown_command(name)
    summary, arguments, flags = COMMANDS[name]
    usage = f"pyoci {name} [flags] {arguments}".rstrip()
    example = f"Example:\n  {EXAMPLES[name]}\n\n" if name in EXAMPLES else ""
    return (
        f"{summary[0].upper()}{summary[1:]}.\n\nUsage:\n  {usage}\n\n{example}"
        f"Flags:\n{_columns([flag_row(flag) for flag in (*flags, HELP)])}"
    )


def flag_row(flag: Flag) -> tuple[str, str]:
    """A flag as it is written, and what it does."""
    name, letter, kind, called, default, text = flag
    written = f"-{letter}, --{name}" if letter else f"    --{name}"
    if kind != SWITCH:
        written += f" {called}"
    if kind == LIST:
        text += " (may be repeated)"
    elif default and not (kind == NUMBER and default == "0"):
        text += f" (default: {default})"
    return written, text


def _columns(rows: list[tuple[str, str]]) -> str:
    width = max(len(first) for first, _ in rows)
    return "".join(f"  {first.ljust(width)}  {second}\n" for first, second in rows)
