"""What a bundle asks for, and a container does, in its cgroups so that the host suffers: pyoci holds out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support import cgroups
from support.containers import Bundle, Runtime, Sleeper, reap_orphans
from support.delegated import Delegated
from support.unprivileged import RootlessBundle, RootlessRuntime, unprivileged

pytestmark = pytest.mark.layout

HERE = layout.detect()


@pytest.mark.skipif(HERE.unified is None, reason="there is no cgroup2 here")
@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ("cgroup.procs", "pyoci exec"),
        ("cgroup.threads", "pyoci exec"),
        ("cgroup.kill", "pyoci kill"),
        ("cgroup.freeze", "pyoci pause"),
        ("cgroup.type", "a cgroup made in the container"),
        ("memory.pressure", "pyoci events"),
    ],
)
def test_files_that_move_or_stop_processes_are_no_limits(
    sleeper: Sleeper, start: cgroups.Start, tmp_path: Path, file: str, remedy: str
) -> None:
    bystander = start()
    before = cgroups.membership(bystander.pid)
    value = {"cgroup.type": "threaded", "memory.pressure": "some 150000 1000000"}.get(
        file, str(bystander.pid) if file in ("cgroup.procs", "cgroup.threads") else "1"
    )
    asked = {"unified": {file: value}}
    sleeper.linux["resources"] = asked
    said = sleeper.refused()
    assert f"/linux/resources/unified/{file}: it " in said and remedy in said
    del sleeper.linux["resources"]
    sleeper.pid()
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = sleeper.runtime.call("update", "--resources", str(tmp_path / "asked.json"), "box")
    assert done.returncode == 1 and f"/unified/{file}: it " in done.stderr and remedy in done.stderr
    assert sleeper.runtime.state("box")["status"] == "running"
    assert cgroups.membership(bystander.pid) == before
    sleeper.runtime.ok("delete", "--force", "box")
    assert bystander.poll() is None


@pytest.mark.skipif(HERE.unified is None, reason="there is no cgroup2 here")
def test_files_of_cgroup2_itself_that_are_limits_stay(runtime: Runtime, bundle: Bundle) -> None:
    limits = {"cgroup.max.depth": "3", "cgroup.max.descendants": "5"}
    bundle.config["linux"]["resources"] = {"unified": limits}
    runtime.create(bundle.args("true"), "box")
    cgroup = HERE.unified + cgroups.membership(runtime.state("box")["pid"])[""]
    assert {name: Path(cgroup, name).read_text().strip() for name in limits} == limits
    runtime.ok("delete", "--force", "box")


class Nest:
    """Cgroups one in the other, deeper than Python recurses and with a longer path than may be: made, as
    a container's root does, from one to the next. In the VM, which is slow, only the path is too long.

    bottom  the innermost one, open
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        name, depth = ("n" * 200, 30) if HERE.mode == "v2" else ("n" * 10, 1200)
        self.bottom = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=self.bottom)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.bottom)
            os.close(self.bottom)
            self.bottom = inner

    def write(self, file: str, value: str) -> None:
        descriptor = os.open(file, os.O_WRONLY, dir_fd=self.bottom)
        os.write(descriptor, value.encode())
        os.close(descriptor)


def freezer_of(pid: int) -> Path:
    """The cgroup in which pyoci looks for a container's processes."""
    name = "freezer" if "freezer" in HERE.v1 else ""
    return Path(HERE.v1.get("freezer") or f"{HERE.unified}", cgroups.membership(pid)[name][1:])


@pytest.fixture
def nest(sleeper: Sleeper) -> Iterator[Nest]:
    """Below the cgroup of a container that runs."""
    nest = Nest(freezer_of(sleeper.pid()))
    yield nest
    os.close(nest.bottom)


def test_processes_far_down_are_seen_and_killed(sleeper: Sleeper, nest: Nest, start: cgroups.Start) -> None:
    runtime, deep = sleeper.runtime, start()
    nest.write("cgroup.procs", str(deep.pid))
    assert deep.pid in json.loads(runtime.ok("ps", "--format", "json", "box"))
    assert json.loads(runtime.ok("events", "--stats", "box"))["type"] == "stats"
    runtime.ok("pause", "box")
    runtime.ok("resume", "box")
    nest.write(*(("freezer.state", "FROZEN") if "freezer" in HERE.v1 else ("cgroup.freeze", "1")))
    runtime.ok("kill", "--all", "box", "KILL", own={deep.pid})
    assert deep.wait(60) == -9
    assert not runtime.ok("gc")
    runtime.ok("delete", "--force", "box")
    assert not nest.top.exists()


def test_cgroups_far_down_are_removed(sleeper: Sleeper, nest: Nest, start: cgroups.Start) -> None:
    deep = start()
    nest.write("cgroup.procs", str(deep.pid))
    sleeper.runtime.ok("delete", "--force", "box", own={deep.pid})
    assert deep.wait(60) == -9
    assert not nest.top.exists()


def test_gc_removes_what_a_lost_container_has_nested(
    sleeper: Sleeper, nest: Nest, start: cgroups.Start
) -> None:
    deep = start()
    nest.write("cgroup.procs", str(deep.pid))
    shutil.rmtree(sleeper.runtime.root / "box")
    assert sleeper.runtime.ok("gc", own={deep.pid}).startswith("box: its state is gone")
    assert deep.wait(60) == -9
    reap_orphans(set())
    assert not nest.top.exists()


def test_more_processes_than_files_may_be_open(sleeper: Sleeper, tmp_path: Path) -> None:
    many = 150
    begin = f"n=0; while [ $n -lt {many} ]; do sleep 300 & n=$((n+1)); done; trap '' TERM; sleep 300; wait"
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nexec prlimit --nofile=64 {sleeper.runtime.program} "$@"\n')
    limited.chmod(0o755)
    runtime = Runtime(sleeper.runtime.root, str(limited))

    def processes() -> int:
        return len(json.loads(runtime.ok("ps", "--format", "json", "box")))

    runtime.create(sleeper.bundle.shell(begin), "box")
    runtime.ok("start", "box")
    cgroups.eventually(lambda: processes() == many + 2)
    runtime.ok("kill", "--all", "box", "TERM")
    cgroups.eventually(lambda: processes() == 2)
    runtime.ok("delete", "--force", "box")


def test_cgroups_that_are_closed_to_their_own_user(tmp_path: Path) -> None:
    """As a container's root closes them who is, outside, the user that deletes it."""
    own = Delegated()
    try:
        with unprivileged(tmp_path) as user:
            runtime, bundle = RootlessRuntime(user), RootlessBundle(user)
            runtime.place = own.place
            runtime.detached("run", "-d", "--bundle", str(bundle.args("sleep", "300").save()), "box")
            top = freezer_of(runtime.state("box")["pid"])
            close = (
                f"mkdir {top}/a {top}/a/b; echo $$ >{top}/a/b/cgroup.procs; chmod 0 {top}/a/b {top}/a; read x"
            )
            command = [*own.place, *user.command("sh", "-c", close)]
            with subprocess.Popen(command, stdin=subprocess.PIPE) as deep:
                cgroups.eventually(lambda: (top / "a").exists() and not (top / "a").stat().st_mode & 0o700)
                assert deep.pid in json.loads(runtime.ok("ps", "--format", "json", "box", own={deep.pid}))
                (top / "a").chmod(0)
                runtime.ok("delete", "--force", "box", own={deep.pid})
                assert deep.wait(60) == -9
            assert not top.exists()
    finally:
        own.remove()
