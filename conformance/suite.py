"""The suite as a whole: its subjects in order, and a runtime held to them."""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path

from conformance import bundle, filesystem, hooks, lifecycle, linux, probe, process, registry, resources
from conformance.harness import World
from conformance.runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECTS = (lifecycle, hooks, process, filesystem, linux, resources)


def requirements(only: list[str]) -> list[registry.Requirement]:
    """The requirements, subject by subject, or those whose name contains one of `only`."""
    order = [subject.__name__ for subject in SUBJECTS]
    chosen = [r for r in registry.registered() if not only or any(part in r.name for part in only)]
    return sorted(chosen, key=lambda r: order.index(r.test.__module__))


class Suite:
    """What all the requirements share: the probe, the template of root filesystems, a name for everything."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.template = scratch / "rootfs"
        bundle.make_rootfs(self.template, probe.build())
        self._token = f"cf{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)

    def world(self, runtime: Runtime) -> World:
        number = next(self._numbers)
        return World(runtime, self.template, self.scratch / str(number), f"{self._token}-{number}")

    def hold(self, runtime: Runtime, only: list[str]) -> Iterator[registry.Outcome]:
        """Try each requirement with `runtime`."""
        for one in requirements(only):
            yield registry.judge(one, self.world(runtime))
