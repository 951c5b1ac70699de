"""Containers whose state is gone while their processes live, interrupted creations: what delete and gc do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support import cgroups
from support.containers import Bundle, Runtime, reap_orphans

pytestmark = pytest.mark.layout


@pytest.fixture(params=cgroups.layouts())
def orphan(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[int]:
    """The process of a container whose state somebody has removed."""
    with cgroups.in_mode(request.param):
        runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
        pid = runtime.state("box")["pid"]
        shutil.rmtree(runtime.root / "box")
        yield pid


def test_delete_works_from_the_cgroup_alone(runtime: Runtime, orphan: int) -> None:
    groups = cgroups_of(orphan)
    assert "does not exist" in runtime.call("delete", "box").stderr
    runtime.ok("delete", "--force", "other")
    assert cgroups_of(orphan) == groups
    runtime.ok("delete", "--force", "box")
    reap_orphans(set())
    assert not os.path.exists(f"/proc/{orphan}") and not any(path.exists() for path in groups)
    assert not (runtime.root / "box").exists()


def test_gc_finds_it(runtime: Runtime, orphan: int) -> None:
    groups = cgroups_of(orphan)
    said = runtime.ok("gc", "--dry-run")
    assert said.startswith("box: its state is gone") and f"{orphan} (sleep, S" in said
    assert cgroups_of(orphan) == groups
    assert runtime.ok("gc") == said
    reap_orphans(set())
    assert not any(path.exists() for path in groups)
    assert runtime.ok("gc") == ""


def test_gc_leaves_what_has_a_state_and_what_is_another_roots(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    stopped = Bundle(tmp_path / "stopped").args("true")
    runtime.ok("run", "--keep", "--bundle", str(stopped.save()), "stopped")
    assert runtime.ok("gc") == ""
    other = Runtime(tmp_path / "state/.other")
    assert other.ok("gc") == ""
    other.ok("delete", "--force", "box")
    assert runtime.state("box")["status"] == "running"
    assert runtime.ok("list", "-q").split() == ["box", "stopped"]
    runtime.ok("delete", "--force", "box")
    runtime.ok("delete", "stopped")


def test_gc_removes_interrupted_creations_but_no_beginning_one(runtime: Runtime) -> None:
    for name in ("old", "new"):
        (runtime.root / name).mkdir(parents=True)
        (runtime.root / name / "state.json.new").write_text("{")
    ago = time.time() - 3600
    os.utime(runtime.root / "old", (ago, ago))
    assert runtime.ok("gc") == "old: its creation was interrupted\n"
    assert os.listdir(runtime.root) == ["new"]
    runtime.ok("delete", "--force", "new")


def cgroups_of(pid: int) -> set[Path]:
    """The cgroups that were made for a container's process."""
    mounts = {",".join(h.controllers): h.mount for h in layout.detect().hierarchies}
    paths = (Path(mounts[names] + path) for names, path in cgroups.membership(pid).items())
    return {path for path in paths if path.name == "box"}
