"""`pyoci`: from the words of a command line to an exit status.

Statuses are runc's: 1 for our failures, 255 for those of exec, 3 for an unknown command, otherwise
what the command returns (the container's own for run and exec).
"""

from __future__ import annotations

import os
import sys

from pyoci.cli.arguments import parse, usage
from pyoci.cli.commands import COMMANDS, GLOBAL_ARGUMENTS, GLOBAL_FLAGS
from pyoci.cli.log import Log
from pyoci.cli.output import ReaderGone
from pyoci.errors import Error
from pyoci.host.privileges import is_host_root
from pyoci.lifecycle.settings import Settings, default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cli.arguments import Given

# 128 + the signal: what a shell shows of a program that SIGINT or SIGPIPE ended.
_INTERRUPTED, _NO_READER = 130, 141


def main(argv: list[str]) -> int:
    """Run one command. `argv` is without the program's name; the exit status is returned."""
    log = Log()
    status = 1
    debug = False
    try:
        options = parse(argv, GLOBAL_FLAGS, GLOBAL_ARGUMENTS)
        debug = options.switches["debug"]
        level = "debug" if debug else options.texts["log-level"]
        log = Log(options.texts["log"], options.texts["log-format"], level)
        words = options.arguments
        if options.switches["version"] or options.switches["help"] or not words or words[0] in ("help", "h"):
            return _about(options)
        log.check()
        name = words[0]
        arguments, flags = _known(name)
        log.command = name
        given = parse(words[1:], flags, arguments, name)
        if given.switches["help"]:
            return _about(options)
        settings = _settings(options, log)
        command: Any = __import__(f"pyoci.cli.{name}", fromlist=("main",))
        status = 255 if name == "exec" else 1
        return int(command.main(settings, given))
    except Error as failure:
        log.error(failure)
        return failure.status if failure.status != 1 else status
    except ReaderGone:
        return _NO_READER
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as problem:
        log.error(_internal(problem, debug))
        return status


def _known(name: str) -> tuple[str, Any]:
    if name in COMMANDS:
        return COMMANDS[name][1:]
    from pyoci.cli.suggestions import unknown_command

    raise unknown_command(name)


def _about(options: Given) -> int:
    from pyoci.cli.help import about

    return about(options)


def _settings(options: Given, log: Log) -> Settings:
    """What the global flags say, with runc's rules for what they don't."""
    manager = options.texts["cgroup-manager"]
    if options.switches["systemd-cgroup"]:
        if "cgroup-manager" in options.named and manager != "systemd":
            raise usage(f"--systemd-cgroup and --cgroup-manager {manager} exclude each other")
        manager = "systemd"
    rootless = options.texts["rootless"]
    return Settings(
        os.path.abspath(options.texts["root"] or default_root()),
        manager,
        rootless == "true" or (rootless == "auto" and not is_host_root()),
        log.warn,
        log.debug,
    )


def _internal(problem: Exception, debug: bool) -> Error:
    """A fault of pyoci's own, as an error that says where to look."""
    text = f"internal error: {type(problem).__name__}: {problem}"
    if not debug:
        return Error(text, code="internal", hint="--debug before the command shows where it happened")
    from traceback import format_exception

    return Error(f"{text}\n{''.join(format_exception(problem)).rstrip()}", code="internal")


if __name__ == "__main__":
    # Without finalizing the interpreter: there is nothing in it that the kernel doesn't take back.
    os._exit(main(sys.argv[1:]))
