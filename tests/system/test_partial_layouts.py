"""A machine with only some hierarchies mounted, or none: found from the mounts, and said where it matters."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from pyoci.cgroup import layout
from support.cgroups import membership
from support.containers import Bundle, Runtime
from support.mounts import own_mounts

pytestmark = pytest.mark.skipif(
    layout.detect().mode != "hybrid",
    reason=f"cgroups are {layout.detect().mode} here: no hierarchies to choose from",
)

Mounted = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def mounted() -> Mounted:
    @contextmanager
    def only(*controllers: str) -> Iterator[None]:
        """Within it, no hierarchy is mounted but those with these controllers; "" is cgroup2."""
        with own_mounts():
            for hierarchy in layout.detect().hierarchies:
                if not set(hierarchy.controllers) & set(controllers):
                    subprocess.run(["umount", hierarchy.mount], check=True)
            yield

    return only


def start(runtime: Runtime, bundle: Bundle) -> int:
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    pid: int = runtime.state("box")["pid"]
    return pid


def test_what_is_covered_is_not_used(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "300")
    here = layout.detect()
    with own_mounts():
        for mount in (here.v1["pids"], here.unified):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{mount}"], check=True)
        runtime.create(bundle, "box")
        pid = runtime.state("box")["pid"]
        groups = membership(pid)
        assert groups.keys() == {",".join(h.controllers) for h in here.hierarchies} - {"pids", ""}
        assert {path.rpartition("/")[2] for path in groups.values()} == {"box"}
        assert os.listdir(here.v1["pids"]) == os.listdir(f"{here.unified}") == []
        runtime.ok("delete", "--force", "box")
        bundle.config["linux"]["resources"] = {"pids": {"limit": 5}}
        done = runtime.call("create", "--bundle", str(bundle.save()), "box")
        assert done.returncode == 1
        assert "/linux/resources/pids/limit: no cgroup hierarchy with the pids controller" in done.stderr
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.dirname(here.v1["pids"])], check=True)
        done = runtime.call("create", "--bundle", str(bundle.save()), "box")
        assert done.returncode == 1 and "no cgroup hierarchy is mounted" in done.stderr


@pytest.mark.parametrize(
    "controllers",
    [("memory",), ("freezer", "pids"), ("cpu", "cpuacct"), ("name=systemd",), ("cpuset",), ("devices", "")],
    ids=lambda controllers: "+".join(name or "cgroup2" for name in controllers),
)
def test_what_is_mounted_is_used(
    runtime: Runtime, bundle: Bundle, mounted: Mounted, controllers: tuple[str, ...]
) -> None:
    with mounted(*controllers):
        pid = start(runtime, bundle)
        assert {path.rpartition("/")[2] for path in membership(pid).values()} == {"box"}
        assert len(membership(pid)) == len(controllers)
        assert runtime.ok("ps", "--format", "json", "box").split() == [f"[{pid}]"]
        runtime.ok("kill", "--all", "box", "KILL")
        runtime.ok("delete", "--force", "box")


@pytest.mark.parametrize(
    ("resources", "pointer"),
    [
        ({"memory": {"limit": 64 << 20}}, "/linux/resources/memory/limit"),
        ({"cpu": {"shares": 512}}, "/linux/resources/cpu/shares"),
        ({"pids": {"limit": 20}}, "/linux/resources/pids/limit"),
        ({"blockIO": {"weight": 500}}, "/linux/resources/blockIO/weight"),
        ({"unified": {"memory.max": "1048576"}}, "/linux/resources/unified"),
    ],
)
def test_a_limit_without_its_controller_is_refused_by_name(
    runtime: Runtime, bundle: Bundle, mounted: Mounted, resources: dict[str, object], pointer: str
) -> None:
    bundle.config["linux"]["resources"] = resources
    with mounted("freezer"):
        done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1 and pointer in done.stderr, done.stderr
    assert "mounted" in done.stderr or "there is no cgroup v2" in done.stderr


def test_device_rules_without_a_hierarchy_for_them(
    runtime: Runtime, bundle: Bundle, mounted: Mounted
) -> None:
    bundle.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    with mounted("freezer"):
        done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1 and "/linux/resources/devices" in done.stderr
    assert "no cgroup hierarchy that could enforce device rules is mounted" in done.stderr


def test_pause_without_a_freezer(runtime: Runtime, bundle: Bundle, mounted: Mounted) -> None:
    with mounted("memory"):
        start(runtime, bundle)
        done = runtime.call("pause", "box")
        assert done.returncode == 1 and "there is no cgroup freezer here" in done.stderr
        runtime.ok("delete", "--force", "box")


def test_none_at_all(runtime: Runtime, bundle: Bundle, mounted: Mounted) -> None:
    with mounted():
        assert layout.detect().mode == "none"
        done = runtime.call("run", "--bundle", str(bundle.args("true").save()), "box")
        assert done.returncode == 1 and "no cgroup hierarchy is mounted" in done.stderr
        runtime.ok("--cgroup-manager", "disabled", "run", "--bundle", str(bundle.path), "box")
