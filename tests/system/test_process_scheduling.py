"""How the container's process is run: scheduler, I/O priority, CPUs, memory, as the kernel says from outside.

tests/unit/test_property_table.py says which property which test shows.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.containers import Runtime, Sleeper, status

LIBC = ctypes.CDLL(None, use_errno=True)
SCHED_GETATTR, IOPRIO_GET = {"x86_64": (315, 252), "aarch64": (275, 31)}[os.uname().machine]


POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}


def scheduling(pid: int) -> dict[str, int]:
    """struct sched_attr, sched_getattr(2)."""
    buffer = ctypes.create_string_buffer(48)
    assert LIBC.syscall(SCHED_GETATTR, pid, buffer, 48, 0) == 0
    names = ("size", "policy", "flags", "nice", "priority", "runtime", "deadline", "period")
    return dict(zip(names, struct.unpack("=IIQiIQQQ", buffer.raw), strict=True))


def may_be_real_time() -> bool:
    """Whether a process of this cgroup may: with group scheduling each needs time of its own (sched(7))."""
    child = os.fork()
    if child == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, {"nice": 7}),
        ({"policy": "SCHED_OTHER", "nice": -7}, {"nice": -7}),
        ({"policy": "SCHED_BATCH", "nice": 3}, {"nice": 3}),
        ({"policy": "SCHED_IDLE"}, {}),
        ({"policy": "SCHED_FIFO", "priority": 4}, {"priority": 4}),
        ({"policy": "SCHED_RR", "priority": 99}, {"priority": 99}),
    ],
    ids=lambda value: value.get("policy", "").lower(),
)
def test_scheduler(scheduler: dict[str, Any], expected: dict[str, int], sleeper: Sleeper) -> None:
    if "priority" in scheduler:
        if not may_be_real_time():
            pytest.skip("the cgroup of this test has no real-time runtime")
        # Our own cgroup has some, where a new one has none.
        sleeper.runtime = WithoutCgroups(sleeper.runtime.root)
    sleeper.process["scheduler"] = scheduler
    found = scheduling(sleeper.pid())
    assert found["policy"] == POLICIES[scheduler["policy"]]
    assert {name: found[name] for name in expected} == expected


class WithoutCgroups(Runtime):
    def command(self, *args: str) -> list[str]:
        return [self.program, "--root", str(self.root), "--cgroup-manager", "disabled", *args]


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_deadline_scheduler(user: bool, sleeper: Sleeper) -> None:
    if user:
        sleeper.bundle.in_user_namespace()
    deadline = {"runtime": 2_000_000, "deadline": 30_000_000, "period": 40_000_000}
    sleeper.process["scheduler"] = {"policy": "SCHED_DEADLINE", **deadline}
    found = scheduling(sleeper.pid())
    assert found["policy"] == POLICIES["SCHED_DEADLINE"]
    assert {name: found[name] for name in deadline} == deadline


@pytest.mark.parametrize(
    ("flag", "value"),
    [("SCHED_FLAG_RESET_ON_FORK", 1), ("SCHED_FLAG_RECLAIM", 2), ("SCHED_FLAG_DL_OVERRUN", 4)],
)
def test_scheduler_flags(flag: str, value: int, sleeper: Sleeper) -> None:
    times = {"runtime": 1_000_000, "deadline": 50_000_000, "period": 50_000_000}
    sleeper.process["scheduler"] = {"policy": "SCHED_DEADLINE", "flags": [flag], **times}
    assert scheduling(sleeper.pid())["flags"] == value


@pytest.mark.parametrize("flag", ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"])
def test_scheduler_flags_that_keep(flag: str, sleeper: Sleeper) -> None:
    """The policy that the process has already; or, as the kernel sees it, all that it has."""
    sleeper.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5, "flags": [flag]}
    found = scheduling(sleeper.pid())
    assert (found["policy"], found["nice"]) == (POLICIES["SCHED_OTHER"], 5 if flag.endswith("POLICY") else 0)


@pytest.mark.parametrize(
    ("scheduler", "place"),
    [
        ({"policy": "SCHED_ISO"}, "policy"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}, "flags/0"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MAX"]}, "flags/0"),
    ],
)
def test_what_linux_or_the_specification_lacks(
    scheduler: dict[str, Any], place: str, sleeper: Sleeper
) -> None:
    sleeper.process["scheduler"] = scheduler
    assert f"/process/scheduler/{place}: " in sleeper.refused()


@pytest.mark.parametrize(("name", "number"), [("RT", 1), ("BE", 2), ("IDLE", 3)])
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_io_priority(user: bool, name: str, number: int, sleeper: Sleeper) -> None:
    if user:
        sleeper.bundle.in_user_namespace()
    sleeper.process["ioPriority"] = {"class": f"IOPRIO_CLASS_{name}", "priority": 5}
    found = LIBC.syscall(IOPRIO_GET, 1, sleeper.pid())
    assert (found >> 13, found & 7) == (number, 5)


def test_an_inherited_affinity_is_reset(sleeper: Sleeper) -> None:
    """What its caller is pinned to isn't the container's: its cpuset alone says."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one CPU only")
    os.sched_setaffinity(0, {min(allowed)})
    try:
        pid = sleeper.pid()
        assert os.sched_getaffinity(pid) == allowed
        shown = sleeper.runtime.ok("exec", "box", "grep", "Cpus_allowed_list", "/proc/self/status")
        assert shown.split()[1] == status(pid)["Cpus_allowed_list"][0]
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_caller_pinned_outside_the_cpuset_doesnt_matter(sleeper: Sleeper) -> None:
    """Neither to create nor to exec: their processes may use what the cpuset has, no less."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one CPU only")
    first, last = min(allowed), max(allowed)
    sleeper.linux["resources"] = {"cpu": {"cpus": str(first)}}
    os.sched_setaffinity(0, {last})
    try:
        assert os.sched_getaffinity(sleeper.pid()) == {first}
        shown = sleeper.runtime.ok("exec", "box", "grep", "Cpus_allowed_list", "/proc/self/status")
        assert shown.split()[1] == str(first)
    finally:
        os.sched_setaffinity(0, allowed)


def test_exec_affinity_to_more_cpus_than_the_c_library_counts(sleeper: Sleeper) -> None:
    """cpu_set_t ends at 1023; the kernel leaves out those that there aren't."""
    first = str(min(os.sched_getaffinity(0)))
    sleeper.process["execCPUAffinity"] = {"final": f"{first},1024-4000"}
    sleeper.pid()
    shown = sleeper.runtime.ok("exec", "box", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert shown.split()[1] == first


def test_exec_affinity(sleeper: Sleeper) -> None:
    """The container's own process isn't meant, and `initial` ends with the preparation."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one CPU only")
    first, last = str(min(allowed)), str(max(allowed))
    sleeper.process["execCPUAffinity"] = {"initial": first, "final": last}
    assert os.sched_getaffinity(sleeper.pid()) == allowed
    shown = sleeper.runtime.ok("exec", "box", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert shown.split()[1] == last


@pytest.mark.skipif(not shutil.which("strace"), reason="strace isn't installed")
def test_exec_affinity_while_it_is_prepared(sleeper: Sleeper, tmp_path: Path) -> None:
    """As the kernel is asked for it: `initial` before the process joins the container, then `final`."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one CPU only")
    first, last = min(allowed), max(allowed)
    sleeper.process["execCPUAffinity"] = {"initial": str(first), "final": str(last)}
    sleeper.pid()
    log = tmp_path / "calls"
    words = ["strace", "-f", "-o", str(log), "-e", "trace=sched_setaffinity,setns"]
    done = subprocess.run(
        [*words, *sleeper.runtime.command("exec", "box", "true")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = re.findall(r"(setns|sched_setaffinity)\((?:[^[)]*\[(\d+))?", log.read_text())
    assert calls == [("sched_setaffinity", str(first)), ("setns", ""), ("sched_setaffinity", str(last))]


NODES = Path("/sys/devices/system/node/has_memory")


@pytest.mark.skipif(not NODES.exists(), reason="this kernel knows no memory nodes")
@pytest.mark.parametrize(
    ("mode", "flags", "shown"),
    [
        ("DEFAULT", [], r"default"),
        ("BIND", [], r"bind:N"),
        ("BIND", ["STATIC_NODES"], r"bind=static:N"),
        ("BIND", ["RELATIVE_NODES"], r"bind=relative:N"),
        ("BIND", ["NUMA_BALANCING"], r"bind(=balancing)?:N"),
        ("INTERLEAVE", [], r"interleave:N"),
        ("WEIGHTED_INTERLEAVE", [], r"weighted interleave:N"),
        ("PREFERRED", [], r"prefer:N"),
        ("PREFERRED", ["NO NODES"], r"local"),
        ("PREFERRED_MANY", [], r"prefer \(many\):N"),
        ("LOCAL", [], r"local"),
    ],
)
def test_memory_policy(mode: str, flags: list[str], shown: str, sleeper: Sleeper) -> None:
    node = NODES.read_text().strip().split("-")[0].split(",")[0]
    sleeper.linux["memoryPolicy"] = {"mode": f"MPOL_{mode}"}
    if mode not in ("DEFAULT", "LOCAL") and flags != ["NO NODES"]:
        sleeper.linux["memoryPolicy"].update(nodes=node, flags=[f"MPOL_F_{flag}" for flag in flags])
    maps = Path(f"/proc/{sleeper.pid()}/numa_maps").read_text()
    found = re.search(r"^\S+ (.*) heap", maps, re.MULTILINE) or re.search(
        r"^\S+ (.*) stack", maps, re.MULTILINE
    )
    assert found
    assert re.match(shown.replace("N", node) + "( |$)", found[1]), found[0]


@pytest.mark.parametrize(("domain", "value"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(domain: str, value: int, sleeper: Sleeper) -> None:
    sleeper.linux["personality"] = {"domain": domain}
    assert int(Path(f"/proc/{sleeper.pid()}/personality").read_text(), 16) & 0xFF == value
