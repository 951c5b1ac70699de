"""Updates that runtimes are compared on: resources of a container, changed by flags or by a file of some."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field

from conformance import limited
from conformance.limited import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from conformance.harness import Container, World
    from conformance.limited import Resources


@dataclass
class Update:
    """`before` is what the container is created with; then come flags, or a file (`--resources`)."""

    before: Resources
    flags: tuple[str, ...] = ()
    file: Resources = field(default_factory=dict)


MEMORY = {"memory": {"limit": 64 * MIB, "swap": 80 * MIB}}
QUOTA = {"cpu": {"quota": 50000, "period": 100000}}

UPDATES: dict[str, Update] = {
    "memory, up": Update(MEMORY, ("--memory", f"{128 * MIB}", "--memory-swap", f"{160 * MIB}")),
    "memory, down": Update(MEMORY, ("--memory", f"{32 * MIB}", "--memory-swap", f"{40 * MIB}")),
    "memory alone": Update({"memory": {"limit": 64 * MIB}}, ("--memory", f"{32 * MIB}")),
    "memory beyond what swap was": Update(MEMORY, ("--memory", f"{96 * MIB}")),
    "endless memory": Update(MEMORY, ("--memory", "-1", "--memory-swap", "-1")),
    "reservation": Update(MEMORY, ("--memory-reservation", f"{16 * MIB}")),
    "shares": Update({}, ("--cpu-share", "2048")),
    "quota": Update(QUOTA, ("--cpu-quota", "30000", "--cpu-period", "60000")),
    "quota alone": Update(QUOTA, ("--cpu-quota", "30000")),
    "period alone": Update(QUOTA, ("--cpu-period", "200000")),
    "quota that can't be": Update(QUOTA, ("--cpu-quota", "3", "--pids-limit", "30")),
    "cpuset": Update({}, ("--cpuset-cpus", "0", "--cpuset-mems", "0")),
    "pids": Update({"pids": {"limit": 20}}, ("--pids-limit", "30")),
    "weight": Update({}, ("--blkio-weight", "500")),
    "nothing, by file": Update({**MEMORY, **QUOTA}, file={"memory": {}}),
    "all, by file": Update(
        {**MEMORY, **QUOTA, "pids": {"limit": 20}},
        file={
            "memory": {"limit": 96 * MIB, "swap": 128 * MIB, "reservation": 48 * MIB},
            "cpu": {"shares": 256, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 40},
        },
    ),
    "unified, by file": Update(MEMORY, file={"unified": {"memory.high": str(48 * MIB)}}),
}
UNDER_SYSTEMD = ("memory, down", "quota alone", "all, by file", "unified, by file")


def look(update: Update, systemd: bool, world: World) -> dict[str, Any]:
    """Whether the update was taken, and the control files after it, be it that nothing is to have changed."""

    def change(container: Container, flags: tuple[str, ...]) -> dict[str, str]:
        words = list(update.flags)
        if update.file:
            path = container.directory / "resources.json"
            path.write_text(json.dumps(update.file))
            words += ["--resources", str(path)]
        done = world.runtime.call(*flags, "update", *words, container.id)
        return {"update": "taken" if done.ok else limited.REFUSED}

    return limited.look(update.before, systemd, world, change)


def _cases() -> dict[str, Callable[[World], dict[str, Any]]]:
    cases = {f"update: {name}": functools.partial(look, one, False) for name, one in UPDATES.items()}
    if limited.SYSTEMD:
        cases |= {
            f"systemd: update: {name}": functools.partial(look, UPDATES[name], True) for name in UNDER_SYSTEMD
        }
    return cases


UPDATED = _cases()
