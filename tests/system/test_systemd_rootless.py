"""Without root under systemd: the user's own manager makes the container's unit, in what it was delegated."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup.layout import detect
from support.cgroups import eventually, membership
from support.containers import open_to_everyone
from support.systemd import NOT_HERE, SYSTEMD
from support.unprivileged import RootlessBundle, RootlessRuntime, User

pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(not SYSTEMD, reason=NOT_HERE),
    pytest.mark.skipif(detect().mode != "v2", reason="cgroups aren't v2 alone here"),
]

DAEMON = 1  # who is in every /etc/passwd, which systemd wants, and has no login whose manager may run already
SERVICE = f"pyoci-test-{os.getpid()}.service"
SCOPE = Path("/sys/fs/cgroup/system.slice") / SERVICE / "user.slice/pyoci-box.scope"


@pytest.fixture(scope="module")
def runtime_dir() -> Iterator[Path]:
    """Where the user's manager listens: one as of user@.service, but for the login that this would take."""
    name = SERVICE.removesuffix(".service")
    properties = {
        "User": "daemon", "Delegate": "yes", "Type": "notify", "RuntimeDirectory": name,
        "Environment": f"XDG_RUNTIME_DIR=/run/{name}",
    }  # fmt: skip
    words = [word for item in properties.items() for word in ("-p", "=".join(item))]
    command = ["systemd-run", "--quiet", f"--unit={SERVICE}", *words, "/lib/systemd/systemd", "--user"]
    subprocess.run(command, check=True, timeout=120)
    yield Path("/run", name)
    subprocess.run(["systemctl", "stop", SERVICE], check=True, timeout=120)


@pytest.fixture
def user(tmp_path: Path, runtime_dir: Path) -> User:
    open_to_everyone(tmp_path)
    user = User(tmp_path, DAEMON, DAEMON)
    user.environment["XDG_RUNTIME_DIR"] = str(runtime_dir)
    return user


@pytest.fixture
def runtime(user: User, runtime_dir: Path) -> Iterator[RootlessRuntime]:
    user.runtime_dir = runtime_dir
    runtime = RootlessRuntime(user)
    # As of a login: where the user's manager, who isn't root either, may take processes from.
    place = f"/sys/fs/cgroup/system.slice/{SERVICE}/init.scope/cgroup.procs"
    runtime.place = ["sh", "-c", f'echo $$ > {place}; exec "$@"', "sh"]
    yield runtime
    user.environment["XDG_RUNTIME_DIR"] = str(runtime_dir)
    stopped = user.call("systemctl", "--user", "stop", "user.slice")  # which outlives what was in it
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture
def bundle(user: User) -> RootlessBundle:
    return RootlessBundle(user)


def test_the_user_s_manager_makes_the_unit(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    deny_all = {"allow": False, "access": "rwm"}
    bundle.config["linux"]["resources"] = {
        "memory": {"limit": 50 << 20}, "pids": {"limit": 20}, "devices": [deny_all],
    }  # fmt: skip
    saved = str(bundle.args("sleep", "300").save())
    runtime.detached("--systemd-cgroup", "run", "--detach", "--bundle", saved, "box")
    pid = runtime.state("box")["pid"]
    assert membership(pid) == {"": str(SCOPE).removeprefix("/sys/fs/cgroup")}
    assert [(SCOPE / name).read_text() for name in ("memory.max", "pids.max")] == [f"{50 << 20}\n", "20\n"]
    shown = runtime.user.call("systemctl", "--user", "show", SCOPE.name, "--property=TasksMax,MemoryMax")
    assert set(shown.stdout.split()) == {"TasksMax=20", f"MemoryMax={50 << 20}"}, shown.stderr
    runtime.ok("update", "--pids-limit", "30", "box")
    assert (SCOPE / "pids.max").read_text() == "30\n"
    assert runtime.ok("exec", "box", "id", "-u") == "0\n"
    runtime.ok("pause", "box")
    assert runtime.state("box")["status"] == "paused"
    runtime.ok("resume", "box")
    runtime.ok("kill", "box", "KILL")
    eventually(lambda: runtime.state("box")["status"] == "stopped")
    runtime.ok("delete", "box")
    assert not SCOPE.exists()
    gone = runtime.user.call("systemctl", "--user", "show", SCOPE.name, "--property=LoadState")
    assert gone.stdout == "LoadState=not-found\n"


def test_a_limit_holds(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    bundle.config["linux"]["resources"] = {"pids": {"limit": 1}}
    bundle.shell("true & wait; echo forked")
    done = runtime.call("--systemd-cgroup", "run", "--bundle", str(bundle.save()), "box")
    assert "forked" not in done.stdout and "can't fork" in done.stderr
    assert not SCOPE.exists()


def test_without_a_session_the_remedy_is_named(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """Where other runtimes say that interactive authentication is required."""
    runtime.user.environment["XDG_RUNTIME_DIR"] = str(runtime.user.home)
    saved = str(bundle.args("true").save())
    done = runtime.call("--systemd-cgroup", "run", "--bundle", saved, "box")
    assert done.returncode == 1
    assert f"can't reach systemd at {runtime.user.home}/systemd/private" in done.stderr
    assert "no systemd of user 1 runs: log in, or have root say `loginctl enable-linger`" in done.stderr
    assert "or use --cgroup-manager cgroupfs" in done.stderr
    runtime.ok("--cgroup-manager", "cgroupfs", "run", "--bundle", saved, "box")
