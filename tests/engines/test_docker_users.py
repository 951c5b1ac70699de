"""Docker with --userns-remap: containers whose root is nobody special on the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker as programs
from support.containers import open_to_everyone, status
from support.docker import FIRST_USER, Docker

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")


@pytest.fixture(scope="module")
def docker(_orphans: None, runtime_path: str, image_tar: Path) -> Iterator[Docker]:
    docker = Docker(runtime_path, remapped=True)
    try:
        docker.start()
        docker.ok("import", str(image_tar), "box")
        docker.shell("true")
        yield docker
    finally:
        docker.close()


def test_root_is_somebody_else_outside(docker: Docker, tmp_path: Path) -> None:
    open_to_everyone(tmp_path)
    (tmp_path / "mine").write_text("secret")
    (tmp_path / "mine").chmod(0o600)
    with docker.service("--memory", "64m", "--user", "7:8", "--volume", f"{tmp_path}:/v") as container:
        found = status(int(docker.inspect(container, "{{.State.Pid}}")))
        assert found["Uid"] == [str(FIRST_USER + 7)] * 4 and found["Gid"] == [str(FIRST_USER + 8)] * 4
        assert docker.ok("exec", container, "id", "-u") == "7\n"
        mapping = docker.ok("exec", container, "cat", "/proc/self/uid_map").split()
        assert mapping == ["0", str(FIRST_USER), "65536"]
        done = docker.call("exec", "--user", "0", container, "cat", "/v/mine")
        assert done.returncode == 1 and "denied" in done.stderr
        assert docker.ok("exec", "--user", "0", container, "stat", "-c", "%u", "/bin/busybox") == "0\n"


def test_a_life_in_a_user_namespace(docker: Docker) -> None:
    with docker.service(command=("/bin/sh", "-c", "trap 'exit 3' TERM; sleep 300 & wait")) as container:
        docker.ok("exec", container, "/bin/sh", "-c", "echo written >/etc/file; mount -t tmpfs t /tmp; true")
        docker.ok("pause", container)
        docker.ok("unpause", container)
        assert len(docker.ok("top", container).splitlines()) == 3
        docker.ok("stop", "--time", "60", container)
        assert docker.inspect(container, "{{.State.ExitCode}}") == "3"
        docker.ok("start", container)
        assert docker.ok("exec", container, "cat", "/etc/file") == "written\n"


def test_the_hosts_users_on_request(docker: Docker) -> None:
    with docker.service("--userns", "host") as container:
        assert status(int(docker.inspect(container, "{{.State.Pid}}")))["Uid"] == ["0"] * 4
