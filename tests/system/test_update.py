"""`pyoci update`: limits changed in a living container, beside runc and crun."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from pyoci.cgroup.layout import Layout
from support.cgroups import eventually, in_mode, layouts, value
from support.containers import Bundle, Runtime
from support.limited import disk
from support.updated import DENY, FILES, NO_DISK, ON_V2, Box, running

pytestmark = pytest.mark.layout

MIB = 1 << 20
HERE = layout.detect()


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
