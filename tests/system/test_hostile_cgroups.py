"""What a bundle asks for, and a container does, in its cgroups so that the host suffers: pyoci holds out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support import cgroups
from support.containers import Bundle, Runtime, Sleeper

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
