"""Paused containers, and such as freeze some of their own processes: what goes on, ends, is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from pyoci.cgroup.layout import Layout
from support import cgroups
from support.cgroups import eventually
from support.containers import Bundle, Runtime, reap_orphans

pytestmark = pytest.mark.layout

# The container's own cgroup of the freezer's hierarchy, as it sees it, and a process frozen below it.
SCRIPT = """
busybox mkdir $FREEZER/below
sleep 300 & echo $! > $FREEZER/below/cgroup.procs
echo $FROZEN > $FREEZER/below/$FILE
: > /tmp/ready
exec sleep 300
"""


# To freeze, the file to write it to, to thaw.
UNIFIED = ("1", "cgroup.freeze", "0")
FREEZER = ("FROZEN", "freezer.state", "THAWED")


@pytest.fixture(params=cgroups.layouts())
def box(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[Box]:
    """A running container that has frozen one of its processes."""
    with cgroups.in_mode(request.param):
        yield Box(runtime, bundle)
        runtime.ok("delete", "--force", "box")


class Box:
    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        alone = layout.detect().mode == "v2"
        frozen, self.file, _ = UNIFIED if alone else FREEZER
        inside, self.controller = ("", "") if alone else ("/freezer", "freezer:")
        bundle.config["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}
        )
        bundle.config["process"]["env"] += [
            f"FREEZER=/sys/fs/cgroup{inside}", f"FILE={self.file}", f"FROZEN={frozen}",
        ]  # fmt: skip
        bundle.shell(SCRIPT)
        runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
        eventually((bundle.rootfs / "tmp/ready").exists)
        self.pid = runtime.state("box")["pid"]
        names = "" if alone else "freezer"
        mount = next(h.mount for h in layout.detect().hierarchies if names in h.controllers)
        self.group = Path(mount + cgroups.membership(self.pid)[names])
        eventually(lambda: self.state(self.group / "below"))

    def state(self, group: Path) -> bool:
        """Whether a cgroup is frozen, be it from above."""
        if self.file == "freezer.state":
            return (group / self.file).read_text() == "FROZEN\n"
        return "frozen 1" in (group / "cgroup.events").read_text()

    def ended(self) -> bool:
        reap_orphans(set())
        return not os.path.exists(f"/proc/{self.pid}")


def test_what_the_container_froze_stays_frozen_when_it_is_resumed(box: Box) -> None:
    box.runtime.ok("pause", "box")
    assert box.runtime.state("box")["status"] == "paused"
    assert box.state(box.group) and box.state(box.group / "below")
    box.runtime.ok("resume", "box")
    assert box.runtime.state("box")["status"] == "running"
    assert not box.state(box.group) and box.state(box.group / "below")


def test_a_killed_container_ends_although_it_is_paused(box: Box) -> None:
    box.runtime.ok("pause", "box")
    box.runtime.ok("kill", "box", "KILL")
    eventually(box.ended)
    assert box.runtime.state("box")["status"] == "stopped"


def test_kill_all_reaches_what_is_frozen(box: Box) -> None:
    box.runtime.ok("kill", "--all", "box", "KILL")
    eventually(box.ended)
    assert box.runtime.state("box")["status"] == "stopped"


def test_exec_in_a_paused_container_is_refused_with_the_way_out(box: Box) -> None:
    box.runtime.ok("pause", "box")
    done = box.runtime.call("exec", "box", "true")
    assert done.returncode == 255
    assert "it is paused, so the process would hang" in done.stderr
    assert f"({box.group / box.file})" in done.stderr, "the freezer's path"


def test_exec_in_a_cgroup_that_the_container_froze_is_refused_with_its_path(box: Box) -> None:
    file = box.group / "below" / box.file
    done = box.runtime.call("exec", "--cgroup", f"{box.controller}below", "box", "true")
    assert done.returncode == 255 and f"thaw it by {file}, or give --ignore-paused" in done.stderr
    box.runtime.ok("exec", "box", "true")


def test_exec_in_a_container_frozen_from_above_is_refused_with_that_path(
    runtime: Runtime, bundle: Bundle, here: Layout, name: str
) -> None:
    bundle.args("sleep", "300").config["linux"]["cgroupsPath"] = f"/{name}/inside"
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
    frozen, file, thawed = UNIFIED if here.mode == "v2" else FREEZER
    above = Path(here.unified if here.mode == "v2" else here.v1["freezer"], name, file)
    above.write_text(frozen)
    try:
        eventually(lambda: runtime.state("box")["status"] == "paused")
        done = runtime.call("exec", "box", "true")
        assert done.returncode == 255 and f"thaw it by {above}" in done.stderr
        assert "it is paused" in done.stderr and "pyoci resume" not in done.stderr
    finally:
        above.write_text(thawed)
        runtime.ok("delete", "--force", "box")
        cgroups.remove_named(name)


def test_a_cgroup_that_is_frozen_takes_no_new_container(box: Box, tmp_path: Path) -> None:
    """Whatever joined would hang: its own cgroup's and one above's state are looked at first."""
    other = Bundle(tmp_path / "other").args("true")
    mounts = {",".join(h.controllers): h.mount for h in layout.detect().hierarchies}
    below = str(box.group / "below").removeprefix(mounts["" if box.file == "cgroup.freeze" else "freezer"])
    other.config["linux"]["cgroupsPath"] = f"{below}/other"
    done = box.runtime.call("run", "--bundle", str(other.save()), "other")
    assert done.returncode == 1 and "is frozen: whatever joins it would stop" in done.stderr
    assert "/linux/cgroupsPath" in done.stderr and not (box.group / "below/other").exists()
