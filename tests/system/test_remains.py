"""Containers whose state is gone while their processes live, interrupted creations: what delete and gc do."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import layout, marks
from support import cgroups
from support.containers import Bundle, Runtime, reap_orphans
from support.delegated import Delegated
from support.mounts import own_mounts
from support.unprivileged import RootlessBundle, RootlessRuntime, unprivileged

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


@pytest.mark.parametrize("lost", ["the directory", "all directories"])
def test_gc_finds_it_whatever_is_gone(runtime: Runtime, bundle: Bundle, tmp_path: Path, lost: str) -> None:
    """The root is called by another name, and is another directory, made anew."""
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    if lost == "the directory":
        shutil.rmtree(runtime.root / "box")
        (tmp_path / "link").symlink_to(runtime.root)
        runtime = Runtime(tmp_path / "link")
    else:
        shutil.rmtree(runtime.root)
    assert runtime.ok("gc").startswith("box: its state is gone")
    assert runtime.ok("gc") == ""


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_gc_leaves_containers_with_a_root_of_that_name_in_other_mounts(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    runtime.root.mkdir(mode=0o711)
    (tmp_path / "other").mkdir()
    path = str(bundle.args("sleep", "300").save())
    outside = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    with own_mounts():
        flags = ["-t", "tmpfs", "tmpfs"] if kind == "tmpfs" else ["--bind", str(tmp_path / "other")]
        subprocess.run(["mount", *flags, str(runtime.root)], check=True)
        runtime.detached("run", "--detach", "--bundle", path, "inside")
        enter = ["nsenter", f"--mount=/proc/self/fd/{outside}"]
        for words in (
            ["run", "--detach", "--bundle", path, "outside"],
            ["gc"],
            ["delete", "--force", "inside"],
        ):
            command = [*enter, *runtime.command(*words)]
            with (tmp_path / "said").open("w+") as said:
                subprocess.run(command, pass_fds=[outside], stdout=said, stderr=said, check=True)
                said.seek(0)
                assert said.read() == ""
        assert runtime.ok("gc") == ""
        runtime.ok("delete", "--force", "outside")
        assert runtime.state("inside")["status"] == "running"
        runtime.ok("delete", "--force", "inside")
    os.close(outside)
    assert runtime.state("outside")["status"] == "running"
    runtime.ok("delete", "--force", "outside")


@pytest.fixture
def claimed(runtime: Runtime, start: cgroups.Start) -> Iterator[tuple[Path, bytes]]:
    """A cgroup2 group with a process, of root's, and the mark of a container that isn't there."""
    mount = layout.detect().unified
    if mount is None:
        pytest.skip("there is no cgroup2 here")
    runtime.root.mkdir(mode=0o711)
    group = Path(mount, f"pyoci-claimed-{os.getpid()}")
    group.mkdir()
    process = start()
    (group / "cgroup.procs").write_text(str(process.pid))
    yield group, marks.text(f"{runtime.root}/evil")
    assert process.poll() is None
    process.kill()
    process.wait()
    cgroups.eventually(lambda: "populated 0" in (group / "cgroup.events").read_text())
    group.rmdir()


def test_root_believes_its_own_marks_alone(runtime: Runtime, claimed: tuple[Path, bytes]) -> None:
    group, mark = claimed
    os.setxattr(group, "user.pyoci", mark)
    assert runtime.ok("gc") == ""
    os.setxattr(group, "trusted.pyoci", mark)
    assert runtime.ok("gc", "--dry-run").startswith("evil: its state is gone")


def test_a_user_s_gc_looks_at_his_own_cgroups(claimed: tuple[Path, bytes], tmp_path: Path) -> None:
    group, _ = claimed
    own = Delegated()
    try:
        with unprivileged(tmp_path) as user:
            runtime, bundle = RootlessRuntime(user), RootlessBundle(user)
            runtime.place = own.place
            path = str(bundle.args("sleep", "300").save())
            runtime.detached("run", "--detach", "--bundle", path, "box")
            assert runtime.ok("gc") == ""
            os.setxattr(group, "user.pyoci", marks.text(f"{runtime.root}/box"))
            pid = runtime.state("box")["pid"]
            shutil.rmtree(runtime.root / "box")
            assert f"{pid} (sleep, S" in runtime.ok("gc", "--dry-run")
            assert runtime.ok("gc").startswith("box: its state is gone")
            reap_orphans(set())
            assert not os.path.exists(f"/proc/{pid}")
            assert runtime.ok("gc") == ""
    finally:
        own.remove()


@pytest.mark.skipif(layout.detect().unified is None, reason="there is no cgroup2 here")
def test_what_a_container_s_root_writes_into_marks_is_not_said_as_it_is(tmp_path: Path) -> None:
    """Where the cgroup is delegated to him: at most he removes himself."""
    own = Delegated()
    try:
        with unprivileged(tmp_path) as user:
            runtime, top = RootlessRuntime(user), own.groups[""]
            runtime.root.mkdir(mode=0o711)
            user.give(runtime.root)
            for name, container_id in (("a\x1b[2J\udcff.scope", "forged"), ("b", "two\nlines"), ("c", "..")):
                assert user.call("mkdir", f"{top}/{name}").returncode == 0
                mark = marks.text(f"{runtime.root}/x")[:-1] + container_id.encode()
                os.setxattr(f"{top}/{name}", "user.pyoci", mark)
            said = f"forged: its state is gone, its cgroup {top}/a?[2J?.scope is there with no process\n"
            assert runtime.ok("gc") == said
            assert {path.name for path in top.iterdir() if path.is_dir()} == {"start", "b", "c"}
            for name in ("b", "c"):
                (top / name).rmdir()
    finally:
        own.remove()


@pytest.mark.skipif("freezer" not in layout.detect().v1, reason="cgroup2 kills what is frozen")
def test_gc_goes_on_when_one_cannot_be_removed(runtime: Runtime, bundle: Bundle, name: str) -> None:
    for container_id in ("a", "b"):
        bundle.config["linux"]["cgroupsPath"] = f"/{name}/{container_id}/{container_id}"
        path = str(bundle.args("sleep", "300").save())
        runtime.detached("run", "--detach", "--bundle", path, container_id)
        shutil.rmtree(runtime.root / container_id)
    frozen = Path(layout.detect().v1["freezer"], name, "a/freezer.state")
    frozen.write_text("FROZEN")
    try:
        done = runtime.call("gc")
        assert done.returncode == 1 and done.stdout.startswith("b: its state is gone")
        assert "a: its state is gone" in done.stderr and "a cgroup above it is frozen" in done.stderr
        assert done.stderr.endswith("what these containers have left can't be removed: a\n")
    finally:
        frozen.write_text("THAWED")
    assert runtime.ok("gc").startswith("a: its state is gone")
    assert runtime.ok("gc") == ""
    cgroups.remove_named(name)


def test_gc_removes_interrupted_creations_but_no_beginning_one(runtime: Runtime) -> None:
    for name in ("old", "new", "empty", "locked"):
        (runtime.root / name).mkdir(mode=0o711, parents=True)
        if name != "empty":
            (runtime.root / name / "state.json").write_text("")
    ago = time.time() - 3600
    for name in ("old", "empty", "locked"):
        os.utime(runtime.root / name, (ago, ago))
    at_it = os.open(runtime.root / "locked", os.O_RDONLY)
    fcntl.flock(at_it, fcntl.LOCK_EX)
    assert runtime.ok("gc") == "empty: its creation was interrupted\nold: its creation was interrupted\n"
    assert sorted(os.listdir(runtime.root)) == ["locked", "new"]
    os.close(at_it)
    for name in ("locked", "new"):
        runtime.ok("delete", "--force", name)


@pytest.mark.parametrize("content", ["a file", "nothing", "not even a directory"])
def test_what_is_no_container_s_is_not_removed(runtime: Runtime, content: str) -> None:
    other = runtime.root / "other"
    if content == "not even a directory":
        runtime.root.mkdir()
        other.write_text("precious")
    else:
        other.mkdir(mode=0o700, parents=True)
        if content == "a file":
            (other / "precious").write_text("")
    os.utime(other, (0, 0))
    assert runtime.ok("gc") == ""
    done = runtime.call("delete", "--force", "other")
    assert done.returncode == 1 and f"{other} is no container's" in done.stderr
    assert os.listdir(other) == ["precious"] if content == "a file" else other.exists()
    shutil.rmtree(runtime.root)


def cgroups_of(pid: int) -> set[Path]:
    """The cgroups that were made for a container's process."""
    mounts = {",".join(h.controllers): h.mount for h in layout.detect().hierarchies}
    paths = (Path(mounts[names] + path) for names, path in cgroups.membership(pid).items())
    return {path for path in paths if path.name == "box"}
