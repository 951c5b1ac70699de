"""Containers that outlive their daemon: dockerd is killed, they go on, and the next one looks after them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker as programs
from support.cgroups import eventually
from support.docker import Docker

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

SCRIPT = """
trap 'echo ended; exit 3' TERM
n=0
while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done
"""


@pytest.fixture(scope="module")
def pids(docker: Docker) -> Iterator[dict[str, int]]:
    """Containers by name, with their processes, under a daemon that isn't the one that made them."""
    flags = ("--health-cmd", "true", "--health-interval", "100ms")
    for name in ("stopped", "killed", "paused", "ends meanwhile", "removed"):
        container = name.replace(" ", "-")
        docker.ok("run", "--detach", "--name", container, *flags, "box", "/bin/sh", "-c", SCRIPT)
    docker.ok("pause", "paused")
    names = docker.ok("ps", "--all", "--format", "{{.Names}}").split()
    pids = {name: int(docker.inspect(name, "{{.State.Pid}}")) for name in names}
    docker.kill()
    count = Path(f"/proc/{pids['stopped']}/root/tmp/n")
    before = count.read_text()
    eventually(lambda: count.read_text() not in ("", before))  # without a daemon
    os.kill(pids["ends-meanwhile"], signal.SIGKILL)
    docker.start()
    yield pids
    docker.ok("rm", "--force", *names)


def test_they_are_the_same_that_they_were(docker: Docker, pids: dict[str, int]) -> None:
    for name, pid in pids.items():
        if name != "ends-meanwhile":
            assert docker.inspect(name, "{{.State.Pid}}") == str(pid)
    listed = dict(
        line.split() for line in docker.ok("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines()
    )
    assert listed == {
        "stopped": "running", "killed": "running", "paused": "paused",
        "ends-meanwhile": "exited", "removed": "running",
    }  # fmt: skip


def test_an_end_that_no_daemon_saw(docker: Docker, pids: dict[str, int]) -> None:
    eventually(lambda: docker.inspect("ends-meanwhile", "{{.State.ExitCode}}") == "137")


def test_exec_top_and_stats(docker: Docker, pids: dict[str, int]) -> None:
    assert docker.ok("exec", "stopped", "cat", "/proc/1/cmdline").startswith("/bin/sh\0-c\0")
    assert str(pids["stopped"]) in docker.ok("top", "stopped", "-o", "pid").split()
    stats = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", "stopped"))
    assert int(stats["PIDs"]) >= 1
    eventually(lambda: docker.inspect("stopped", "{{.State.Health.Status}}") == "healthy")


def test_stop_and_what_was_logged(docker: Docker, pids: dict[str, int]) -> None:
    docker.ok("stop", "--time", "60", "stopped")
    assert docker.inspect("stopped", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
    assert docker.ok("logs", "stopped") == "ended\n"
    docker.ok("start", "stopped")
    assert docker.inspect("stopped", "{{.State.Status}}") == "running"
    docker.ok("kill", "stopped")


def test_kill(docker: Docker, pids: dict[str, int]) -> None:
    docker.ok("kill", "killed")
    assert docker.ok("wait", "killed") == "137\n"


def test_unpause(docker: Docker, pids: dict[str, int]) -> None:
    count = Path(f"/proc/{pids['paused']}/root/tmp/n")
    before = count.read_text()
    docker.ok("unpause", "paused")
    eventually(lambda: count.read_text() not in ("", before))
    assert docker.inspect("paused", "{{.State.Status}}") == "running"


def test_remove(docker: Docker, pids: dict[str, int]) -> None:
    docker.ok("rm", "--force", "removed")
    assert not Path(f"/proc/{pids['removed']}/root/tmp/n").exists()
    pids.pop("removed")


@pytest.fixture(scope="module")
def survivor(docker: Docker, pids: dict[str, int]) -> Iterator[str]:
    """A container whose daemon was asked to end; its process."""
    docker.ok("run", "--detach", "--name", "survivor", "box", "/bin/sleep", "300")
    pid = docker.inspect("survivor", "{{.State.Pid}}")
    docker.stop()
    assert Path(f"/proc/{pid}/cmdline").read_text() == "/bin/sleep\x00300\x00"
    docker.start()
    yield pid
    docker.ok("rm", "--force", "survivor")


def test_a_daemon_that_is_stopped_leaves_them_too(docker: Docker, survivor: str) -> None:
    assert docker.inspect("survivor", "{{.State.Status}} {{.State.Pid}}") == f"running {survivor}"
    assert docker.ok("exec", "survivor", "echo", "here") == "here\n"
