"""pyoci under buildah: programs run in working containers, and images built with RUN."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.buildah import LIMITS, Buildah
from support.directories import short_directory
from support.recorder import Recorder
from support.screen import Screen

pytestmark = pytest.mark.skipif(not shutil.which("buildah"), reason="buildah isn't installed")


@pytest.fixture(scope="module")
def buildah(image_tar: Path, runtime_path: str) -> Iterator[Buildah]:
    with short_directory("buildah-") as name:
        buildah = Buildah(Path(name), runtime_path)
        buildah.make_image(image_tar)
        yield buildah
        buildah.clean()


@pytest.fixture
def working(buildah: Buildah) -> Iterator[str]:
    """A working container."""
    name = buildah.ok("from", *LIMITS, "busybox")
    yield name
    buildah.ok("rm", name)


def test_output_and_status(buildah: Buildah, working: str) -> None:
    done = buildah.run(working, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout) == (42, "out\n")
    assert "err\n" in done.stderr
    assert buildah.run(working, "true").returncode == 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("nothing", "(?i)executable file .*not found in \\$PATH|no such file"),
        ("/bin/nothing", "(?i)not found|no such file"),
        ("/etc/passwd", "(?i)permission denied"),
    ],
)
def test_why_a_program_cannot_run(buildah: Buildah, working: str, program: str, reason: str) -> None:
    """The runtime's own words come to who called buildah."""
    done = buildah.run(working, program)
    assert done.returncode == 1
    assert re.search(reason, done.stderr), done.stderr


def test_a_terminal(buildah: Buildah, working: str) -> None:
    words = buildah.run_words(
        "--terminal", working, "sh", "-c", "[ -t 0 ] && stat -c %F /dev/console; exit 3"
    )
    screen = Screen(["buildah", *words], environment=buildah.environment)
    status = screen.finish()
    screen.close()
    assert status == 3
    assert b"character special file\r\n" in screen.seen


def test_who_it_runs_as(buildah: Buildah, working: str) -> None:
    done = buildah.run("--user", "1000:33", "--env", "A=b", "--workingdir", "/tmp", working,
                       "sh", "-c", "id -u; id -g; echo $A; pwd")  # fmt: skip
    assert done.stdout.split() == ["1000", "33", "b", "/tmp"], done.stderr
    assert buildah.run("--user", "user", working, "id", "-u").stdout == "1000\n"
    assert buildah.run("--hostname", "builder", working, "hostname").stdout == "builder\n"


def test_capabilities(buildah: Buildah, working: str) -> None:
    def bounding(*flags: str) -> int:
        done = buildah.run(*flags, working, "grep", "CapBnd", "/proc/self/status")
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[1], 16)

    net_raw, kill = 1 << 13, 1 << 5
    assert not bounding() & net_raw and bounding() & kill
    assert bounding("--cap-add", "CAP_NET_RAW") & net_raw
    assert not bounding("--cap-drop", "CAP_KILL") & kill


def test_volumes_and_mounts(buildah: Buildah, working: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    done = buildah.run(
        "--volume", f"{tmp_path}:/v", "--volume", f"{tmp_path}:/w:ro", "--mount", "type=tmpfs,dst=/t",
        working, "sh", "-c", "cat /v/file; touch /v/new /t/new && touch /w/other",
    )  # fmt: skip
    assert done.stdout == "content\n"
    assert "/w/other: Read-only file system" in done.stderr
    assert (tmp_path / "new").exists() and not (tmp_path / "other").exists()


def test_namespaces_of_the_hosts(buildah: Buildah, working: str) -> None:
    def own(kind: str, *flags: str) -> bool:
        done = buildah.run(*flags, working, "/bin/busybox", "readlink", f"/proc/self/ns/{kind}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() != os.readlink(f"/proc/self/ns/{kind}")

    for kind in ("pid", "ipc", "uts"):
        assert own(kind)
        assert not own(kind, f"--{kind}", "host")


def test_what_a_program_changes_stays(buildah: Buildah, working: str) -> None:
    assert buildah.run(working, "sh", "-c", "echo new > /etc/new; rm /etc/passwd").returncode == 0
    assert buildah.run(working, "cat", "/etc/new").stdout == "new\n"
    assert buildah.run(working, "cat", "/etc/passwd").returncode == 1


def test_limits(buildah: Buildah) -> None:
    working = buildah.ok("from", *LIMITS, "--memory", "64m", "--cpu-shares", "300", "busybox")
    done = buildah.run(
        working,
        "sh",
        "-c",
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes || cat memory.max; ulimit -n",
    )
    buildah.ok("rm", working)
    assert done.stdout.split() == [str(64 << 20), "1000"], done.stderr


def test_a_build(buildah: Buildah) -> None:
    done = buildah.build(
        "FROM busybox",
        "ENV GREETING=hello",
        "RUN echo $GREETING > /greeting && echo said",
        "WORKDIR /work",
        "USER 1000",
        'RUN ["sh", "-c", "id -u; pwd"]',
    )
    assert done.returncode == 0, done.stderr
    assert "said\n" in done.stdout and "1000\n/work\n" in done.stdout
    working = buildah.ok("from", *LIMITS, "built")
    assert buildah.run(working, "cat", "/greeting").stdout == "hello\n"
    buildah.ok("rm", working)
    buildah.ok("rmi", "built")


def test_a_build_that_fails(buildah: Buildah) -> None:
    done = buildah.build("FROM busybox", "RUN echo trying; exit 9", "RUN echo never")
    assert done.returncode == 9
    assert "trying\n" in done.stdout and "never" not in done.stdout
    assert "exit status 9" in done.stderr
    done = buildah.build("FROM busybox", 'RUN ["/bin/nothing"]')
    assert done.returncode != 0
    assert re.search("(?i)no such file|not found", done.stderr), done.stderr


def test_a_build_with_volumes_secrets_and_limits(buildah: Buildah, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("word\n")
    done = buildah.build(
        "FROM busybox",
        "RUN --mount=type=secret,id=s cat /run/secrets/s",
        "RUN --mount=type=tmpfs,target=/t touch /t/new && [ ! -e /v/new ] && touch /v/new",
        "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max",
        flags=("--secret", f"id=s,src={tmp_path}/secret", "--volume", f"{tmp_path}:/v", "--memory", "64m"),
    )
    assert done.returncode == 0, done.stderr
    assert "word\n" in done.stdout and f"{64 << 20}\n" in done.stdout
    assert (tmp_path / "new").exists()
    buildah.ok("rmi", "built")


@pytest.mark.parametrize("way", ["the environment", "containers.conf"])
def test_ways_to_register_a_runtime(
    buildah: Buildah, working: str, runtime_path: str, tmp_path: Path, way: str
) -> None:
    """As the README has them; without either buildah takes what it finds in PATH."""
    recorder = Recorder(tmp_path, runtime_path)
    (tmp_path / "containers.conf").write_text(
        f'[engine]\nruntime = "pyoci"\n[engine.runtimes]\npyoci = ["{recorder.program}"]\n'
    )
    variables = (
        {"BUILDAH_RUNTIME": str(recorder.program)}
        if way == "the environment"
        else {"CONTAINERS_CONF": str(tmp_path / "containers.conf")}
    )
    done = buildah.call("run", "--isolation", "oci", "--network", "none", working, "true", **variables)
    assert done.returncode == 0, done.stderr
    assert recorder.calls()
