"""SCMP_ACT_NOTIFY: what an agent at linux.seccomp.listenerPath gets, and what its answers do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from errno import EINTR, ENOSYS
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime
from support.seccomp_agent import Agent, Notification
from support.seccomp_profiles import LIBRARY, NATIVE, TOKENS

CALL = "dup3"
NUMBER = LIBRARY.number(CALL, TOKENS[NATIVE])
METADATA = "MKNOD=/dev/null;¾"


def deny(notification: Notification) -> int:
    """An errno by the number of the call, as nothing but the agent would know it."""
    return 77 if notification.number == NUMBER else 78


@pytest.fixture
def notified(bundle: Bundle, syscalls: Path, tmp_path: Path) -> Iterator[Bundle]:
    shutil.copy(syscalls, bundle.rootfs / "bin/syscalls")
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "agent"),
        "listenerMetadata": METADATA,
        "syscalls": [{"names": [CALL], "action": "SCMP_ACT_NOTIFY"}],
    }
    bundle.config["annotations"] = {"org.example.key": "value"}
    yield bundle


def section(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = bundle.config["linux"]["seccomp"]
    return found


@pytest.mark.parametrize("new_privileges", [False, True])
def test_the_agent_answers(runtime: Runtime, notified: Bundle, tmp_path: Path, new_privileges: bool) -> None:
    """One state with one descriptor on one connection, exactly as the specification describes it."""
    notified.config["process"]["noNewPrivileges"] = not new_privileges
    pid_file = tmp_path / "pid"
    with Agent(tmp_path / "agent", deny) as agent:
        notified.args("syscalls", str(NUMBER), "39")
        out = runtime.ok("run", "--bundle", str(notified.save()), "--pid-file", str(pid_file), "box")
    assert out == "77\n0\n"
    pid = int(pid_file.read_text())
    assert agent.descriptors == [1]
    assert agent.states == [
        {
            "ociVersion": "1.3.0",
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": METADATA,
            "state": {
                "ociVersion": "1.3.0",
                "id": "box",
                "status": "creating",
                "pid": pid,
                "bundle": str(notified.path),
                "annotations": {"org.example.key": "value"},
            },
        }
    ]


def test_create_start_and_exec(runtime: Runtime, notified: Bundle, tmp_path: Path) -> None:
    """Each process with a filter of its own has a listener of its own, on a connection of its own."""
    with Agent(tmp_path / "agent", deny) as agent:
        runtime.create(notified.args("sleep", "300"), "box")
        runtime.ok("start", "box")
        pid_file = tmp_path / "pid"
        out = runtime.ok("exec", "--pid-file", str(pid_file), "box", "syscalls", str(NUMBER))
        assert out == "77\n"
        first = runtime.state("box")["pid"]
        runtime.ok("delete", "--force", "box")
    pids = [(state["pid"], state["state"]["pid"], state["state"]["status"]) for state in agent.states]
    assert pids == [(first, first, "creating"), (int(pid_file.read_text()), first, "running")]
    assert agent.descriptors == [1, 1]


def test_without_metadata_there_is_none(runtime: Runtime, notified: Bundle, tmp_path: Path) -> None:
    del section(notified)["listenerMetadata"]
    with Agent(tmp_path / "agent", deny) as agent:
        runtime.ok("run", "--bundle", str(notified.args("true").save()), "box")
    (state,) = agent.states
    assert "metadata" not in state


def test_a_long_path_and_much_to_say(runtime: Runtime, notified: Bundle, tmp_path: Path) -> None:
    """Longer than a socket's address may be, and more than a socket holds."""
    path = tmp_path / ("d" * 100) / ("e" * 100) / "agent"
    path.parent.mkdir(parents=True)
    section(notified).update(listenerPath=str(path), listenerMetadata="m" * 1_000_000)
    with Agent(path, deny) as agent:
        notified.args("syscalls", str(NUMBER))
        assert runtime.ok("run", "--bundle", str(notified.save()), "box") == "77\n"
    (state,) = agent.states
    assert state["metadata"] == "m" * 1_000_000


def test_calls_that_starting_a_program_takes_can_be_notified(
    runtime: Runtime, notified: Bundle, tmp_path: Path
) -> None:
    """The agent has the listener before they are made, execve among them."""
    section(notified)["syscalls"][0]["names"] += ["execve", "brk", "close", "sendmsg", "sendto"]
    seen = []

    def permit(notification: Notification) -> int:
        seen.append(notification.number)
        return 1

    with Agent(tmp_path / "agent", permit):
        done = runtime.call("run", "--bundle", str(notified.args("true").save()), "box")
    assert done.returncode != 0
    assert "operation not permitted" in done.stderr
    assert LIBRARY.number("execve", TOKENS[NATIVE]) in seen


@pytest.mark.parametrize("killable", [False, True])
def test_a_notified_call_can_be_made_to_wait(
    runtime: Runtime, notified: Bundle, tmp_path: Path, killable: bool
) -> None:
    """WAIT_KILLABLE_RECV: once the agent has the call, a signal that doesn't kill no longer interrupts it."""
    section(notified)["flags"] = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] if killable else []
    valid = []

    def interrupt(notification: Notification) -> int:
        if not valid:
            os.kill(notification.pid, signal.SIGUSR1)
            deadline = time.monotonic() + (0.3 if killable else 10)
            while notification.valid() and time.monotonic() < deadline:
                time.sleep(0.01)
            valid.append(notification.valid())
        return 77

    with Agent(tmp_path / "agent", interrupt):
        out = runtime.ok("run", "--bundle", str(notified.args("syscalls", str(NUMBER)).save()), "box")
    assert valid == [killable]
    assert out == ("77\n" if killable else f"{EINTR}\n")


def test_where_nobody_listens(runtime: Runtime, notified: Bundle, tmp_path: Path) -> None:
    done = runtime.call("run", "--bundle", str(notified.save()), "box")
    assert done.returncode == 1
    assert f"/linux/seccomp/listenerPath: can't connect to {tmp_path}/agent: no such file" in done.stderr
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "agent"))
        done = runtime.call("run", "--bundle", str(notified.save()), "box")
        assert done.returncode == 1
        assert "connection refused" in done.stderr
    assert runtime.ok("list", "-q") == ""


def test_an_agent_that_hangs_up(runtime: Runtime, notified: Bundle, tmp_path: Path) -> None:
    """Calls that nobody can answer any more don't exist (seccomp_unotify(2))."""
    script = f"while [ ! -e /go ]; do sleep 0.1; done; syscalls {NUMBER} > /said; sleep 300"
    with Agent(tmp_path / "agent", deny):
        runtime.create(notified.shell(script), "box")
        runtime.ok("start", "box")
    (notified.rootfs / "go").touch()
    said, deadline = notified.rootfs / "said", time.monotonic() + 30
    while not (said.exists() and said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert said.read_text() == f"{ENOSYS}\n"
    runtime.ok("delete", "--force", "box")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "as the default action": ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/linux/seccomp/defaultAction"),
    "for write": (
        {"syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]},
        "/linux/seccomp/syscalls/0/names",
    ),
    "without a listener": ({"listenerPath": None}, "/linux/seccomp/listenerPath"),
    "with metadata for nobody": (
        {"listenerPath": None, "syscalls": []},
        "/linux/seccomp/listenerMetadata",
    ),
    "with an errno": (
        {"syscalls": [{"names": [CALL], "action": "SCMP_ACT_NOTIFY", "errnoRet": 1}]},
        "/linux/seccomp/syscalls/0/errnoRet",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(runtime: Runtime, notified: Bundle, case: str) -> None:
    change, pointer = REFUSED[case]
    config = {key: value for key, value in {**section(notified), **change}.items() if value is not None}
    notified.config["linux"]["seccomp"] = config
    done = runtime.call("create", "--bundle", str(notified.save()), "box")
    assert done.returncode == 1
    assert f"{pointer}: " in done.stderr


def test_a_listener_without_notify_is_ignored(runtime: Runtime, notified: Bundle) -> None:
    section(notified)["syscalls"][0]["action"] = "SCMP_ACT_ERRNO"
    assert runtime.ok("run", "--bundle", str(notified.args("syscalls", str(NUMBER)).save()), "box") == "1\n"
