"""How engines call a runtime: their command lines and what comes along, as recorded by support.recorder.

Recorded with Debian 12's podman 4.3, buildah 1.28, containerd 1.6, Docker 20.10 and its BuildKit. What is in
brackets comes only if its value in braces does.
"""

from __future__ import annotations

import re

_SHIM = "--root {root} --log {log} --log-format json"
_CONMON = "[--log-format=json --log {log}] [--cgroup-manager {manager}]"

CALLS: dict[str, dict[str, str]] = {
    # Through conmon. Without --root: the state is in the runtime's own directory. The log's flags come only
    # for runtimes that runtime_supports_json names in containers.conf, the manager for those of
    # runtime_supports_nocgroup.
    "podman": {
        "create": f"{_CONMON} create --bundle {{bundle}} --pid-file {{pid_file}}"
        " [--console-socket {socket}] [--preserve-fds {count}] {id}",
        "exec": f"{_CONMON} exec --pid-file {{pid_file}} --process {{process}} --detach"
        " [--tty --console-socket {socket}] [--preserve-fds {count}] {id}",
        "start": "start {id}",
        "kill": "kill {id} {signal}",
        "kill all": "kill --all {id} 9",
        "pause": "pause {id}",
        "resume": "resume {id}",
        "update": "update --resources={resources} {id}",
        "delete": "delete --force {id}",
        "version": "--version",
    },
    # Also `podman build`. The state is polled until it says stopped.
    "buildah": {
        "create": "[--log={log}] create --bundle {bundle} --pid-file {pid_file} [--console-socket {socket}]"
        " [--no-new-keyring{rootless}] [--no-pivot{ramdisk}] {id}",
        "start": "start {id}",
        "state": "state {id}",
        "kill": "kill {id} {signal}",
        "delete": "delete {id}",
    },
    # containerd's shim: ctr, Docker and Kubernetes alike. A second `delete --force` comes when all is gone.
    "containerd": {
        "create": f"{_SHIM} create --bundle {{bundle}} --pid-file {{pid_file}}"
        " [--console-socket {socket}] {id}",
        "exec": f"{_SHIM} exec --process {{process}} [--console-socket {{socket}}]"
        " --detach --pid-file {pid_file} {id}",
        "start": f"{_SHIM} start {{id}}",
        "kill": f"{_SHIM} kill {{id}} {{signal}}",
        "kill all": f"{_SHIM} kill --all {{id}} 9",
        "pause": f"{_SHIM} pause {{id}}",
        "resume": f"{_SHIM} resume {{id}}",
        "ps": f"{_SHIM} ps --format json {{id}}",
        "update": f"{_SHIM} update --resources - {{id}}",
        "delete": f"{_SHIM} delete {{id}}",
        "delete again": f"{_SHIM} delete --force {{id}}",
        "checkpoint": f"{_SHIM} checkpoint --image-path {{image}} --work-path {{work}}"
        " [--leave-running{running}] {id}",
        "version": "--version",
    },
    # It looks for runc in PATH.
    "buildkit": {"run": "--log {log} --log-format json run --bundle {bundle} {id}"},
}

# All that is in the environment. buildah, the shim and BuildKit hand on their own.
_CONMONS = {
    "PATH",
    "HOME",
    "XDG_RUNTIME_DIR",
    "_CONTAINERS_USERNS_CONFIGURED",
    "_CONTAINERS_ROOTLESS_UID",
    "_OCI_SYNCPIPE",
    "_OCI_STARTPIPE",
}
PODMANS_VARIABLES: dict[str, set[str]] = {
    "create": _CONMONS,
    "exec": {*_CONMONS, "_OCI_ATTACHPIPE"},
    "start": {"XDG_RUNTIME_DIR", "PATH"},
    "update": {"XDG_RUNTIME_DIR", "PATH"},
    **{name: {"XDG_RUNTIME_DIR"} for name in ("kill", "kill all", "pause", "resume", "delete")},
}

# Descriptors beyond 2 that a runtime inherits and nobody has given to it: they mustn't reach the container.
STRAYS: dict[tuple[str, str], list[int]] = {
    ("buildah", "create"): [3, 4, 8, 9, 11, 12, 13, 14, 15],  # the ends of pipes, also the container's own
    ("buildah", "start"): [3, 4, 8, 11, 12, 14],
    ("containerd", "create"): [3],  # a socket, most times: the shim opens it while it starts the runtime
    ("containerd", "start"): [3],
}


def words(engine: str, name: str, **values: object) -> list[str]:
    """A call's words with these values. A switch in brackets has a value that is written as nothing."""

    def optional(part: re.Match[str]) -> str:
        return part[1] if set(re.findall(r"{(\w+)}", part[1])) <= set(values) else ""

    return re.sub(r"\[(.*?)\]", optional, CALLS[engine][name]).format(**values).split()


def _pattern(text: str) -> str:
    """The regular expression of what a call may look like."""
    text = re.sub(r"(\S){(?:rootless|ramdisk|running)}", r"\1", text)
    parts = re.split(r"(\[.*?\] ?)", text)
    spelled = (
        f"(?:{_values(part.strip()[1:-1])} )?" if part.startswith("[") else _values(part) for part in parts
    )
    return "".join(spelled)


def _values(text: str) -> str:
    return re.sub(r"\\{\w+\\}", r"\\S+", re.escape(text))


def known(engine: str, called: list[str]) -> str | None:
    """The name of the call that these words are, if it is known."""
    for name, text in CALLS[engine].items():
        if re.fullmatch(_pattern(text), " ".join(called)):
            return name
    return None
