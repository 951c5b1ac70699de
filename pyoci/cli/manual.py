"""The manual page, made from the table of commands: `pyoci help man` prints it for man(1)."""

from __future__ import annotations

from pyoci import VERSION
from pyoci.cli.commands import COMMANDS, GLOBAL_FLAGS
from pyoci.cli.help import EXAMPLES, flag_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.commands import Flag

_EXIT_STATUS = (
    ("0", "It was done."),
    ("1", "It failed; standard error says why, and the log if there is one."),
    ("3", "There is no such command."),
    ("255", "\\fBexec\\fR failed before its program ran."),
    ("other", "With \\fBrun\\fR and \\fBexec\\fR, the status of the program; 128 + N if signal N ended it."),
)

_FILES = (
    ("/run/pyoci", "The state of root's containers, unless \\-\\-root says otherwise."),
    ("$XDG_RUNTIME_DIR/pyoci", "The state of everybody else's."),
    ("config.json, rootfs/", "What a bundle consists of."),
)

_LOG = (
    "With \\fB\\-\\-log\\-format json\\fR a record is one JSON object a line, with "
    "\\fIlevel\\fR, \\fImsg\\fR and \\fItime\\fR. That of an error has a \\fIcode\\fR too "
    "(invalid\\-config, not\\-found, exists, wrong\\-state, permission, not\\-supported, kernel, "
    "hook, busy, timeout, usage, internal), and where they are known the \\fIpointer\\fR (JSON pointer) "
    "of the property in config.json, the kernel's \\fIerrno\\fR and a \\fIhint\\fR."
)

_SYNOPSIS = "\\fBpyoci\\fR [\\fIglobal flags\\fR] \\fICOMMAND\\fR [\\fIflags\\fR] [\\fIarguments\\fR]"


def page() -> str:
    """The page in the macros of man(7)."""
    return "".join(
        (
            f'.TH PYOCI 8 "" "pyoci {VERSION}"\n',
            ".SH NAME\npyoci \\- run containers from OCI bundles\n",
            f".SH SYNOPSIS\n{_SYNOPSIS}\n",
            ".SH DESCRIPTION\nA bundle is a directory with a config.json and a root filesystem. "
            "pyoci makes containers from them as the OCI runtime specification says, "
            "and takes the command line of runc.\n",
            ".SH GLOBAL FLAGS\n",
            *map(_flag, GLOBAL_FLAGS),
            ".SH COMMANDS\n",
            *map(_command, COMMANDS),
            ".SH EXIT STATUS\n",
            *(_item(f"\\fB{status}\\fR", text) for status, text in _EXIT_STATUS),
            f".SH LOG\n{_LOG}\n",
            ".SH FILES\n",
            *(_item(f"\\fI{_escaped(path)}\\fR", text) for path, text in _FILES),
            ".SH SEE ALSO\nhttps://github.com/opencontainers/runtime\\-spec\n",
        )
    )


def _command(name: str) -> str:
    summary, arguments, flags = COMMANDS[name]
    usage = f"\\fBpyoci {name}\\fR [\\fIflags\\fR] {_escaped(arguments)}".rstrip()
    example = f".PP\n.nf\n.RS\n{_escaped(EXAMPLES[name])}\n.RE\n.fi\n" if name in EXAMPLES else ""
    return (
        f".SS {usage}\n{_escaped(summary[0].upper() + summary[1:])}.\n{''.join(map(_flag, flags))}{example}"
    )


def _flag(flag: Flag) -> str:
    written, text = flag_row(flag)
    return _item(f"\\fB{_escaped(written.strip())}\\fR", _escaped(text[0].upper() + text[1:]) + ".")


def _item(term: str, text: str) -> str:
    return f".TP\n{term}\n{text}\n"


def _escaped(text: str) -> str:
    """Text in which roff sees nothing to do: hyphens to copy, and no line that begins with a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
