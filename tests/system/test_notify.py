"""NOTIFY_SOCKET: a container that says it is ready, and a service manager that hears of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import SECONDS, Bundle, Runtime
from support.service_manager import Manager, build_say


@pytest.fixture(scope="session")
def say(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_say(tmp_path_factory.mktemp("say"))


@pytest.fixture
def notifying(bundle: Bundle, say: Path) -> Bundle:
    shutil.copy(say, bundle.rootfs / "bin/say")
    return bundle


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "manager") if request.param == "path" else f"@pyoci-{os.getpid()}")
    yield manager
    if manager.thread.is_alive():
        manager.close()


def call(runtime: Runtime, manager: Manager, *words: str, **options: Any) -> int:
    """A command of a caller that has the manager's socket."""
    return subprocess.run(
        runtime.command(*words), env=manager.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, timeout=SECONDS, check=False, **options,
    ).returncode  # fmt: skip


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("mapped", [False, True])
def test_start_returns_when_the_container_is_ready(
    runtime: Runtime, notifying: Bundle, manager: Manager, user: int, mapped: bool
) -> None:
    notifying.config["process"]["user"] = {"uid": user, "gid": user}
    if mapped:
        notifying.in_user_namespace()
        (notifying.rootfs / "run").mkdir()
        os.chown(notifying.rootfs / "run", 100000, 100000)  # as in an image made for it
    messages = "'STATUS=warming up' 'X_SECRET=1\nMAINPID=1\nREADY=1\nFDSTORE=1' STATUS=late"
    path = notifying.shell(f"say {messages}; exec sleep 600").save()
    assert call(runtime, manager, "create", "--bundle", str(path), "one") == 0
    assert manager.heard == []
    assert call(runtime, manager, "start", "one") == 0
    pid = runtime.state("one")["pid"]
    heard = manager.close()
    assert heard[:2] == ["STATUS=warming up", f"READY=1\nMAINPID={pid}"]
    assert "BARRIER=1" in heard[2:]
    assert os.listdir(runtime.root / "one/notify") == []
    runtime.ok("delete", "--force", "one")


def test_start_without_the_callers_variable(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    """Engines' create and start have different environments: what create promised is kept."""
    path = notifying.shell("say READY=1; exec sleep 600").save()
    assert call(runtime, manager, "create", "--bundle", str(path), "one") == 0
    runtime.ok("start", "one")
    pid = runtime.state("one")["pid"]
    assert manager.close() == [f"READY=1\nMAINPID={pid}", "BARRIER=1"]
    runtime.ok("delete", "--force", "one")


def test_a_container_that_ends_before_it_is_ready(
    runtime: Runtime, notifying: Bundle, manager: Manager
) -> None:
    path = notifying.shell("say STATUS=failing").save()
    assert call(runtime, manager, "create", "--bundle", str(path), "one") == 0
    assert call(runtime, manager, "start", "one") == 0
    assert manager.close() == ["STATUS=failing"]
    runtime.ok("delete", "--force", "one")


def test_it_can_be_killed_while_start_waits(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    path = notifying.args("sleep", "600").save()
    assert call(runtime, manager, "create", "--bundle", str(path), "one") == 0
    waiting = subprocess.Popen(runtime.command("start", "one"), env=manager.environment())
    while runtime.state("one")["status"] != "running":
        continue
    runtime.ok("kill", "one", "KILL")
    assert waiting.wait(SECONDS) == 0
    runtime.ok("delete", "--force", "one")


def test_a_detached_run(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    path = notifying.shell("say READY=1; exec sleep 600").save()
    assert call(runtime, manager, "run", "-d", "--bundle", str(path), "one") == 0
    pid = runtime.state("one")["pid"]
    assert manager.close() == [f"READY=1\nMAINPID={pid}", "BARRIER=1"]
    runtime.ok("delete", "--force", "one")


def test_in_the_foreground_everything_is_passed_on(
    runtime: Runtime, notifying: Bundle, manager: Manager
) -> None:
    """Until the container's end, also what it says last."""
    path = notifying.shell("say READY=1 STATUS=up; say STOPPING=1; exit 5").save()
    assert call(runtime, manager, "run", "--bundle", str(path), "one") == 5
    ready, *others = manager.close()
    assert ready.startswith("READY=1\nMAINPID=")
    assert others == ["STATUS=up", "STOPPING=1"]


def test_a_socket_that_the_configuration_arranges(
    runtime: Runtime, notifying: Bundle, manager: Manager
) -> None:
    """As podman's does: pyoci keeps out of it."""
    notifying.config["process"]["env"].append("NOTIFY_SOCKET=/elsewhere")
    path = notifying.shell("test $NOTIFY_SOCKET = /elsewhere && test ! -e /run/notify").save()
    assert call(runtime, manager, "run", "--bundle", str(path), "one") == 0
    assert manager.close() == []


def test_without_a_service_manager(runtime: Runtime, notifying: Bundle) -> None:
    path = notifying.shell('test -z "$NOTIFY_SOCKET" && test ! -e /run/notify').save()
    assert runtime.call("run", "--bundle", str(path), "one").returncode == 0


def test_nobody_listens(runtime: Runtime, notifying: Bundle, tmp_path: Path) -> None:
    """The container runs; that nobody has heard it is worth a warning."""
    path = notifying.shell("say READY=1").save()
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody")}
    done = runtime.call("run", "--bundle", str(path), "one", env=environment)
    assert done.returncode == 0
    assert f"can't notify the service manager at {tmp_path}/nobody" in done.stderr


def test_what_a_hostile_container_leaves_there(
    runtime: Runtime, notifying: Bundle, manager: Manager, tmp_path: Path
) -> None:
    """A container that may mount makes the directory writable, and puts a link where the socket will be."""
    (tmp_path / "victim").write_text("kept")
    capabilities = notifying.config["process"]["capabilities"]
    for names in capabilities.values():
        names.append("CAP_SYS_ADMIN")
    script = f"""
        mount -o remount,rw,bind /run/notify || exit 9
        cd /run/notify
        busybox mkdir -p a/b; busybox ln -s {tmp_path} a/link; busybox ln -s {tmp_path}/victim victim
        exec sleep 600
    """
    path = notifying.shell(script).save()
    words = runtime.command("run", "--bundle", str(path), "one")
    process = subprocess.Popen(words, env=manager.environment())
    made = runtime.root / "one/notify/victim"
    while not made.is_symlink():
        assert process.poll() is None
    runtime.ok("delete", "--force", "one", own={process.pid})
    assert process.wait(SECONDS) == 137
    assert (tmp_path / "victim").read_text() == "kept"
