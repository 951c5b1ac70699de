"""A container whose resources are changed while it sleeps, and what its cgroups then have."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from pyoci.cgroup import layout, manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from support.cgroups import value
from support.containers import Bundle, Runtime

ON_V2 = layout.detect().mode == "v2"

# The device that is tried, which every machine has and no container gets by itself.
DENY = {"allow": False, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11}
OPEN = ": > /dev/kmsg"  # needs no capability, and writes nothing

NO_DISK = {"major": 511, "minor": 1}
"""A device that no limit can be for: what asks for one is refused, after all else."""


class Box:
    """A container that sleeps, and its cgroups."""

    def __init__(self, runtime: Runtime, bundle: Bundle, group: Manager) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.group = group

    def update(self, *flags: str, **options: Any) -> None:
        self.runtime.ok("update", *flags, "box", **options)

    def resources(self, wanted: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.runtime.call("update", "-r", "-", "box", input=json.dumps(wanted))

    def apply(self, wanted: dict[str, Any]) -> None:
        done = self.resources(wanted)
        assert (done.returncode, done.stderr) == (0, "")

    def refused(self, wanted: dict[str, Any]) -> str:
        done = self.resources(wanted)
        assert done.returncode == 1
        return done.stderr

    def value(self, v1: str, v2: str) -> str:
        """What is in the file that the container's cgroup has of these two."""
        file = v2 if ON_V2 else v1
        return value(self.group, "" if ON_V2 else file.partition(".")[0], file)

    def limits(self) -> dict[str, str]:
        return {name: self.value(*files) for name, files in FILES.items() if files[ON_V2]}

    def saved(self) -> dict[str, Any]:
        config = json.loads((self.runtime.root / "box/config.json").read_text())
        resources: dict[str, Any] = config["linux"].get("resources", {})
        return resources

    def can(self, script: str) -> bool:
        return self.runtime.call("exec", "box", "sh", "-c", script).returncode == 0


FILES = {
    "limit": ("memory.limit_in_bytes", "memory.max"),
    "swap": ("memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory.soft_limit_in_bytes", "memory.low"),
    "shares": ("cpu.shares", "cpu.weight"),
    "quota": ("cpu.cfs_quota_us", "cpu.max"),
    "period": ("cpu.cfs_period_us", ""),
    "burst": ("cpu.cfs_burst_us", "cpu.max.burst"),
    "idle": ("cpu.idle", "cpu.idle"),
    "cpus": ("cpuset.cpus", "cpuset.cpus.effective"),
    "mems": ("cpuset.mems", "cpuset.mems.effective"),
    "pids": ("pids.max", "pids.max"),
}


@contextlib.contextmanager
def running(
    runtime: Runtime, bundle: Bundle, here: Layout, verb: str = "run", below: str = ""
) -> Iterator[Box]:
    name = f"/pyoci-test-{os.getpid()}{below}"
    bundle.config["linux"]["cgroupsPath"] = name
    saved = str(bundle.args("sleep", "1000").save())
    runtime.detached(verb, *(["--detach"] if verb == "run" else []), "--bundle", saved, "box")
    try:
        yield Box(runtime, bundle, manager.new(here, name, "unused"))
    finally:
        runtime.call("delete", "--force", "box")
