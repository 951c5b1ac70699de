"""podman build: each RUN is a container of the runtime's, by buildah within podman."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.podman import Podman


@pytest.fixture
def build(podman: Podman, tmp_path: Path) -> Iterator[Podman]:
    (tmp_path / "context").mkdir()
    yield podman
    podman.ok("rm", "--all", "--force", "--time", "0")
    for image in podman.ok("images", "--all", "--format", "{{.Repository}} {{.Id}}").splitlines():
        if not image.startswith("localhost/box "):
            podman.call("rmi", "--force", image.split()[1])


def built(podman: Podman, context: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (context / "Containerfile").write_text(text)
    # Builds have a network only if one asks: that takes more than a runtime.
    words = ["build", "--isolation", "oci", "--network", "none", "--tag", "made", *flags]
    return podman.call(*words, str(context))


def test_run_steps(build: Podman, tmp_path: Path) -> None:
    (tmp_path / "context/file").write_text("copied\n")
    text = """\
FROM box
ENV A=b
WORKDIR /work
COPY file /work/file
RUN cat file > out; echo "$A $PWD $(id -u)" >> out; grep Seccomp: /proc/self/status >> out
RUN ["/bin/sh", "-c", "echo exec form >> out"]
USER 1000
RUN id -u > /tmp/user
ENTRYPOINT ["cat", "/work/out", "/tmp/user"]
"""
    (tmp_path / "context").chmod(0o755)
    done = built(build, tmp_path / "context", text.replace("USER 1000", "RUN chmod 777 /tmp\nUSER 1000"))
    assert done.returncode == 0, done.stderr
    assert build.run("made").stdout.splitlines() == [
        "copied",
        "b /work 0",
        "Seccomp:\t2",
        "exec form",
        "1000",
    ]


def test_a_step_that_fails(build: Podman, tmp_path: Path) -> None:
    done = built(build, tmp_path / "context", "FROM box\nRUN echo trying; exit 9\n")
    assert done.returncode == 9 and "trying" in done.stdout + done.stderr
    done = built(build, tmp_path / "context", 'FROM box\nRUN ["/bin/missing"]\n')
    assert done.returncode != 0 and "/bin/missing" in done.stderr


def test_options_of_the_steps(build: Podman, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("mounted\n")
    script = "cat /v/file; ulimit -n; grep CapBnd /proc/self/status; grep Max.proc /proc/self/limits"
    flags = [
        "--volume",
        f"{tmp_path}/volume:/v:ro",
        "--ulimit",
        "nofile=500:500",
        "--ulimit",
        "nproc=3000:3000",
    ]
    flags += ["--cap-drop", "all", "--cap-add", "CAP_CHOWN", "--memory", "64m"]
    done = built(build, tmp_path / "context", f"FROM box\nRUN ({script}) > /out 2>&1; true\n", *flags)
    assert done.returncode == 0, done.stderr
    lines = build.run("made", "cat", "/out").stdout.splitlines()
    assert lines[:2] == ["mounted", "500"] and lines[2].endswith(f"{1:016x}")
    assert lines[3].split()[2:4] == ["3000", "3000"]


def test_mounts_and_secrets_of_one_step(build: Podman, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "context/given").write_text("given\n")
    text = """\
FROM box AS first
RUN echo stage > /stage
FROM box
RUN --mount=type=secret,id=word cat /run/secrets/word > /out
RUN --mount=type=bind,source=given,target=/given cat /given >> /out
RUN --mount=type=tmpfs,target=/t touch /t/new && grep ' /t tmpfs' /proc/mounts > /tmpfs
COPY --from=first /stage /stage
"""
    done = built(build, tmp_path / "context", text, "--secret", f"id=word,src={tmp_path}/secret")
    assert done.returncode == 0, done.stderr
    assert build.run("made", "cat", "/out", "/stage").stdout == "hushgiven\nstage\n"
    assert build.run("made", "ls", "/run/secrets").stdout == ""


def test_layers_are_made_once(build: Podman, tmp_path: Path) -> None:
    text = "FROM box\nRUN echo one > /one\nRUN echo two > /two\n"
    for _ in range(2):  # the second time from the cache
        done = built(build, tmp_path / "context", text, "--layers")
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("Using cache") == 2 or done.stderr.count("Using cache") == 2
