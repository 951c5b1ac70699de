"""`pyoci exec`."""

from __future__ import annotations

from pyoci.cli.arguments import number, usage
from pyoci.lifecycle.exec import execute
from pyoci.lifecycle.options import ExecOptions, count_preserved, passed_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings

# -1 as an unsigned number means "leave it as it is" to setuid(2) and chown(2).
_LARGEST_ID = 2**32 - 2

# What a process file says itself. The labels may be given beside it.
_IN_PROCESS_FILE = ("additional-gids", "cap", "cwd", "env", "no-new-privs", "user")


def main(settings: Settings, given: Given) -> int:
    """Execute the program; its exit status when it isn't detached."""
    return execute(settings, given.arguments[0], options(given))


def options(given: Given) -> ExecOptions:
    """What the flags ask for. Error `usage` for values that can't be meant."""
    texts, switches = given.texts, given.switches
    args = given.arguments[1:]
    if "process" in given.named:
        _check_alone(given, args)
    elif not args:
        raise usage("process args cannot be empty", "name a command after the id, or give --process FILE")
    if texts["cwd"] and not texts["cwd"].startswith("/"):
        raise usage(f"--cwd {texts['cwd']!r} isn't an absolute path")
    sockets = passed_sockets()
    return ExecOptions(
        args=args,
        process_file=texts["process"],
        tty=switches["tty"],
        user=user(texts["user"]) if "user" in given.named else None,
        additional_gids=[_id(gid, "--additional-gids") for gid in given.lists["additional-gids"]],
        env=[_variable(text) for text in given.lists["env"]],
        cwd=texts["cwd"],
        detach=switches["detach"],
        pid_file=texts["pid-file"],
        console_socket=texts["console-socket"],
        pidfd_socket=texts["pidfd-socket"],
        caps=given.lists["cap"],
        no_new_privs=switches["no-new-privs"],
        preserve_fds=count_preserved(given.numbers["preserve-fds"], sockets),
        listening=sockets,
        ignore_paused=switches["ignore-paused"],
        process_label=texts["process-label"],
        apparmor=texts["apparmor"],
        cgroup=cgroups(given.lists["cgroup"]),
    )


def _check_alone(given: Given, args: list[str]) -> None:
    """With a process file, flags that say something about the process would have no effect."""
    if not given.texts["process"]:
        raise usage("--process needs the path of a file")
    if args:
        raise usage("a command and --process FILE exclude each other", "the file holds the command")
    for name in _IN_PROCESS_FILE:
        if name in given.named:
            raise usage(f"--{name} and --process exclude each other", "the file says it")


def user(text: str) -> tuple[int, int | None]:
    """`UID` or `UID:GID`, as numbers: names would be looked up in files that the container controls."""
    uid, colon, gid = text.partition(":")
    return _id(uid, f"the user in --user {text}"), _id(gid, f"the group in --user {text}") if colon else None


def _id(text: str, what: str) -> int:
    return number(text, 0, _LARGEST_ID, what)


def _variable(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name or not equals:
        raise usage(f"invalid environment variable {text!r}", "it is NAME=VALUE")
    return text


def cgroups(given: list[str]) -> dict[str, str]:
    """`PATH` for every controller (key ""), or `CONTROLLER[,CONTROLLER]:PATH`; each controller once."""
    chosen: dict[str, str] = {}
    for text in given:
        controllers, colon, path = text.partition(":")
        if not colon:
            controllers, path = "", text
        for controller in controllers.split(","):
            if controller in chosen or not path or (colon and not controller):
                hint = "it is PATH or CONTROLLER:PATH, each controller once"
                raise usage(f"invalid value {text!r} for --cgroup", hint)
            chosen[controller] = path
    return chosen
