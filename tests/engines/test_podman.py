"""pyoci under podman: an image made from the busybox root filesystem, run, exec, stop, rm."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, reap_orphans
from support.service_manager import Manager, build_say

pytestmark = pytest.mark.skipif(not shutil.which("podman"), reason="podman isn't installed")

# Engines' defaults are above this machine's hard limits, which nobody without CAP_SYS_RESOURCE can raise.
LIMITS = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]


class Podman:
    """podman with all of its state in one directory."""

    def __init__(self, directory: Path, runtime: str) -> None:
        self.runtime = runtime
        configuration = directory / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{directory}/run"\ngraphroot = "{directory}/graph"\n'
        )
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "CONTAINERS_STORAGE_CONF": str(configuration),
        }
        self.flags = [
            "--root", f"{directory}/graph", "--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "--runtime", runtime,
        ]  # fmt: skip

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            ["podman", *self.flags, *args],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while True:
            try:
                out, error = process.communicate(timeout=0.2)
                return subprocess.CompletedProcess(args, process.returncode, out, error)
            except subprocess.TimeoutExpired:
                reap_orphans({process.pid})

    def ok(self, *args: str) -> str:
        done = self.call(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.call("run", "--network", "none", *LIMITS, *args)


def remove_podmans_own_cgroups() -> None:
    """podman keeps what is above its containers' cgroups; a user's, with something in it, stays.

    Its monitor ends a moment after its container, and until then its cgroup is busy.
    """
    names = ("libpod_parent/conmon", "libpod_parent")
    ours = [hierarchy / name for hierarchy in Path("/sys/fs/cgroup").iterdir() for name in names]
    deadline = time.monotonic() + 5
    while any(path.exists() for path in ours) and time.monotonic() < deadline:
        for path in ours:
            with contextlib.suppress(OSError):
                path.rmdir()
        reap_orphans(set())
        time.sleep(0.02)


@pytest.fixture
def podman(image_tar: Path, runtime_path: str) -> Iterator[Podman]:
    # Not below pytest's directory: podman wants its runroot to have at most 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as name:
        podman = Podman(Path(name), runtime_path)
        podman.ok("import", str(image_tar), "box")
        yield podman
        podman.call("rm", "--all", "--force", "--time", "0")
        remove_podmans_own_cgroups()
        for mount in Path("/proc/self/mountinfo").read_text().splitlines():
            if mount.split()[4].startswith(name):
                subprocess.run(["umount", mount.split()[4]], check=True)


def test_run_hands_on_output_and_status(podman: Podman) -> None:
    done = podman.run("--rm", "box", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_a_service_from_run_to_rm(podman: Podman) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    done = podman.run("--detach", "--name", "web", "box", "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert podman.call("exec", "web", "/bin/sh", "-c", "exit 7").returncode == 7
    assert (
        podman.ok("exec", "--user", "1000", "--env", "A=b", "web", "/bin/sh", "-c", "id -u; echo $A")
        == "1000\nb\n"
    )
    assert "ready" in podman.ok("logs", "web")
    described = podman.ok("inspect", "--format", "{{.State.Status}} {{.OCIRuntime}}", "web")
    assert described == f"running {podman.runtime}\n"
    podman.ok("pause", "web")
    podman.ok("unpause", "web")
    podman.ok("stop", "--time", "5", "web")
    assert podman.ok("inspect", "--format", "{{.State.ExitCode}}", "web") == "0\n"
    podman.ok("rm", "web")
    assert podman.ok("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize(
    ("program", "status"), [("/bin/nothing", 127), ("nothing", 127), ("/etc/passwd", 126)]
)
def test_podman_knows_why_a_program_cannot_run(podman: Podman, program: str, status: int) -> None:
    done = podman.run("--rm", "box", program)
    assert done.returncode == status, done.stderr
    assert program in done.stderr


def test_limits_and_security_options(podman: Podman) -> None:
    done = podman.run(
        "--rm", "--memory", "64m", "--pids-limit", "50", "--read-only", "--read-only-tmpfs=false",
        "--cap-drop", "all",
        "--cap-add", "chown", "--user", "1000:1000", "--hostname", "pod",
        "box", "/bin/sh", "-c",
        "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status;"
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes;"
        "touch /x; hostname; id -u",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CapBnd:\t0000000000000001" in done.stdout
    assert "Seccomp:\t2" in done.stdout
    assert str(64 << 20) in done.stdout
    assert "Read-only file system" in done.stderr
    assert done.stdout.endswith("pod\n1000\n")


def test_update(podman: Podman) -> None:
    """Which hands the runtime a file. What isn't given stays, and a refusal changes nothing."""
    done = podman.run(
        "--detach", "--name", "web", "--memory", "64m", "--pids-limit", "50", "box", "sleep", "1000"
    )
    assert done.returncode == 0, done.stderr
    files = (
        "memory/memory.limit_in_bytes",
        "cpu/cpu.shares",
        "cpu/cpu.cfs_quota_us",
        "cpuset/cpuset.cpus",
        "pids/pids.max",
    )
    show = ["exec", "web", "/bin/sh", "-c", "cd /sys/fs/cgroup; cat " + " ".join(files)]
    podman.ok(
        "update", "--memory", "128m", "--cpu-shares", "512", "--cpus", "0.5", "--cpuset-cpus", "0", "web"
    )
    limits = podman.ok(*show)
    assert limits.split() == [str(128 << 20), "512", "50000", "0", "50"]
    assert podman.call("update", "--cpu-shares", "700", "--cpuset-cpus", "4096", "web").returncode != 0
    assert podman.ok(*show) == limits
    podman.ok("rm", "--force", "--time", "0", "web")


def test_a_tmpfs_and_a_read_only_root(podman: Podman, bundle: Bundle) -> None:
    """Both of which podman asks to begin with what they cover, by tmpcopyup."""
    done = podman.run("--rm", "--tmpfs", "/etc", "box", "/bin/sh", "-c", "cat /etc/passwd; touch /etc/new")
    assert done.returncode == 0, done.stderr
    assert (bundle.rootfs / "etc/passwd").read_text() in done.stdout
    script = "touch /tmp/new /run/new /var/tmp/new && touch /new; stat -c %a /tmp"
    done = podman.run("--rm", "--read-only", "box", "/bin/sh", "-c", script)
    assert "/new: Read-only file system" in done.stderr and done.stdout == "755\n", done  # as in the image


def test_volumes(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("content")
    script = "cat /v/file /w/file; touch /v/new; touch /w/new"
    options = ["-v", f"{tmp_path}/volume:/v", "-v", f"{tmp_path}/volume:/w:ro,noexec,nosuid"]
    done = podman.run("--rm", *options, "box", "/bin/sh", "-c", script)
    assert done.stdout == "contentcontent" and "/w/new: Read-only file system" in done.stderr
    assert (tmp_path / "volume/new").exists()


def test_a_container_notifies_the_callers_service_manager(podman: Podman, tmp_path: Path) -> None:
    """--sdnotify=container: ready when it says so itself; podman has a proxy of its own for that."""
    say = build_say(tmp_path)
    manager = Manager(str(tmp_path / "manager"))
    podman.environment["NOTIFY_SOCKET"] = manager.address
    flags = ("--rm", "--sdnotify", "container", "--volume", f"{say}:/bin/say")
    done = podman.run(*flags, "box", "/bin/sh", "-c", "say READY=1; exec sleep 0.2")
    heard = manager.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert "READY=1" in "\n".join(heard).split("\n")
