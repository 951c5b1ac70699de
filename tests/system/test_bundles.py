"""The ready bundles do what bundles/README.md says of them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.containers import REPOSITORY, Runtime, open_to_everyone

BUNDLES = REPOSITORY / "bundles"
SECONDS = 30

# What the answer to each broken bundle must say.
ANSWERS = {
    "broken-json": ["config.json:9:5"],
    "broken-schema": [
        "/ociVersion", "/process/user/uid", "/mounts/1/destination", "/linux/resources/memory/limit",
        "/linux/resources/pids/limit",
    ],
    "broken-contradiction": ["/hostname", "uts"],
    "broken-program": ["/process/args/0", "no-such-program"],
    "broken-permission": ["/process/args/0", "/opt/broken/text"],
    "broken-script": ["/process/args/0", "/no/such/interpreter"],
    "broken-interpreter": ["/process/args/0", "/lib/no-such-loader.so"],
    "broken-rootfs": ["/root/path", "no-such-rootfs"],
    "broken-mount": ["/mounts/1", "/no/such/directory"],
    "broken-namespace": ["/linux/namespaces/0/path", "/no/such/namespace"],
    "broken-hook": ["/hooks/createRuntime/0", "status 3", "the network is not there"],
    "broken-cgroup": ["/linux/resources/cpu/cpus", "4096"],
}  # fmt: skip


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of bundles/ with its root filesystem made; users of the host's may come here."""
    directory = tmp_path_factory.mktemp("bundles") / "bundles"
    shutil.copytree(BUNDLES, directory, ignore=shutil.ignore_patterns("rootfs"))
    open_to_everyone(directory)
    subprocess.run([sys.executable, directory / "make.py"], check=True, stdout=subprocess.DEVNULL)
    return directory


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until condition holds. Fails after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_every_bundle_is_in_the_readme_and_here() -> None:
    named = set(re.findall(r"^\| `([a-z-]+)` \|", (BUNDLES / "README.md").read_text(), re.MULTILINE))
    there = {path.parent.name for path in BUNDLES.glob("*/config.json")}
    assert named == there
    assert {name for name in there if name.startswith("broken-")} == set(ANSWERS)


def test_hello(runtime: Runtime, bundles: Path) -> None:
    assert (
        runtime.ok("run", "--bundle", str(bundles / "hello"), "hello") == "Hello from inside a container.\n"
    )


@pytest.mark.layout
def test_everything(runtime: Runtime, bundles: Path) -> None:
    done = runtime.call("run", "--bundle", str(bundles / "everything"), "everything")
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == [
        "greeting everything",
        "ids 1000:1000 groups 1000 5 100",
        "umask 0027",
        "cwd /tmp/work/deep",
        "hostname everything domainname example.org",
        "nofile 512:1024 core 0",
        "oom 100",
        "CapEff: 0000000000000020 NoNewPrivs: 1 Seccomp: 2 ",
        "machine 0 nice 5 best-effort: prio 6",
        "mapped 0 100000 65536",
        "offset boottime 86400 5",
        "memory 1",
        "forward 1",
        "fuse character special file a:e5",
        "fifo fifo 660 1000:100",
        "secret 1",
        "touch: /everything/file: Read-only file system",
        "mkdir: can't create directory '/tmp/directory': Operation not permitted",
        "touch: /file: Read-only file system",
    ]


def test_service_stops_when_asked(runtime: Runtime, bundles: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        command = runtime.command("run", "--bundle", str(bundles / "service"), "service")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    wait_for(lambda: output.read_text() == "ready\n")
    assert runtime.state("service")["status"] == "running"
    runtime.ok("kill", "service", "TERM")
    assert process.wait(SECONDS) == 0
    assert output.read_text() == "ready\nstopping\n"


def test_shell_on_a_terminal(runtime: Runtime, bundles: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = runtime.command("run", "--bundle", str(bundles / "shell"), "shell")
        os.execv(command[0], command)
    written = b""

    def sees(text: bytes) -> bool:
        nonlocal written
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                written += os.read(terminal, 4096)
            except OSError:  # the other end is closed
                return True
        return text in written

    try:
        wait_for(lambda: sees(b"# "))
        os.write(terminal, b"tty && echo $((6 * 7)); exit 5\n")
        wait_for(lambda: sees(b"\n42"))
        assert b"/dev/pts/0" in written or b"/dev/console" in written
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        runtime.call("delete", "--force", "shell")
        raise
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5


@pytest.mark.parametrize("name", list(ANSWERS))
def test_broken_bundle_is_answered(name: str, runtime: Runtime, bundles: Path) -> None:
    done = runtime.call("run", "--bundle", str(bundles / name), name)
    assert done.returncode == 1
    assert done.stdout == ""
    assert [phrase for phrase in ANSWERS[name] if phrase not in done.stderr] == [], done.stderr
    assert "internal error" not in done.stderr
    assert runtime.ok("list", "-q") == ""


@pytest.mark.parametrize("name", ["broken-schema", "broken-mount", "broken-hook", "broken-cgroup"])
def test_create_answers_as_run_does(name: str, runtime: Runtime, bundles: Path) -> None:
    done = runtime.call("create", "--bundle", str(bundles / name), name)
    assert done.returncode == 1
    assert [phrase for phrase in ANSWERS[name] if phrase not in done.stderr] == [], done.stderr


def test_root_filesystem_is_whole(bundles: Path) -> None:
    root = bundles / "rootfs"
    dangling = [
        link
        for link in root.rglob("*")
        if link.is_symlink() and not (link.parent / os.readlink(link)).exists()
    ]
    assert dangling == []
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert json.loads((bundles / "hello/config.json").read_text())["root"]["path"] == "../rootfs"
