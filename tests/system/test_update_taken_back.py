"""`pyoci update` that is refused or killed half-way: what it has changed is taken back."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import pytest

from pyoci.cgroup.layout import Layout
from support.cgroups import eventually
from support.containers import Bundle, Runtime
from support.updated import DENY, FILES, KMSG, NO_DISK, ON_V2, OPEN, Box, running

pytestmark = pytest.mark.layout

MIB = 1 << 20


def test_what_was_changed_is_put_back_when_something_is_refused(box: Box) -> None:
    box.apply({"cpu": {"shares": 1024, "quota": 50000}, "memory": {"limit": 64 * MIB, "swap": 96 * MIB}})
    limits, saved = box.limits(), box.saved()
    said = box.refused(
        {
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"},
            "memory": {"limit": 128 * MIB, "swap": 128 * MIB, "reservation": MIB},
            "pids": {"limit": 5},
            "blockIO": {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]},
        }
    )
    file = "io.max" if ON_V2 else "blkio.throttle.read_bps_device"
    assert f"/blockIO/throttleReadBpsDevice/0: the kernel refused '511:1 {'rbps=' if ON_V2 else ''}5'" in said
    assert f"for {file} in /" in said
    assert "put back as it was" in said
    for name in ("shares", "quota", "cpus", "limit", "swap", "reservation", "pids"):
        assert FILES[name][ON_V2].removesuffix(".effective") in said
    assert "NOT" not in said
    assert box.limits() == limits
    assert box.saved() == saved


# ------------------------------------------------------------------ killed half-way

# Of the calls by which pyoci changes something, every how many are tried: v2 is had by emulation, slowly.
KILLED_AT = [("write", 6 if ON_V2 else 1), ("renameat", 7 if ON_V2 else 4), ("unlinkat", 1)]


def test_an_update_that_was_killed_is_put_back_by_the_next_command(
    runtime: Runtime, bundle: Bundle, here: Layout
) -> None:
    """At each of its writes: all is as it was before, or, from its end on, as it was asked for."""
    bundle.config["linux"]["devices"] = [{"path": "/dev/kmsg", **KMSG}]
    old: dict[str, Any] = {
        "devices": [DENY],
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "idle": 0},
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
        "pids": {"limit": 50},
    }
    new: dict[str, Any] = {
        "devices": [{"allow": True}],
        "cpu": {"idle": 1, "quota": 80000, "period": 200000, "burst": 1000},
        "memory": {"limit": 128 * MIB, "swap": 128 * MIB, "reservation": MIB},
        "pids": {"limit": 70},
    }
    bundle.config["linux"]["resources"] = old
    path = bundle.path / "new.json"
    path.write_text(json.dumps(new))
    verbs = itertools.cycle([["resume"], ["pause"], ["update", "-r", "-"]])

    def found(box: Box) -> tuple[Any, ...]:
        return box.limits(), box.saved(), box.can(OPEN)

    with running(runtime, bundle, here) as box:
        before = found(box)
        box.update("--resources", str(path))
        after = found(box)
        assert [was != then for was, then in zip(before, after, strict=True)] == [True, True, True]
        back = {**old, "cpu": {**old["cpu"], "burst": 0}, "memory": {**old["memory"], "reservation": -1}}
        box.apply(back)
        kept, undo = found(box), runtime.root / "box/update.undo"
        interrupted = 0
        for call, step in KILLED_AT:
            for number in itertools.count(1, step):
                status = killed_at(call, number, runtime.command("update", "--resources", str(path), "box"))
                verb = next(verbs)
                half_way = undo.exists()
                interrupted += half_way
                done = runtime.call(*verb, "box", input="{}")
                if half_way:
                    assert done.returncode == (1 if verb == ["resume"] and "not paused" in done.stderr else 0)
                    assert "an update of box was interrupted" in done.stderr
                    assert "NOT" not in done.stderr
                assert not undo.exists()
                if verb == ["pause"]:
                    runtime.ok("resume", "box")
                assert runtime.state("box")["status"] == "running"
                now = found(box)
                assert now in ((kept,) if half_way or (status == -9 and number == 1) else (kept, after)), (
                    call,
                    number,
                )
                if now == after:
                    box.apply(back)
                    assert found(box) == kept
                if status == 0:
                    break
        assert interrupted > (3 if ON_V2 else 10)


def killed_at(call: str, number: int, command: list[str]) -> int:
    """The exit status of a command that gets SIGKILL before a system call, the last one that it makes."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    tracing = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    done = subprocess.run([*tracing, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -9, 137), done.stderr
    return -9 if done.returncode else 0


def test_a_stopped_container_with_half_an_update_is_deleted(box: Box) -> None:
    command = box.runtime.command("update", "--pids-limit", "40", "--cpu-share", "512", "box")
    undo = box.runtime.root / "box/update.undo"
    for number in itertools.count(1):
        assert killed_at("write", number, command) == -9
        if undo.exists():
            break
    box.runtime.ok("kill", "box", "KILL")
    eventually(lambda: box.runtime.state("box")["status"] == "stopped")
    assert "container not running" in box.runtime.call("update", "--pids-limit", "41", "box").stderr
    box.runtime.ok("delete", "box")
    assert not undo.parent.exists()
