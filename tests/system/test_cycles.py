"""Containers that leave daemons, cgroups of their own and frozen processes behind, over and over: nothing is
left of them, however often."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support import cgroups
from support.containers import Bundle, Runtime, reap_orphans
from support.leftovers import adopt_orphans
from support.systemd import NOT_HERE, SYSTEMD, WithSystemd, scopes

pytestmark = pytest.mark.layout

# The machine of the tests itself, and any other layout: an emulated one is some twenty times slower.
OFTEN, SELDOM = 1000, 52
EMULATED = SYSTEMD or layout.detect().mode != "hybrid"

# Hierarchies that take processes without being told CPUs first; in v2 alone there is one, here.
PLACES = "for place in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/freezer /sys/fs/cgroup/pids; do"
NESTED = f"""{PLACES}
    test -e $place/cgroup.procs || continue
    busybox mkdir -p $place/nested/deeper
    sleep 300 & echo $! > $place/nested/deeper/cgroup.procs
done
"""
FROZEN = (
    NESTED
    + """cd /sys/fs/cgroup
for file in nested/deeper/cgroup.freeze unified/nested/cgroup.freeze; do
    test -e $file && echo 1 > $file
done
for file in freezer/nested/deeper/freezer.state freezer/nested/freezer.state; do
    test -e $file && echo FROZEN > $file
done
"""
)
READY = "echo > /tmp/ready; exec sleep 300"


def daemon(runtime: Runtime, bundle: Bundle) -> None:
    """Its program ends, a daemon in a session of its own goes on, in the host's pid namespace."""
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "pid"]
    bundle.shell("busybox setsid sleep 300 & exit 3")
    assert runtime.call("run", "--bundle", str(bundle.save()), bundle.path.name).returncode == 3
    bundle.config["linux"]["namespaces"] = namespaces


def nested(runtime: Runtime, bundle: Bundle) -> None:
    """Its program ends, processes in cgroups that it made are killed with it."""
    bundle.shell(NESTED + "exit 4")
    assert runtime.call("run", "--bundle", str(bundle.save()), bundle.path.name).returncode == 4


def frozen(runtime: Runtime, bundle: Bundle) -> None:
    """Deleted while it runs and has frozen some of its own processes."""
    _until_ready(runtime, bundle, FROZEN + READY)
    runtime.ok("delete", "--force", bundle.path.name)


def paused(runtime: Runtime, bundle: Bundle) -> None:
    """Deleted while it is paused as a whole, and some of its processes by itself besides."""
    _until_ready(runtime, bundle, FROZEN + READY)
    runtime.ok("pause", bundle.path.name)
    runtime.ok("delete", "--force", bundle.path.name)


def killed(runtime: Runtime, bundle: Bundle) -> None:
    """Told to die while it has frozen some of its own processes, and deleted once it has."""
    _until_ready(runtime, bundle, FROZEN + READY)
    runtime.ok("kill", bundle.path.name, "KILL")
    _until(lambda: runtime.state(bundle.path.name)["status"] == "stopped")
    runtime.ok("delete", bundle.path.name)


def _until_ready(runtime: Runtime, bundle: Bundle, script: str) -> None:
    ready = bundle.rootfs / "tmp/ready"
    ready.unlink(missing_ok=True)
    bundle.shell(script)
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), bundle.path.name)
    _until(ready.exists)


def _until(condition: Callable[[], object]) -> None:
    def reaped() -> object:
        reap_orphans(set())
        return condition()

    cgroups.eventually(reaped)


@pytest.fixture
def delegating(tmp_path: Path) -> list[Bundle]:
    """Bundles named as their containers."""
    bundles = [Bundle(tmp_path / name) for name in ("one", "other")]
    for bundle in bundles:
        bundle.config["mounts"].append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev"],
            }
        )
    return bundles


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", cgroups.layouts())
def test_nothing_is_left_however_often(delegating: list[Bundle], runtime: Runtime, mode: str) -> None:
    with cgroups.in_mode(mode):
        cycle(runtime, delegating, SELDOM if EMULATED or mode != "hybrid" else OFTEN)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not SYSTEMD, reason=NOT_HERE)
def test_nothing_is_left_to_systemd(delegating: list[Bundle], runtime: Runtime) -> None:
    for bundle in delegating:
        bundle.config["linux"]["cgroupsPath"] = f"system.slice:cycles:{bundle.path.name}"
    before = scopes()
    cycle(WithSystemd(runtime.root), delegating, SELDOM)
    assert scopes() == before


def cycle(runtime: Runtime, bundles: list[Bundle], times: int) -> None:
    """Make and delete containers of every kind, so many in all and two at once, each of a process of its own:
    it adopts what its containers leave."""
    groups = _groups()
    with ProcessPoolExecutor(len(bundles), get_context("fork"), adopt_orphans) as pool:
        for done in [pool.submit(lives, runtime, bundle, times // len(bundles)) for bundle in bundles]:
            done.result()
    assert _groups() == groups
    assert runtime.ok("list", "-q") == ""


def lives(runtime: Runtime, bundle: Bundle, times: int) -> None:
    """One after the other."""
    kinds = itertools.cycle((daemon, nested, frozen, paused, killed, daemon, nested))
    for kind, _ in zip(kinds, range(times), strict=False):
        kind(runtime, bundle)
        reap_orphans(set())


def _groups() -> int:
    """How many cgroups there are in the hierarchies that are mounted."""
    mounts = {hierarchy.mount for hierarchy in layout.detect().hierarchies}
    return sum(1 for mount in mounts for _ in os.walk(Path(mount)))
