"""`pyoci update`: limits changed in a living container, beside runc and crun, and taken back if one fails."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout, manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from support.cgroups import eventually, in_mode, layouts, value
from support.containers import Bundle, Runtime
from support.limited import disk

pytestmark = pytest.mark.layout

MIB = 1 << 20
NO_DISK = {"major": 511, "minor": 1}
HERE = layout.detect()
ON_V2 = HERE.mode == "v2"


class Box:
    """A container that sleeps, and its cgroups."""

    def __init__(self, runtime: Runtime, bundle: Bundle, group: Manager) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.group = group

    def update(self, *flags: str, **options: Any) -> None:
        self.runtime.ok("update", *flags, "box", **options)

    def resources(self, wanted: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.runtime.call("update", "-r", "-", "box", input=json.dumps(wanted))

    def apply(self, wanted: dict[str, Any]) -> None:
        done = self.resources(wanted)
        assert (done.returncode, done.stderr) == (0, "")

    def refused(self, wanted: dict[str, Any]) -> str:
        done = self.resources(wanted)
        assert done.returncode == 1
        return done.stderr

    def value(self, v1: str, v2: str) -> str:
        """What is in the file that the container's cgroup has of these two."""
        file = v2 if ON_V2 else v1
        return value(self.group, "" if ON_V2 else file.partition(".")[0], file)

    def limits(self) -> dict[str, str]:
        return {name: self.value(*files) for name, files in FILES.items() if files[ON_V2]}

    def saved(self) -> dict[str, Any]:
        config = json.loads((self.runtime.root / "box/config.json").read_text())
        resources: dict[str, Any] = config["linux"].get("resources", {})
        return resources

    def can(self, script: str) -> bool:
        return self.runtime.call("exec", "box", "sh", "-c", script).returncode == 0


FILES = {
    "limit": ("memory.limit_in_bytes", "memory.max"),
    "swap": ("memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory.soft_limit_in_bytes", "memory.low"),
    "shares": ("cpu.shares", "cpu.weight"),
    "quota": ("cpu.cfs_quota_us", "cpu.max"),
    "period": ("cpu.cfs_period_us", ""),
    "burst": ("cpu.cfs_burst_us", "cpu.max.burst"),
    "idle": ("cpu.idle", "cpu.idle"),
    "cpus": ("cpuset.cpus", "cpuset.cpus.effective"),
    "mems": ("cpuset.mems", "cpuset.mems.effective"),
    "pids": ("pids.max", "pids.max"),
}


@contextlib.contextmanager
def running(
    runtime: Runtime, bundle: Bundle, here: Layout, verb: str = "run", below: str = ""
) -> Iterator[Box]:
    name = f"/pyoci-test-{os.getpid()}{below}"
    bundle.config["linux"]["cgroupsPath"] = name
    saved = str(bundle.args("sleep", "1000").save())
    runtime.detached(verb, *(["--detach"] if verb == "run" else []), "--bundle", saved, "box")
    try:
        yield Box(runtime, bundle, manager.new(here, name, "unused"))
    finally:
        runtime.call("delete", "--force", "box")


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle, here: Layout) -> Iterator[Box]:
    with running(runtime, bundle, here) as made:
        yield made


# ------------------------------------------------------------------ what the flags do

# One after the other in the same container: each changes what it names, and nothing else.
STEPS = [
    ["--memory", str(512 * MIB), "--memory-swap", str(1024 * MIB), "--memory-reservation", str(100 * MIB)],
    ["--memory", str(64 * MIB), "--memory-swap", str(64 * MIB)],
    ["--memory", str(2048 * MIB), "--memory-swap", "-1"],
    ["--memory", str(100 * MIB)],
    ["--cpu-quota", "50000", "--cpu-period", "20000"],
    ["--cpu-period", "50000"],
    ["--cpu-quota", "20000"],
    ["--cpu-quota", "-1"],
    ["--cpu-share", "512"],
    ["--cpuset-cpus", "0", "--cpuset-mems", "0"],
    ["--pids-limit", "77"],
    ["--pids-limit", "0"],
    ["--pids-limit", "-1"],
    ["--memory", "0", "--cpu-share", "0", "--cpu-quota", "0"],
]
RUNC_SHARES = ["--cpu-share", "512"]  # on v2 by another formula since runc 1.3
ZEROS = STEPS[-1]
# Steps that Debian's versions can't do, or do otherwise, by the kind of cgroups.
OTHERS = {
    ("runc", "v1"): [],
    ("runc", "v2"): [RUNC_SHARES],
    # crun 1.8.1 takes -1 for a large number and 0 for a value; of quota and period it forgets the other.
    ("crun", "v1"): [["--cpu-quota", "-1"], ["--pids-limit", "-1"], ZEROS],
    ("crun", "v2"): [
        RUNC_SHARES,
        ["--cpu-period", "50000"],
        ["--cpu-quota", "20000"],
        ["--cpu-quota", "-1"],
        ZEROS,
    ],
}


@pytest.mark.parametrize("other", ["runc", "crun"])
def test_flags_do_what_runcs_and_cruns_do(
    tmp_path: Path, runtime: Runtime, bundle: Bundle, other: str
) -> None:
    program = shutil.which(other)
    if not program:
        pytest.skip(f"{other} isn't installed")
    steps = [flags for flags in STEPS if flags not in OTHERS[other, "v2" if ON_V2 else "v1"]]
    bundle.config["ociVersion"] = "1.0.2"  # the latest that Debian's crun knows
    seen = []
    with in_mode(layouts()[-1]) as here:  # Debian's crun refuses a hybrid layout
        for candidate in (runtime, Runtime(tmp_path / "other", program)):
            with running(candidate, bundle, here) as made:
                found = []
                for flags in steps:
                    made.update(*flags)
                    found.append((flags, made.limits()))
                seen.append(found)
    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs


def test_flags(box: Box) -> None:
    """Also those that neither runc's nor crun's versions in Debian have."""
    box.update("--memory=32m", "--memory-swap", "1.5g", "--memory-reservation", "16 MiB")
    box.update("--cpu-quota=40000", "--cpu-period=80000", "--cpu-burst=30000", "--cpu-share=1024")
    box.update("--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "50")
    expected = {
        "limit": str(32 * MIB),
        "swap": str((1536 - 32 if ON_V2 else 1536) * MIB),
        "reservation": str(16 * MIB),
        "shares": "100" if ON_V2 else "1024",
        "quota": "40000 80000" if ON_V2 else "40000",
        "burst": "30000",
        "idle": "0",
        "cpus": "0",
        "mems": "0",
        "pids": "50",
    } | ({} if ON_V2 else {"period": "80000"})
    assert box.limits() == expected
    box.update("--cpu-quota", "9000", "--cpu-burst", "9000", "--cpu-period", "100000")
    box.update("--cpu-idle", "1")
    assert box.value("cpu.idle", "cpu.idle") == "1"
    box.update("--cpu-idle", "0", "--cpu-share", "2048")
    assert box.limits()["shares"] == ("174" if ON_V2 else "2048")
    assert box.limits()["burst"] == "9000"
    box.update("--memory", "-1")
    limits = box.limits()
    for name in ("limit", "swap"):
        assert limits[name] == ("max" if ON_V2 else "9223372036854771712")
    box.update()
    assert box.limits() == limits


@pytest.mark.skipif("cpu" not in HERE.v1, reason="there is no v1 hierarchy of cpu here")
def test_realtime_on_v1(box: Box) -> None:
    if not os.path.exists(f"{box.group.paths()['cpu']}/cpu.rt_runtime_us"):
        pytest.skip("this kernel has no realtime groups")
    before = value(box.group, "cpu", "cpu.rt_period_us")
    box.update("--cpu-rt-period", "500000")
    assert value(box.group, "cpu", "cpu.rt_period_us") == "500000"
    done = box.runtime.call("update", "--cpu-rt-runtime", "600000", "box")
    assert done.returncode == 1
    assert "--cpu-rt-runtime: 600000 is above 500000, the realtimePeriod in force" in done.stderr
    box.update("--cpu-rt-period", before)


@pytest.mark.skipif(not ON_V2, reason="cgroups aren't v2 alone here")
def test_realtime_on_v2_is_refused(box: Box) -> None:
    done = box.runtime.call("update", "--cpu-rt-runtime", "5000", "box")
    assert done.returncode == 1
    assert "--cpu-rt-runtime: cgroup v2 has no limit of realtime tasks" in done.stderr


def test_block_weight(box: Box) -> None:
    files = ("io.bfq.weight", "io.weight") if ON_V2 else ("blkio.weight", "blkio.bfq.weight")
    directory = box.group.paths()["" if ON_V2 else "blkio"]
    file = next((file for file in files if os.path.exists(f"{directory}/{file}")), None)
    if file is None:
        done = box.runtime.call("update", "--blkio-weight", "300", "box")
        assert done.returncode == 1
        assert f"--blkio-weight: this kernel has no {files[0]} or {files[1]}" in done.stderr
        return
    box.update("--blkio-weight", "300")
    shown = {"io.weight": "default 2930", "io.bfq.weight": "default 300"}.get(file, "300")
    assert value(box.group, "" if ON_V2 else "blkio", file).split("\n")[0] == shown


def test_kernel_memory_is_ignored_with_a_warning(box: Box) -> None:
    before = box.limits()
    done = box.runtime.call("update", "--kernel-memory", "5M", "--kernel-memory-tcp", "5M", "box")
    assert done.returncode == 0
    assert "--kernel-memory is ignored" in done.stderr
    assert "--kernel-memory-tcp is ignored" in done.stderr
    assert box.limits() == before


# ------------------------------------------------------------------ documents


def test_a_file_and_what_isnt_given_stays(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "cpu": {"shares": 1024}}))
    box.update("--resources", str(path))
    first = box.limits()
    assert first["limit"] == str(64 * MIB)
    assert first["swap"] == str((32 if ON_V2 else 96) * MIB)
    # As Docker sends it: 0 for each that isn't set.
    zeros = {
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
        "pids": {"limit": 0},
    }
    box.apply({**zeros, "cpu": {**zeros["cpu"], "quota": 30000}})
    assert box.limits() == {**first, "quota": "30000 100000" if ON_V2 else "30000"}
    assert box.saved()["memory"] == {"limit": 64 * MIB, "swap": 96 * MIB}
    assert box.saved()["cpu"] == {"shares": 1024, "quota": 30000}


def test_stdin_of_any_kind(box: Box) -> None:
    ours, its = socket.socketpair()  # as Node.js gives its children
    with ours, its:
        ours.sendall(b'{"pids": {"limit": 61}}')
        ours.shutdown(socket.SHUT_WR)
        box.update("-r", "-", stdin=its)
    assert box.limits()["pids"] == "61"
    command = box.runtime.command("update", "-r", "-", "box")
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "stdin" in done.stderr


WRONG_DOCUMENTS = [
    ('{"memory": {"limit": "64M"}}', '/memory/limit: the string "64M" was found'),
    ('{"memory": {"limit": 9, "swap": 5}}', "/memory/swap: 5 was found; at least 9"),
    ('{"cpu": {"period": 5}}', "/cpu/period: 5 was found; 1000 to 1000000"),
    ('{"pids": {}}', "/pids/limit"),
    ("[]", "an object"),
    ('{"pids": ', "stdin:1:"),
]
WRONG_FLAGS = [
    (["--memory", "64X"], "invalid value '64X' for --memory"),
    (["--cpu-quota", "-2"], "invalid value '-2' for --cpu-quota"),
    (["--cpu-quota", "999"], "--cpu-quota: 999 was found; 1000 microseconds or more"),
    (["--cpu-idle", "2"], "--cpu-idle: 2 was found; 0 or 1 would do"),
    (["--resources", "/no/such/file"], "can't read the resources /no/such/file"),
    (["-r", "-", "--memory", "5M"], "--memory and --resources exclude each other"),
    (["--l3-cache-schema", "L3:0=f"], "resctrl"),
]


def test_documents_and_flags_that_are_wrong(box: Box) -> None:
    before = box.limits()
    documents = [(["-r", "-"], text, says) for text, says in WRONG_DOCUMENTS]
    for flags, text, says in [*documents, *((flags, "{}", says) for flags, says in WRONG_FLAGS)]:
        done = box.runtime.call("update", *flags, "box", input=text)
        assert (done.returncode, says in done.stderr) == (1, True), (flags, text, done.stderr)
    assert box.limits() == before


def test_create_and_update_judge_swap_alike(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """It counts memory too: so it needs a limit of that, given or in force, and can't be below it."""
    without = (
        "/memory/swap: 5242880 was found, without a limit of memory beside it; that too, or -1 for neither"
    )
    below = "/memory/swap: 5242880 was found; at least 6291456, memory's own limit"
    swap = 5 * MIB
    with running(runtime, bundle, here) as box:
        for memory, says in (
            ({"swap": swap}, without),
            ({"swap": swap, "limit": 0}, without),
            ({"swap": swap, "limit": -1}, without),
            ({"swap": swap, "limit": 6 * MIB}, below),
        ):
            bundle.config["linux"]["resources"] = {"memory": memory}
            done = runtime.call("create", "--bundle", str(bundle.save()), "other")
            assert (done.returncode, f"/linux/resources{says}" in done.stderr) == (1, True), done.stderr
            assert says in box.refused({"memory": memory}), memory
        box.apply({"memory": {"swap": -1}})
        box.apply({"memory": {"limit": 6 * MIB, "swap": 6 * MIB}})
        assert f"{below} in force, would do" in box.refused({"memory": {"swap": swap}})
        said = runtime.call("update", "--memory-swap", "5M", "box").stderr
        assert "--memory-swap: 5242880 was found; at least 6291456" in said
        assert "or give --memory too" in said
        box.apply({"memory": {"swap": 7 * MIB}})
        assert box.limits()["swap"] == str((1 if ON_V2 else 7) * MIB)
        box.apply({"memory": {"swap": -1}})
        assert box.limits()["limit"] == str(6 * MIB)


# ------------------------------------------------------------------ all or nothing


def test_a_weight_is_kept_over_idleness(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """The kernel forgets it: it is in force again when idleness ends, or doesn't come about."""
    bundle.config["linux"]["resources"] = {"cpu": {"shares": 512}}
    with running(runtime, bundle, here) as box:
        configured = box.limits()["shares"]
        disk_that_isnt = {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]}
        said = box.refused({"cpu": {"idle": 1}, "blockIO": disk_that_isnt})
        assert f"put back as it was: cpu.idle (0), {FILES['shares'][ON_V2]} ({configured})" in said
        assert (box.limits()["idle"], box.limits()["shares"]) == ("0", configured)
        box.update("--cpu-idle", "1")
        idle = box.limits()["shares"]
        assert idle != configured
        assert "--cpu-share: 9 can't be in force while the cgroup is idle" in (
            box.runtime.call("update", "--cpu-share", "9", "box").stderr
        )
        box.refused({"cpu": {"idle": 0}, "blockIO": disk_that_isnt})
        assert (box.limits()["idle"], box.limits()["shares"]) == ("1", idle)
        box.update("--cpu-idle", "0")
        assert (box.limits()["idle"], box.limits()["shares"]) == ("0", configured)


def test_idle_beside_a_weight_is_refused_by_create_and_by_update(
    runtime: Runtime, bundle: Bundle, here: Layout
) -> None:
    words = "/cpu/shares: 512 can't be in force while the cgroup is idle; idle 0, or no shares, would do"
    both = {"cpu": {"idle": 1, "shares": 512}}
    with running(runtime, bundle, here) as box:
        assert words in box.refused(both)
        bundle.config["linux"]["resources"] = both
        done = runtime.call("create", "--bundle", str(bundle.save()), "other")
        assert (done.returncode, f"/linux/resources{words}" in done.stderr) == (1, True)


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


def test_rates_of_a_disk(box: Box) -> None:
    """Each is changed alone, and put back to what it was, or to none."""
    device, (read, write) = disk(), ("throttleReadBpsDevice", "throttleWriteIOPSDevice")
    where = f"{device['major']}:{device['minor']}"

    def rates() -> list[str]:
        if not ON_V2:
            names = ("read_bps", "write_iops")
            return [value(box.group, "blkio", f"blkio.throttle.{name}_device") for name in names]
        words = value(box.group, "", "io.max").split()
        return [f"{where} {word.partition('=')[2]}" for word in words if word[:4] in ("rbps", "wiop")]

    nothing = f"{where} max" if ON_V2 else ""
    box.apply({"blockIO": {read: [{**device, "rate": 5000}]}})
    assert rates() == [f"{where} 5000", nothing]
    box.refused(
        {
            "blockIO": {
                read: [{**device, "rate": 6000}],
                write: [{**device, "rate": 70}, {**NO_DISK, "rate": 5}],
            }
        }
    )
    assert rates() == [f"{where} 5000", nothing]
    box.apply({"blockIO": {write: [{**device, "rate": 70}]}})
    assert rates() == [f"{where} 5000", f"{where} 70"]
    assert box.saved()["blockIO"] == {read: [{**device, "rate": 5000}], write: [{**device, "rate": 70}]}
    box.apply({"blockIO": {read: [{**device, "rate": 0}]}})
    assert rates() == [nothing, f"{where} 70"]


@pytest.mark.skipif("memory" not in HERE.v1, reason="there is no v1 hierarchy of memory here")
def test_what_only_v1s_memory_has(box: Box) -> None:
    box.apply({"memory": {"swappiness": 7, "disableOOMKiller": True}})
    assert value(box.group, "memory", "memory.swappiness") == "7"
    assert "oom_kill_disable 1" in value(box.group, "memory", "memory.oom_control")
    box.refused({"memory": {"swappiness": 8, "disableOOMKiller": False}, "cpu": {"cpus": "4096"}})
    assert value(box.group, "memory", "memory.swappiness") == "7"
    box.apply({"memory": {"disableOOMKiller": False}})
    assert "oom_kill_disable 0" in value(box.group, "memory", "memory.oom_control")


@pytest.mark.skipif(not ON_V2, reason="cgroups aren't v2 alone here")
def test_what_only_v2_has(box: Box) -> None:
    box.apply({"unified": {"memory.high": str(32 * MIB), "memory.oom.group": "1"}})
    assert value(box.group, "", "memory.high") == str(32 * MIB)
    said = box.refused({"unified": {"memory.high": str(16 * MIB), "memory.nonsense": "1"}})
    assert "/unified/memory.nonsense: this kernel has no memory.nonsense" in said
    assert f"put back as it was: memory.high ({32 * MIB})" in said
    assert value(box.group, "", "memory.high") == str(32 * MIB)
    box.apply({"memory": {"limit": 64 * MIB}})
    box.apply({"memory": {"swap": 80 * MIB}})
    assert box.limits()["swap"] == str(16 * MIB), "of the limit in force"
    box.apply({"memory": {"limit": 72 * MIB}})
    assert box.limits()["swap"] == str(16 * MIB), "what isn't given stays"
    box.apply({"memory": {"limit": -1}})
    assert "/memory/swap: 1048576 was found, without a limit of memory" in box.refused(
        {"memory": {"swap": MIB}}
    )


def test_huge_pages(box: Box) -> None:
    wanted = {"hugepageLimits": [{"pageSize": "2MB", "limit": 6 * MIB}]}
    files = ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")
    controllers = value(box.group, "", "cgroup.controllers").split() if "" in box.group.paths() else []
    if "hugetlb" not in HERE.v1 and "hugetlb" not in controllers:
        assert "/hugepageLimits" in box.refused(wanted)
        return
    box.apply(wanted)
    assert box.value(*files) == str(6 * MIB)
    box.refused({"hugepageLimits": [{"pageSize": "2MB", "limit": 8 * MIB}, {"pageSize": "3MB", "limit": 1}]})
    assert box.value(*files) == str(6 * MIB)


@pytest.mark.skipif("cpu" not in HERE.v1 or "cpuset" not in HERE.v1, reason="v1's cpu and cpuset aren't here")
def test_cgroups_that_are_against_a_limit_are_named(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """v1 lets none have more than the one above it, be it the container's own or one in it."""
    with running(runtime, bundle, here, below="/inner") as box:
        cpu, cpuset = (Path(box.group.paths()[name]) for name in ("cpu", "cpuset"))
        whole = (cpuset / "cpuset.cpus").read_text().strip()
        (cpu.parent / "cpu.cfs_quota_us").write_text("50000")
        said = box.refused({"cpu": {"quota": 60000}})
        assert f"the cgroup {cpu.parent} has 50000 of 100000 microseconds" in said
        box.apply({"cpu": {"quota": 40000}})
        for directory in (cpu, cpuset):
            (directory / "nested").mkdir()
        (cpu / "nested/cpu.cfs_quota_us").write_text("30000")
        (cpuset / "nested/cpuset.cpus").write_text(whole)
        said = box.refused({"cpu": {"quota": 20000}})
        assert f"the cgroup {cpu}/nested below it has 30000 of 100000 microseconds" in said
        said = box.refused({"cpu": {"period": 200000}})
        assert f"the cgroup {cpu}/nested below it has 30000 of 100000 microseconds" in said
        box.apply({"cpu": {"period": 110000}})
        if whole != "0":
            said = box.refused({"cpu": {"cpus": "0"}})
            assert f"the cgroup {cpuset}/nested below it has {whole}" in said
            (cpuset / "nested/cpuset.cpus").write_text("0")
            box.apply({"cpu": {"cpus": "0"}})
    for directory in {os.path.dirname(path) for path in box.group.paths().values()}:
        os.rmdir(directory)


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


def test_every_change_is_told_when_debugging(box: Box) -> None:
    done = box.runtime.call("--debug", "update", "--pids-limit", "40", "box")
    assert done.returncode == 0
    assert "/pids.max: '40', before 'max'" in done.stderr


# ------------------------------------------------------------------ what processes feel


def test_processes_feel_it(box: Box) -> None:
    pid = box.runtime.state("box")["pid"]
    box.apply({"cpu": {"cpus": "0"}})
    assert os.sched_getaffinity(pid) == {0}
    assert box.can("true | true | true")
    box.apply({"pids": {"limit": 2}})
    assert not box.can("true | true | true")
    box.apply({"pids": {"limit": -1}})
    assert box.can("true | true | true")


def greedy(runtime: Runtime, bundle: Bundle) -> int:
    """A container whose first process soon holds more than 20 MB; its pid."""
    script = "x = bytearray(20 << 20); open('/full', 'w'); import time; time.sleep(1000)"
    for name in ("/usr", "/lib", "/lib64"):
        bundle.config["mounts"].append({"destination": name, "source": name, "options": ["rbind", "ro"]})
    python = os.path.realpath(sys.executable)
    bundle.args(python, "-c", script)
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
    eventually((bundle.rootfs / "full").exists)
    pid: int = runtime.state("box")["pid"]
    return pid


@pytest.mark.skipif("memory" not in HERE.v1, reason="there is no v1 hierarchy of memory here")
def test_a_limit_below_what_is_in_use_is_refused_by_v1(runtime: Runtime, bundle: Bundle) -> None:
    greedy(runtime, bundle)
    done = runtime.call("update", "--memory", "4M", "--cpu-share", "512", "box")
    assert done.returncode == 1
    assert f"--memory: the kernel refused '{4 * MIB}' for memory.limit_in_bytes in /" in done.stderr
    assert "device or resource busy; put back as it was: cpu.shares (1024)" in done.stderr
    assert "bytes are in use, of which too few can be freed" in done.stderr
    assert runtime.state("box")["status"] == "running"
    runtime.ok("delete", "--force", "box")


@pytest.mark.skipif(not ON_V2, reason="cgroups aren't v2 alone here")
def test_a_limit_below_what_is_in_use_kills_on_v2_and_is_told(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": 256 * MIB, "swap": 256 * MIB}}
    greedy(runtime, bundle)
    done = runtime.call("update", "-r", "-", "box", input=json.dumps({"memory": {"limit": 4 * MIB}}))
    assert done.returncode == 0
    assert "the new limit of memory is below what was in use" in done.stderr
    eventually(lambda: runtime.state("box")["status"] == "stopped")
    runtime.ok("delete", "--force", "box")


@pytest.mark.skipif(not ON_V2, reason="cgroups aren't v2 alone here")
@pytest.mark.parametrize("at_create", [True, False])
def test_on_v2_a_check_before_keeps_it_from_killing(
    runtime: Runtime, bundle: Bundle, at_create: bool
) -> None:
    checked = {"checkBeforeUpdate": True}
    bundle.config["linux"]["resources"] = {"memory": checked if at_create else {}}
    greedy(runtime, bundle)
    wanted = {"memory": {"limit": 4 * MIB, **({} if at_create else checked)}}
    done = runtime.call("update", "-r", "-", "box", input=json.dumps(wanted))
    assert done.returncode == 1
    assert f"/memory/limit: {4 * MIB} is below the " in done.stderr
    assert "bytes in use now (memory.current in /" in done.stderr
    assert runtime.state("box")["status"] == "running"
    runtime.ok("delete", "--force", "box")


# ------------------------------------------------------------------ states


def test_a_paused_container_is_changed_and_stays_paused(box: Box) -> None:
    box.runtime.ok("pause", "box")
    box.update("--memory", "64M", "--cpu-share", "1024", "--cpuset-cpus", "0", "--pids-limit", "9")
    assert box.runtime.state("box")["status"] == "paused"
    assert (box.limits()["limit"], box.limits()["pids"]) == (str(64 * MIB), "9")
    box.runtime.ok("resume", "box")


def test_a_created_container_keeps_it_when_started(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    with running(runtime, bundle, here, "create") as made:
        made.update("--pids-limit", "33")
        runtime.ok("start", "box")
        assert made.limits()["pids"] == "33"


def test_a_stopped_container_is_refused(box: Box) -> None:
    box.runtime.ok("kill", "box", "KILL")
    eventually(lambda: box.runtime.state("box")["status"] == "stopped")
    done = box.runtime.call("update", "--memory", "64M", "box")
    assert done.returncode == 1
    assert "container not running: box is stopped" in done.stderr
    done = box.runtime.call("update", "--memory", "64M", "nobody")
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_without_cgroups_what_is_given_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    saved = str(bundle.args("sleep", "1000").save())
    runtime.detached("--cgroup-manager", "disabled", "run", "--detach", "--bundle", saved, "box")
    runtime.ok("update", "-r", "-", "box", input='{"cpu": {"shares": 0}, "pids": {"limit": 0}}')
    done = runtime.call("update", "--pids-limit", "5", "box")
    assert done.returncode == 1
    assert "cgroups are disabled" in done.stderr
    done = runtime.call("update", "-r", "-", "box", input=json.dumps({"devices": [DENY]}))
    assert done.returncode == 1
    assert "/devices: no cgroup hierarchy that could enforce device rules" in done.stderr
    runtime.ok("delete", "--force", "box")


# ------------------------------------------------------------------ device rules

DENY = {"allow": False, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11}
OPEN = ": > /dev/kmsg"  # needs no capability, and writes nothing
ALLOWED = [DENY, {"allow": True, **KMSG, "access": "rw"}]
ALL_BUT_IT = [{"allow": True}, {"allow": False, **KMSG, "access": "rwm"}]


@pytest.fixture
def with_kmsg(runtime: Runtime, bundle: Bundle, here: Layout) -> Iterator[Box]:
    bundle.config["linux"]["devices"] = [{"path": "/dev/kmsg", **KMSG}]
    bundle.config["linux"]["resources"] = {"devices": [DENY]}
    with running(runtime, bundle, here) as made:
        yield made


def test_device_rules_are_replaced(with_kmsg: Box) -> None:
    box = with_kmsg
    assert not box.can(OPEN)
    for rules, allowed in (
        (ALLOWED, True),
        ([DENY], False),
        ([{"allow": True}], True),
        (ALL_BUT_IT, False),
        ([*ALL_BUT_IT, {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "r"}], False),
        ([*ALL_BUT_IT, {"allow": True, **KMSG, "access": "w"}], True),
        ([DENY], False),
    ):
        box.apply({"devices": rules})
        assert box.can(OPEN) is allowed, rules
        assert box.can(": > /dev/null"), rules
        assert box.runtime.state("box")["status"] == "running"
    assert box.saved()["devices"] == [DENY]


def test_device_rules_go_with_the_rest(with_kmsg: Box) -> None:
    """Both are put back, whichever fails."""
    box = with_kmsg
    said = box.refused({"devices": ALLOWED, "blockIO": {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]}})
    assert "/blockIO/throttleReadBpsDevice/0" in said
    assert not box.can(OPEN)
    before = box.limits()
    if not ON_V2:  # what v1's lists can't say
        one = {"allow": False, **KMSG, "access": "w"}
        said = box.refused(
            {"devices": [DENY, {"allow": True, "type": "c", "major": 1}, one], "pids": {"limit": 7}}
        )
        assert "/devices/2: cgroup v1 can't deny" in said
        assert "put back as it was: pids.max (max)" in said
        assert box.limits() == before
    assert not box.can(OPEN)


def test_nothing_is_allowed_while_rules_are_replaced(with_kmsg: Box) -> None:
    """A process tries all the time, with both the old and the new rules against it."""
    box = with_kmsg
    tries = f"({OPEN}) 2>/dev/null && touch /opened; (: > /dev/null) || touch /denied; touch /tried"
    box.runtime.detached("exec", "--detach", "box", "sh", "-c", f"while :; do {tries}; done")
    tried = box.bundle.rootfs / "tried"
    for _ in range(5):
        for rules in (ALL_BUT_IT, [DENY]):
            box.apply({"devices": rules})
            tried.unlink(missing_ok=True)
            eventually(tried.exists)
    found = os.listdir(box.bundle.rootfs)
    assert "opened" not in found
    assert "denied" not in found


def test_a_paused_containers_device_rules(with_kmsg: Box) -> None:
    box = with_kmsg
    box.runtime.ok("pause", "box")
    box.apply({"devices": ALL_BUT_IT})
    assert box.runtime.state("box")["status"] == "paused"
    box.runtime.ok("resume", "box")
    assert not box.can(OPEN)
    assert box.can(": > /dev/null")


ALL_BUT_USING_IT = [{"allow": True}, {"allow": False, **KMSG, "access": "rw"}]


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
@pytest.mark.parametrize(
    ("before", "rules"),
    [
        ([DENY], [(ALLOWED, True, False), ([DENY], False, False)]),
        (ALL_BUT_USING_IT, [([{"allow": True}], True, False), (ALL_BUT_USING_IT, False, False)]),
        ([{"allow": True}], [(ALL_BUT_USING_IT, False, False), ([{"allow": True}], True, False)]),
    ],
    ids=["deny by default", "allow but one", "allow all"],
)
def test_device_rules_of_a_container_with_cgroups_of_its_own(
    runtime: Runtime, bundle: Bundle, here: Layout, before: Any, rules: Any
) -> None:
    """The kernel changes no default there, and neither allows below what is allowed above again."""
    bundle.config["linux"].update(
        devices=[{"path": "/dev/kmsg", **KMSG}], resources={"devices": before, "pids": {"limit": 50}}
    )
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    )
    nested = "/sys/fs/cgroup/devices/nested"
    within = f"echo $$ >{nested}/cgroup.procs; {OPEN}"
    with running(runtime, bundle, here) as box:
        was_open = box.can(OPEN)
        assert box.can(f"mkdir {nested}")
        assert box.can(within) is was_open
        for wanted, allowed, allowed_below in rules:
            box.apply({"devices": wanted})
            assert box.can(OPEN) is allowed, wanted
            assert box.can(within) is allowed_below, wanted
        said = box.refused(
            {"devices": ALLOWED, "blockIO": {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]}}
        )
        assert "/blockIO/throttleReadBpsDevice/0" in said
        other = [{"allow": True}] if before == [DENY] else [DENY]
        said = box.refused({"devices": other, "pids": {"limit": 7}})
        assert "/devices: the list of /" in said
        assert "while there is the cgroup /" in said
        assert "put back as it was: pids.max (50)" in said
        assert "NOT" not in said
        assert box.can(OPEN) is allowed
        assert box.can(f"rmdir {nested}")
        box.apply({"devices": other})
        assert box.can(OPEN) is (before == [DENY])


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
def test_a_denial_of_a_cgroup_above_is_in_nobodys_way(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """It can't be taken out of the list below, nor has it to be."""
    bundle.config["linux"].update(
        devices=[{"path": "/dev/kmsg", **KMSG}], resources={"devices": ALL_BUT_USING_IT}
    )
    with running(runtime, bundle, here, below="/inner") as box:
        above = Path(box.group.paths()["devices"]).parent
        (above / "devices.deny").write_text("c 1:11 w")
        box.apply({"devices": [{"allow": True}]})
        assert not box.can(OPEN)
        (above / "devices.allow").write_text("c 1:11 w")
        box.apply({"devices": ALL_BUT_USING_IT})
        box.apply({"devices": [{"allow": True}]})
        assert box.can(OPEN)
    for directory in {os.path.dirname(path) for path in box.group.paths().values()}:
        os.rmdir(directory)


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
def test_create_names_the_cgroup_that_keeps_its_rules_from_being_set(
    runtime: Runtime, bundle: Bundle, here: Layout
) -> None:
    name = f"/pyoci-test-{os.getpid()}"
    below = Path(manager.new(here, f"{name}/below", "unused").paths()["devices"])
    below.mkdir(parents=True)
    bundle.config["linux"]["cgroupsPath"] = name
    done = runtime.call("create", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert "/linux/resources/devices: the kernel refused 'a' for devices.deny in /" in done.stderr
    assert f"a list can't be begun anew over the cgroup {below}" in done.stderr
