"""Images built under Docker, by its own builder and by BuildKit, which calls the runtime itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import docker as programs
from support.docker import Docker

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

DOCKERFILE = """
FROM box
ENV WORD=built
COPY file /work/
RUN cd /work; cat file >copy; echo $WORD >>copy; id -u >>copy
RUN echo root:x:0: >/etc/group; busybox chmod 1777 /tmp
USER 1000
RUN ["/bin/sh", "-c", "id -u >/tmp/user"]
CMD ["/bin/cat", "/work/copy", "/tmp/user"]
"""

Build = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def _cgroups_that_are_kept(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> None:
    """BuildKit has a parent of its own for its containers', and keeps it."""
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text("FROM box\nRUN true\n")
    docker.ok("build", "--network", "none", str(context), env={"DOCKER_BUILDKIT": "1"})


@pytest.fixture(params=["0", "1"], ids=["own builder", "BuildKit"])
def build(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Build:
    (tmp_path / "file").write_text("copied\n")

    def build(dockerfile: str, *flags: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Dockerfile").write_text(dockerfile)
        arguments = ("build", "--network", "none", "--no-cache", *flags, str(tmp_path))
        return docker.call(*arguments, env={"DOCKER_BUILDKIT": request.param})

    return build


def test_an_image_that_is_built_runs(docker: Docker, build: Build) -> None:
    done = build(DOCKERFILE, "--tag", "built")
    assert done.returncode == 0, done.stderr + done.stdout
    assert docker.ok("run", "--rm", "built") == "copied\nbuilt\n0\n1000\n"
    docker.ok("image", "rm", "built")


def test_a_step_that_fails(build: Build) -> None:
    done = build("FROM box\nRUN echo reason >&2; exit 9\n")
    assert done.returncode != 0
    assert "reason" in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].endswith("code: 9")


def test_a_program_that_is_not_there(build: Build) -> None:
    done = build('FROM box\nRUN ["/bin/nothing"]\n')
    assert done.returncode == 1
    assert "/bin/nothing" in done.stderr + done.stdout


def test_a_container_becomes_an_image(docker: Docker) -> None:
    """commit pauses it meanwhile."""
    with docker.service() as container:
        docker.ok("exec", container, "/bin/sh", "-c", "echo changed >/state")
        docker.ok("commit", "--change", "CMD cat /state", container, "changed")
        assert docker.inspect(container, "{{.State.Status}}") == "running"
    assert docker.ok("run", "--rm", "changed") == "changed\n"
    docker.ok("image", "rm", "changed")
