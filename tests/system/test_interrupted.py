"""SIGKILL in the middle of create, at any point: what is left, `delete --force` removes entirely."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from support.containers import Bundle, Runtime
from support.leftovers import Before

# The calls by which something comes into being, is written down, or is answered; with the number of
# the call in pyoci's own process. Beyond the last one nothing is injected, and create succeeds.
CALLS = [
    *(("mkdir", n) for n in range(1, 16)),
    *(("renameat", n) for n in range(1, 6)),
    *(("bind", 1), ("listen", 1), ("clone3", 1), ("socketpair", 1)),
    *(("memfd_create", n) for n in (1, 2)),
    *(("recvmsg", n) for n in range(1, 4)),
    *(("sendto", n) for n in range(1, 4)),
    *(("write", n) for n in range(1, 40, 3)),
    *(("openat", n) for n in range(4, 76, 6)),
    *(("close", n) for n in range(4, 120, 9)),
]


@pytest.mark.parametrize(("call", "number"), CALLS)
def test_killed_at_a_system_call(runtime: Runtime, bundle: Bundle, call: str, number: int) -> None:
    before = Before()
    command = [
        "strace", "-qq", "-o", str(bundle.path / "trace"), "-e", f"trace={call}",
        "-e", f"inject={call}:signal=SIGKILL:when={number}",
        *runtime.command("create", "--bundle", str(bundle.args("sleep", "60").save()), "one"),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -9, 137), "it ran to its end, or was killed"
    runtime.ok("delete", "--force", "one")
    assert before.left() == []


@pytest.mark.parametrize("share", range(12))
def test_killed_at_a_time(runtime: Runtime, bundle: Bundle, share: int) -> None:
    """Sweeps over the time that one whole create takes here."""
    command = runtime.command("create", "--bundle", str(bundle.args("sleep", "60").save()), "one")
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    start = time.monotonic()
    subprocess.run(command, check=True, **nowhere)
    whole = time.monotonic() - start
    runtime.ok("delete", "one")
    for part in range(5):
        process = subprocess.Popen(command, **nowhere)
        time.sleep(whole * (share + part / 5) / 12)
        process.kill()
        process.wait()
        runtime.ok("delete", "--force", "one")


def test_killed_while_a_hook_runs(runtime: Runtime, bundle: Bundle) -> None:
    marker = bundle.path / "hook-runs"
    script = f"touch {marker}; exec sleep 60"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    }
    process = subprocess.Popen(
        runtime.command("create", "--bundle", str(bundle.save()), "one"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert runtime.state("one")["status"] == "creating"
    process.kill()
    process.wait()
    runtime.ok("delete", "--force", "one")


def test_strace_is_there() -> None:
    assert shutil.which("strace"), "apt-get install strace"
