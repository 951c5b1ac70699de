"""A runtime under podman as a user without rights: in the user namespace that podman makes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoci.cgroup.layout import detect
from support.cgroups import membership
from support.containers import SECONDS, finish, reap_orphans
from support.delegated import Delegated
from support.directories import short_directory
from support.screen import FOLLOWING, SIZE, Screen
from support.unprivileged import FIRST, UID, User, missing_helpers, unprivileged

pytestmark = [
    pytest.mark.skipif(not shutil.which("podman"), reason="podman isn't installed"),
    pytest.mark.skipif(bool(missing_helpers()), reason=missing_helpers()),
]

# Engines' defaults are above this machine's hard limits, which nobody without CAP_SYS_RESOURCE can raise.
LIMITS = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]


class Podman:
    """The user's podman, with all of its state in his home."""

    def __init__(self, user: User, runtime: str) -> None:
        self.user, self.runtime = user, runtime
        self.place: list[str] = []  # what goes before podman: root puts it somewhere
        state = user.home / "p"
        (user.home / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{state}/run"\ngraphroot = "{state}/graph"\n'
        )
        # By its name podman knows what a runtime can do; its own list has crun and others.
        (user.home / "containers.conf").write_text(
            '[engine]\nruntime_supports_nocgroup = ["crun", "pyoci"]\n'
            'runtime_supports_json = ["crun", "pyoci", "runc"]\n'
        )
        user.environment["CONTAINERS_STORAGE_CONF"] = str(user.home / "storage.conf")
        user.environment["CONTAINERS_CONF"] = str(user.home / "containers.conf")
        self.flags = [
            "--root", f"{state}/graph", "--runroot", f"{state}/run", "--tmpdir", f"{state}/tmp",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "--runtime", runtime,
        ]  # fmt: skip

    def command(self, *args: str) -> list[str]:
        return [*self.place, *self.user.command("podman", *self.flags, *args)]

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            self.command(*args),
            stdin=subprocess.PIPE,  # empty: Debian's crun gives a /dev/null away to the container's root
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return finish(process)

    def ok(self, *args: str) -> str:
        done = self.call(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *args: str, network: str = "none") -> subprocess.CompletedProcess[str]:
        return self.call("run", "--network", network, *LIMITS, *args)


@pytest.fixture(scope="module")
def podman(image_tar: Path, runtime_path: str, _orphans: None) -> Iterator[Podman]:
    # Not below pytest's directory: podman wants its runroot to have at most 50 characters.
    with short_directory("user-") as name, unprivileged(Path(name)) as user:
        podman = Podman(user, runtime_path)
        user.give(Path(shutil.copy(image_tar, user.home / "image.tar")))
        podman.ok("import", "image.tar", "box")
        yield podman
        podman.ok("rm", "--all", "--force", "--time", "0")
        podman.ok("system", "migrate")  # ends the process that keeps podman's user namespace
        reap_orphans(set())


@pytest.fixture
def web(podman: Podman) -> Iterator[Podman]:
    """With a container named web that does nothing, and ends when told so."""
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    done = podman.run("--detach", "--name", "web", "box", "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    yield podman
    podman.ok("rm", "--force", "--ignore", "--time", "0", "web")


def test_the_user_is_root_inside_and_nobody_special_outside(podman: Podman) -> None:
    script = "id -u; cat /proc/self/uid_map; echo err >&2; exit 42"
    done = podman.run("--rm", "box", "/bin/sh", "-c", script)
    assert (done.returncode, done.stderr) == (42, "err\n")
    first, *rows = done.stdout.splitlines()
    assert first == "0"
    assert [row.split()[:2] for row in rows] == [["0", str(UID)], ["1", str(FIRST)]]


def test_a_service_from_run_to_rm(web: Podman) -> None:
    assert web.call("exec", "web", "/bin/sh", "-c", "exit 7").returncode == 7
    script = "id -u; echo $A"
    assert web.ok("exec", "--user", "1000", "--env", "A=b", "web", "/bin/sh", "-c", script) == "1000\nb\n"
    assert "ready" in web.ok("logs", "web")
    assert "sleep" in web.ok("top", "web", "args")
    described = web.ok("inspect", "--format", "{{.State.Status}} {{.OCIRuntime}}", "web")
    assert described == f"running {web.runtime}\n"
    web.ok("stop", "--time", str(SECONDS), "web")
    assert web.ok("inspect", "--format", "{{.State.ExitCode}}", "web") == "3\n"
    web.ok("rm", "web")
    assert web.ok("ps", "--all", "--quiet") == ""


@pytest.fixture
def screen(podman: Podman) -> Iterator[Callable[..., Screen]]:
    """His podman on a terminal of SIZE, which is his."""
    with contextlib.ExitStack() as stack:

        def begin(*args: str) -> Screen:
            made = Screen(podman.command(*args), *SIZE)
            stack.callback(made.close)
            os.fchown(made.slave, UID, -1)
            return made

        yield begin


def test_a_terminal_of_run(podman: Podman, screen: Callable[..., Screen]) -> None:
    """Its size follows ours, control-C is a signal inside, and the exit status is the program's."""
    run = screen("run", "--rm", "--network", "none", *LIMITS, "-it", "box", "/bin/sh", "-c", FOLLOWING)
    run.follows()
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_a_terminal_of_exec(web: Podman, screen: Callable[..., Screen]) -> None:
    screen("exec", "-it", "web", "/bin/sh", "-c", FOLLOWING).follows()
    assert web.ok("inspect", "--format", "{{.State.Status}}", "web") == "running\n"
    shell = screen("exec", "-it", "--user", "1000", "web", "/bin/sh")
    shell.type("id -u; echo $((6 * 7)) $TERM; exit 5\n")
    shell.expect("42 xterm")
    assert shell.finish() == 5
    assert b"1000\r\n" in shell.seen


def test_a_killed_one_can_be_started_again(web: Podman) -> None:
    web.ok("kill", "web")
    assert web.ok("wait", "web") == "137\n"
    web.ok("start", "web")
    assert web.ok("exec", "web", "/bin/echo", "again") == "again\n"


def test_his_own_id_can_be_kept(podman: Podman) -> None:
    """A user namespace in podman's, whose root may map whatever that has."""
    done = podman.run("--rm", "--userns", "keep-id", "box", "/bin/sh", "-c", "id -u; id -g")
    assert (done.returncode, done.stdout) == (0, f"{UID}\n{UID}\n"), done.stderr


def test_a_user_with_groups(podman: Podman) -> None:
    done = podman.run("--rm", "--user", "1000:1001", "--group-add", "7", "box", "/bin/id", "-G")
    assert (done.returncode, set(done.stdout.split())) == (0, {"7", "1001"}), done.stderr


def test_without_cgroups(podman: Podman) -> None:
    if Path(podman.runtime).name == "runc":
        pytest.skip("runc has no --cgroup-manager=disabled, by which podman asks for it")
    done = podman.run("--rm", "--cgroups", "disabled", "box", "/bin/true")
    assert (done.returncode, done.stderr) == (0, "")


def test_devices_are_those_of_the_host(podman: Podman) -> None:
    script = "echo x > /dev/null; head -c 3 /dev/zero | wc -c; stat -c %t:%T /dev/full /dev/fuse"
    flags = ["--device", "/dev/fuse"] if Path("/dev/fuse").exists() else []
    done = podman.run("--rm", *flags, "box", "/bin/busybox", "sh", "-c", script)
    assert done.stdout.split()[:2] == ["3", "1:7"], done.stderr
    assert done.stdout.split()[2:] == (["a:e5"] if flags else [])


def test_volumes_and_a_read_only_root(podman: Podman) -> None:
    volume = podman.user.home / "volume"
    volume.mkdir()
    podman.user.give(volume)
    flags = ["--read-only", "--tmpfs", "/etc", "-v", f"{volume}:/v", "-v", f"{volume}:/w:ro"]
    done = podman.run("--rm", *flags, "box", "/bin/sh", "-c", "touch /v/new /etc/new /x; touch /w/no")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["touch", "touch"]
    assert "/x: Read-only" in done.stderr and "/w/no: Read-only" in done.stderr
    assert (volume / "new").stat().st_uid == UID
    assert podman.run("--rm", *flags, "--user", "5:5", "box", "/bin/touch", "/v/other").returncode == 1


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (["--cap-drop", "all"], ["CapBnd:\t0000000000000000", "Seccomp:\t2"]),
        (["--security-opt", "no-new-privileges"], ["NoNewPrivs:\t1", "Seccomp:\t2"]),
        (["--security-opt", "seccomp=unconfined"], ["Seccomp:\t0"]),
        (["--pid", "host"], ["Seccomp:\t2"]),
        (["--privileged"], ["Seccomp:\t0"]),
    ],
    ids=lambda value: "-".join(value[:2]).lstrip("-"),
)
def test_what_a_process_may(podman: Podman, flags: list[str], lines: list[str]) -> None:
    done = podman.run("--rm", *flags, "box", "/bin/cat", "/proc/self/status")
    assert done.returncode == 0, done.stderr
    assert not set(lines) - set(done.stdout.splitlines())


def test_the_hosts_network(podman: Podman) -> None:
    """Whose sysfs no user namespace may have: podman asks for the host's /sys instead."""
    done = podman.run("--rm", "box", "/bin/ls", "/sys/class/net", network="host")
    assert (done.returncode, "lo" in done.stdout.split()) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("program", "status"), [("/bin/nothing", 127), ("nothing", 127), ("/etc/passwd", 126)]
)
def test_podman_knows_why_a_program_cannot_run(podman: Podman, program: str, status: int) -> None:
    done = podman.run("--rm", "box", program)
    assert done.returncode == status, done.stderr
    assert program in done.stderr or status == 126  # crun only says that it isn't permitted


def test_a_pod(podman: Podman) -> None:
    """The containers of a pod share namespaces that its first one has made."""
    podman.ok("pod", "create", "--name", "pod", "--infra-image", "box", "--infra-command", "/bin/sleep 300",
              "--share", "ipc,uts", "--network", "none", "--hostname", "pod")  # fmt: skip
    try:
        done = podman.run("--pod", "pod", "--rm", "box", "/bin/hostname")
        assert (done.returncode, done.stdout) == (0, "pod\n"), done.stderr
    finally:
        podman.ok("pod", "rm", "--force", "--time", "0", "pod")


@pytest.mark.layout
@pytest.mark.skipif(detect().mode != "v2", reason="podman delegates nothing to users where v1 is mounted")
def test_limits_in_a_delegated_cgroup(podman: Podman) -> None:
    delegated = Delegated()
    podman.place = delegated.place
    try:
        done = podman.run(
            "--detach", "--name", "limited", "--memory", "64m", "--pids-limit", "50", "--cgroup-parent",
            f"/{delegated.groups[''].name}", "box", "/bin/sleep", "300",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pid = int(podman.ok("inspect", "--format", "{{.State.Pid}}", "limited"))
        group = Path("/sys/fs/cgroup" + membership(pid)[""])
        assert delegated.groups[""] in group.parents
        assert (group / "memory.max").read_text() == f"{64 << 20}\n"
        assert (group / "pids.max").read_text() == "50\n"
        assert podman.call("exec", "limited", "/bin/sh", "-c", "exit 7").returncode == 7
        podman.ok("stop", "--time", "0", "limited")
        podman.ok("rm", "limited")
    finally:
        podman.call("rm", "--force", "--ignore", "--time", "0", "limited")
        podman.place = []
        for path in sorted(delegated.groups[""].rglob("*"), reverse=True):
            if path.is_dir() and path.name.startswith(("libpod", "conmon")):
                path.rmdir()
        delegated.remove()
