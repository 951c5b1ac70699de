"""Further processes that runtimes are compared on: the container, exec's flags, and perhaps a process file.

Of what the probe sees only what is the process's own is compared: the container is, by itself (cases.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from conformance import cases, host, views
from conformance.harness import succeeds
from conformance.registry import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from conformance.harness import Container, World

PROBE = "/bin/probe"
OF_THE_CONTAINER = ("mounts", "dev", "paths", "sysctl")
# Numbers that depend on how many processes a runtime starts on the way.
NUMBERED = ("pid", "pgid", "sid", "processes")


@dataclass
class Execution:
    """`flags` of exec, and what else a process file says, if there is one."""

    make: Callable[[World], Container]
    flags: tuple[str, ...] = ()
    file: dict[str, Any] = field(default_factory=dict)


EXECUTIONS: dict[str, Execution] = {
    "exec": Execution(cases.default),
    "exec flags": Execution(
        cases.default,
        (
            "--user",
            "1000:1001",
            "--cwd",
            "/tmp",
            "--env",
            "ADDED=a b",
            "--no-new-privs",
            "--cap",
            "CAP_NET_RAW",
        ),
    ),
    "exec of options": Execution(cases.options),
    "exec file": Execution(
        cases.options,
        file={
            "user": {"uid": 1002, "gid": 1003, "additionalGids": [7]},
            "env": ["PATH=/bin", "FROM=file"],
            "cwd": "/tmp",
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
            "capabilities": {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")},
        },
    ),
    "exec userns": Execution(cases.userns),
    "exec silent file": Execution(cases.default, file={"user": {"uid": 0, "gid": 0}, "cwd": "/"}),
}


def look(execution: Execution, world: World) -> dict[str, Any]:
    """What a further process sees of itself."""
    container = execution.make(world)
    container.run_probe("--no-report", "--hold")
    container.started()
    pid_file = container.directory / "exec.pid"
    words = ["exec", "--detach", "--pid-file", str(pid_file), *execution.flags]
    if execution.file:
        path = container.directory / "process.json"
        path.write_text(json.dumps({"args": [PROBE], **execution.file}))
        words += ["--process", str(path), container.id]
    else:
        words += [container.id, PROBE]
    succeeds(world.runtime.call(*words))
    container.output = output = world.runtime.last_output()
    check(host.until(lambda: output.read_text(errors="replace").endswith("}\n")), "the probe printed nothing")
    host.reap(int(pid_file.read_text()), 10.0)
    view = container.read_view()
    seen = views.normalise(view, world.runtime.namespaces())
    seen["own session"], seen["own group"] = view["sid"] == view["pid"], view["pgid"] == view["pid"]
    for descriptor in seen["descriptors"].values():
        descriptor["target"] = descriptor["target"].replace(str(world.runtime.null), "the caller's null")
    succeeds(container.kill("KILL"))
    container.wait()
    succeeds(container.delete())
    return {key: value for key, value in seen.items() if key not in (*OF_THE_CONTAINER, *NUMBERED)}
