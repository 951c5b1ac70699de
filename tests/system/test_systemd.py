"""Containers whose cgroups systemd makes: the unit, its limits before and after a reload, its end."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup.layout import detect
from support.cgroups import eventually, membership
from support.containers import Bundle, Runtime, reap_orphans
from support.systemd import NOT_HERE, SYSTEMD, scopes, shown, systemctl

pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(not SYSTEMD, reason=NOT_HERE),
    pytest.mark.skipif(detect().mode != "v2", reason="cgroups aren't v2 alone here"),
]

UNIT = "unit-one.scope"
GROUP = Path("/sys/fs/cgroup/pyocitest.slice/pyocitest-a.slice") / UNIT
LIMITS = {
    "memory": {"limit": 50 << 20, "swap": 60 << 20, "reservation": 10 << 20},
    "cpu": {"quota": 25000, "period": 50000, "shares": 512, "cpus": "0"},
    "pids": {"limit": 20},
    "unified": {"memory.high": str(40 << 20)},
}
FILES = {
    "memory.max": str(50 << 20),
    "memory.swap.max": str(10 << 20),
    "memory.low": str(10 << 20),
    "memory.high": str(40 << 20),
    "cpu.max": "25000 50000",
    "cpu.weight": "59",
    "cpuset.cpus": "0",
    "pids.max": "20",
}


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that leaves no unit behind."""
    before = scopes()
    runtime = Runtime(tmp_path / "state")
    yield runtime
    for container_id in runtime.ok("list", "-q").split():  # a failed test's
        runtime.call("delete", "--force", container_id)
    assert scopes() == before
    systemctl("stop", "pyocitest.slice")  # a slice outlives what was in it, as directories above a cgroup do


def values() -> dict[str, str]:
    return {name: (GROUP / name).read_text().strip() for name in FILES}


def in_scope(bundle: Bundle) -> Bundle:
    bundle.config["linux"]["cgroupsPath"] = "pyocitest-a.slice:unit:one"
    return bundle


def begin(systemd: Runtime, bundle: Bundle, container_id: str = "one") -> None:
    saved = str(bundle.args("sleep", "1000").save())
    systemd.detached("--systemd-cgroup", "run", "--detach", "--bundle", saved, container_id)


def test_the_container_is_in_its_unit(systemd: Runtime, bundle: Bundle) -> None:
    begin(systemd, in_scope(bundle))
    pid = systemd.state("one")["pid"]
    assert membership(pid) == {"": f"/pyocitest.slice/pyocitest-a.slice/{UNIT}"}
    assert shown(UNIT, "ActiveState", "Delegate", "Slice", "Description") == [
        "active", "yes", "pyocitest-a.slice", "container one",
    ]  # fmt: skip
    assert "0::/" in systemd.ok("exec", "one", "cat", "/proc/self/cgroup").split()
    systemd.ok("delete", "--force", "one")
    assert not GROUP.exists()


def test_without_a_path_the_unit_is_named_after_the_container(systemd: Runtime, bundle: Bundle) -> None:
    begin(systemd, bundle)
    pid = systemd.state("one")["pid"]
    assert membership(pid) == {"": "/system.slice/pyoci-one.scope"}
    systemd.ok("delete", "--force", "one")


def test_limits_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = LIMITS
    begin(systemd, in_scope(bundle))
    assert values() == FILES
    systemctl("daemon-reload")
    assert values() == FILES
    # The same change to a unit makes systemd write down all it knows of its cgroup.
    systemctl("set-property", "--runtime", UNIT, "TasksMax=21")
    assert values() == {**FILES, "pids.max": "21"}
    systemd.ok("delete", "--force", "one")


def test_device_rules_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    """Of two devices that anyone could open, one is allowed."""
    tun, disk = ({"path": path, **numbers(path)} for path in ("/dev/net/tun", "/dev/vda"))
    allowed = {"allow": True, "type": "c", "major": tun["major"], "minor": tun["minor"], "access": "rw"}
    bundle.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}, allowed]}
    bundle.config["linux"]["devices"] = [tun, disk]
    begin(systemd, in_scope(bundle))
    script = "for d in null net/tun vda; do (true < /dev/$d) 2>/dev/null && echo $d; done; true"
    for _ in range(2):
        assert systemd.ok("exec", "one", "sh", "-c", script).split() == ["null", "net/tun"]
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", UNIT, "TasksMax=50")
    assert shown(UNIT, "DevicePolicy") == ["strict"]
    systemd.ok("delete", "--force", "one")


UPDATE = {
    "memory": {"limit": 70 << 20, "swap": 75 << 20},
    "cpu": {"quota": 30000, "shares": 1024, "cpus": "0-1"},
    "pids": {"limit": 33},
}
UPDATED = {
    **FILES,
    "memory.max": str(70 << 20),
    "memory.swap.max": str(5 << 20),
    "cpu.max": "30000 50000",
    "cpu.weight": "100",
    "cpuset.cpus": "0-1",
    "pids.max": "33",
}


def reload_all() -> None:
    """systemd writes down what it knows of a cgroup when it reloads, and for a change of the unit."""
    systemctl("daemon-reload")
    systemctl("set-property", "--runtime", UNIT, "IOWeight=200")


def test_limits_that_are_no_properties_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    """systemd has no name for them, so that they are set beside it; nor does it take them away."""
    disk = {name: numbers("/dev/vda")[name] for name in ("major", "minor")}
    line = f"{disk['major']}:{disk['minor']} rbps=4096 wbps=max riops=max wiops=77"
    bundle.config["linux"]["resources"] = {
        "cpu": {"quota": 50000, "period": 100000, "burst": 20000},
        "blockIO": {
            "throttleReadBpsDevice": [{**disk, "rate": 4096}],
            "throttleWriteIOPSDevice": [{**disk, "rate": 77}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "unified": {"memory.swap.high": str(30 << 20), "cgroup.max.depth": "5", "pids.max": "20"},
    }
    expected = {
        "cpu.max": "50000 100000", "cpu.max.burst": "20000", "io.max": line,
        "hugetlb.2MB.max": str(4 << 20), "hugetlb.2MB.rsvd.max": str(4 << 20),
        "memory.swap.high": str(30 << 20), "cgroup.max.depth": "5", "pids.max": "20",
    }  # fmt: skip
    begin(systemd, in_scope(bundle))
    for _ in range(2):
        assert {name: (GROUP / name).read_text().strip() for name in expected} == expected
        reload_all()
    systemd.ok("delete", "--force", "one")


def test_values_in_the_kernel_s_other_forms_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    written = {
        "memory.max": "64M", "memory.high": "0x3000000\n", "memory.swap.max": "010M", "pids.max": "0x14",
        "cpu.weight": "0106", "cpu.max": "max", "cpuset.cpus": "0-1:1/2", "io.weight": "50",
    }  # fmt: skip
    expected = {
        "memory.max": str(64 << 20), "memory.high": str(48 << 20), "memory.swap.max": str(8 << 20),
        "pids.max": "20", "cpu.weight": "70", "cpu.max": "max 100000", "cpuset.cpus": "0",
        "io.weight": "default 50",
    }  # fmt: skip
    if not (Path("/sys/fs/cgroup/system.slice") / "io.weight").exists():
        del written["io.weight"], expected["io.weight"]
    bundle.config["linux"]["resources"] = {"unified": written}
    begin(systemd, in_scope(bundle))
    for _ in range(2):
        assert {name: (GROUP / name).read_text().strip() for name in expected} == expected
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", UNIT, "MemoryLow=1M")
    systemd.ok("update", "-r", "-", "one", input=json.dumps({"unified": {"cpu.max": "20000 50000"}}))
    systemd.ok("update", "-r", "-", "one", input=json.dumps({"unified": {"cpu.max": "30000"}}))
    systemctl("daemon-reload")
    assert (GROUP / "cpu.max").read_text() == "30000 50000\n"
    systemd.ok("delete", "--force", "one")


def test_a_value_that_the_kernel_refuses_is_named(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = {"unified": {"memory.max": "much"}}
    done = systemd.call("--systemd-cgroup", "run", "--bundle", str(in_scope(bundle).save()), "one")
    assert done.returncode == 1
    assert "/linux/resources/unified/memory.max: the kernel refused 'much'" in done.stderr


def test_updated_limits_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = LIMITS
    begin(systemd, in_scope(bundle))
    systemd.ok("update", "-r", "-", "one", input=json.dumps(UPDATE))
    assert values() == UPDATED
    reload_all()
    assert values() == UPDATED
    # A quota that isn't a whole percent is only rounded by systemd.
    systemd.ok("update", "--cpu-quota", "30001", "one")
    assert values()["cpu.max"] == "30001 50000"
    systemd.ok("update", "--cpu-share", "2048", "one")
    systemd.ok("update", "--cpu-idle", "0", "one")  # it is so already
    assert values()["cpu.weight"] == "174"
    systemd.ok("update", "--cpu-idle", "1", "one")
    systemd.ok("update", "--cpu-idle", "0", "one")
    systemd.ok("update", "--cpu-quota", "-1", "--memory", "-1", "--pids-limit", "-1", "one")
    reload_all()
    found = values()
    assert (GROUP / "cpu.idle").read_text() == "0\n"
    assert found["cpu.max"].split()[0] == "max"  # the period beside it means nothing
    assert found["cpu.weight"] == "174"
    assert (found["memory.max"], found["memory.swap.max"], found["pids.max"]) == ("max", "max", "max")
    systemd.ok("delete", "--force", "one")


def test_an_update_that_is_refused_changes_no_property(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = LIMITS
    begin(systemd, in_scope(bundle))
    names = ("MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "AllowedCPUs", "TasksMax", "DevicePolicy")
    before = shown(UNIT, *names)
    nothing = {"throttleReadBpsDevice": [{"major": 511, "minor": 1, "rate": 5}]}
    done = systemd.call("update", "-r", "-", "one", input=json.dumps({**UPDATE, "blockIO": nothing}))
    assert done.returncode == 1
    assert "put back as it was" in done.stderr
    assert (values(), shown(UNIT, *names)) == (FILES, before)
    # What fails only after systemd was told: there is no resctrl filesystem here.
    done = systemd.call(
        "update", "--pids-limit", "7", "--cpuset-cpus", "1", "--mem-bw-schema", "MB:0=5", "one"
    )
    assert done.returncode == 1
    assert f"put back as it was: the properties of {UNIT}, pids.max (20), cpuset.cpus (0)" in done.stderr
    reload_all()
    assert (values(), shown(UNIT, *names)) == (FILES, before)
    systemd.ok("delete", "--force", "one")


def test_the_properties_of_an_update_that_was_killed_are_put_back(systemd: Runtime, bundle: Bundle) -> None:
    """Killed at its very end, when only its file with the way back was still to be removed."""
    bundle.config["linux"]["resources"] = LIMITS
    begin(systemd, in_scope(bundle))
    names = ("MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "AllowedCPUs", "TasksMax", "DeviceAllow")

    def told() -> list[list[str]]:
        return [sorted(value.split("\n")) for value in shown(UNIT, *names)]  # a list comes in any order

    before = told()
    tun = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"}
    path = bundle.path / "update.json"
    path.write_text(json.dumps({**UPDATE, "devices": [{"allow": False}, tun]}))
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat",
         "-e", "inject=unlinkat:signal=SIGKILL:when=1",
         *systemd.command("update", "--resources", str(path), "one")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode in (-9, 137), done.stderr
    assert values() == UPDATED
    assert told() != before
    said = systemd.call("update", "-r", "-", "one", input="{}").stderr
    assert f"interrupted; put back as it was: the saved configuration, the properties of {UNIT}, " in said
    assert "NOT" not in said
    assert (values(), told()) == (FILES, before)
    reload_all()
    assert (values(), told()) == (FILES, before)
    systemd.ok("delete", "--force", "one")


def test_updated_device_rules_survive_a_reload(systemd: Runtime, bundle: Bundle) -> None:
    tun, disk = ({"path": path, **numbers(path)} for path in ("/dev/net/tun", "/dev/vda"))
    bundle.config["linux"]["devices"] = [tun, disk]
    deny = {"allow": False, "access": "rwm"}
    bundle.config["linux"]["resources"] = {"devices": [deny]}
    begin(systemd, in_scope(bundle))
    script = "for d in null net/tun vda; do (true < /dev/$d) 2>/dev/null && echo $d; done; true"
    for device, opened in ((tun, ["null", "net/tun"]), (disk, ["null", "vda"]), (None, ["null"])):
        rules = [deny]
        if device:
            rules.append(
                {"allow": True, "access": "rw", **{key: device[key] for key in ("type", "major", "minor")}}
            )
        systemd.ok("update", "-r", "-", "one", input=json.dumps({"devices": rules}))
        assert systemd.ok("exec", "one", "sh", "-c", script).split() == opened
        reload_all()
        assert systemd.ok("exec", "one", "sh", "-c", script).split() == opened
    systemd.ok("delete", "--force", "one")


def test_device_rules_that_systemd_has_no_words_for(systemd: Runtime, bundle: Bundle) -> None:
    """A program of systemd's stands beside the container's own after a reload: it mustn't deny what that
    allows, nor does the container's own lose what it denies."""
    deny, allow = {"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}
    tun = {"type": "c", "major": 10, "minor": 200}
    cases: list[tuple[list[dict[str, object]], str]] = [
        ([deny, {"allow": True, "type": "c", "minor": 200, "access": "rw"}], "r-tun w-tun"),
        ([deny, {**allow, "type": "c", "major": 10}, {**tun, **deny, "access": "w"}], "r-tun"),
        ([allow, {**tun, **deny, "access": "r"}], "w-tun r-vda w-vda"),
        ([deny, {**allow, "type": "c", "major": 511}, {**tun, "allow": True, "access": "w"}], "w-tun"),
    ]
    bundle.config["linux"]["devices"] = [
        {**numbers(path), "path": f"/dev/{name}"}
        for name, path in (("tun", "/dev/net/tun"), ("vda", "/dev/vda"))
    ]
    bundle.config["linux"]["resources"] = {"devices": [deny]}
    begin(systemd, in_scope(bundle))
    script = "for d in tun vda; do (true < /dev/$d) && echo r-$d; (true > /dev/$d) && echo w-$d; done; true"
    for rules, opened in cases:
        systemd.ok("update", "-r", "-", "one", input=json.dumps({"devices": rules}))
        for moment in ("updated", "reloaded"):
            found = systemd.ok("exec", "one", "sh", "-c", script).split()
            assert (moment, rules, found) == (moment, rules, opened.split())
            reload_all()
    systemd.ok("delete", "--force", "one")


def numbers(path: str) -> dict[str, object]:
    found = os.stat(path)
    kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
    return {"type": kind, "major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}


@pytest.mark.parametrize("size", [4 << 10, 16 << 10, 64 << 10])
def test_too_little_memory_to_start_in_is_told(systemd: Runtime, bundle: Bundle, size: int) -> None:
    """systemd removes the cgroup as soon as it is empty, so that it may not be there to be asked."""
    bundle.config["linux"]["resources"] = {"memory": {"limit": size, "swap": size}}
    done = systemd.call("--systemd-cgroup", "run", "--bundle", str(in_scope(bundle).save()), "one")
    assert done.returncode == 1, "it was enough"
    assert "/linux/resources/memory/limit: " in done.stderr
    assert f"its memory was used up, a limit of {size} bytes" in done.stderr
    assert "1 MiB is enough to start in" in done.stderr


def test_annotations_are_properties(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.Description": "'a box'",
    }
    begin(systemd, in_scope(bundle))
    assert shown(UNIT, "TimeoutStopUSec", "Description") == ["7s", "a box"]
    systemd.ok("delete", "--force", "one")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NoSuchProperty", "true", "NoSuchProperty"),
        ("MemoryMax", "'x'", "systemd refused to start"),
        ("PIDs", "@au [1]", "pyoci's to set"),
    ],
)
def test_properties_that_are_refused(
    systemd: Runtime, bundle: Bundle, name: str, value: str, says: str
) -> None:
    bundle.config["annotations"] = {f"org.systemd.property.{name}": value}
    done = systemd.call("--systemd-cgroup", "run", "--bundle", str(in_scope(bundle).save()), "one")
    assert done.returncode == 1
    assert says in done.stderr
    assert "/annotations" in done.stderr


def test_a_unit_that_is_there_is_refused(systemd: Runtime, bundle: Bundle) -> None:
    begin(systemd, in_scope(bundle))
    done = systemd.call("--systemd-cgroup", "run", "--bundle", str(bundle.path), "two")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert systemd.state("one")["status"] == "running"
    systemd.ok("delete", "--force", "one")


def test_a_path_that_names_no_unit_is_refused(systemd: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["cgroupsPath"] = "/some/path"
    done = systemd.call("--systemd-cgroup", "run", "--bundle", str(bundle.save()), "one")
    assert done.returncode == 1
    assert "/linux/cgroupsPath" in done.stderr
    assert "slice:prefix:name" in done.stderr


def test_pause_kill_and_a_daemon_that_stays(systemd: Runtime, bundle: Bundle) -> None:
    in_scope(bundle).shell("sleep 1000 & sleep 1001 & wait")
    systemd.detached("--systemd-cgroup", "run", "--detach", "--bundle", str(bundle.save()), "one")
    pids = json.loads(systemd.ok("ps", "--format", "json", "one"))
    systemd.ok("pause", "one")
    assert systemd.state("one")["status"] == "paused"
    systemd.ok("resume", "one")
    systemd.ok("kill", "one", "KILL")
    eventually(lambda: systemd.state("one")["status"] == "stopped")
    systemd.ok("delete", "one")
    assert not GROUP.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


def test_a_program_that_ends_leaves_nothing(systemd: Runtime, bundle: Bundle) -> None:
    for _ in range(3):
        done = systemd.call("--systemd-cgroup", "run", "--bundle", str(in_scope(bundle).save()), "one")
        assert (done.returncode, done.stderr) == (0, "")
        assert not GROUP.exists()


def test_a_cgroup_below_the_units(systemd: Runtime, bundle: Bundle) -> None:
    """crun's annotation: the scope's own cgroup stays free of processes, the limits hold in both."""
    in_scope(bundle).args("sleep", "300").config["annotations"] = {"run.oci.systemd.subgroup": "container"}
    bundle.config["linux"]["resources"] = {"pids": {"limit": 20}}
    systemd.detached("--systemd-cgroup", "run", "--detach", "--bundle", str(bundle.save()), "box")
    pid = systemd.state("box")["pid"]
    assert membership(pid)[""] == str(GROUP / "container").removeprefix("/sys/fs/cgroup")
    assert (GROUP / "cgroup.procs").read_text() == ""
    assert (GROUP / "container/pids.max").read_text() == "20\n"
    assert shown(UNIT, "TasksMax") == ["20"]
    assert "0::/" in systemd.ok("exec", "box", "cat", "/proc/self/cgroup").split()
    systemd.ok("delete", "--force", "box")
    assert not GROUP.exists()


@pytest.mark.parametrize("words", [("gc",), ("delete", "--force", "one")])
def test_without_a_state_the_unit_ends_with_what_is_left(
    systemd: Runtime, bundle: Bundle, words: tuple[str, ...]
) -> None:
    begin(systemd, in_scope(bundle))
    pid = systemd.state("one")["pid"]
    shutil.rmtree(systemd.root / "one")
    systemd.ok(*words)
    assert not GROUP.exists()
    assert UNIT not in scopes()
    reap_orphans(set())
    assert not Path(f"/proc/{pid}").exists()


def test_without_a_prefix_the_name_begins_with_a_dash(systemd: Runtime, bundle: Bundle) -> None:
    """As runc and crun have it, and systemd takes it."""
    bundle.config["linux"]["cgroupsPath"] = "pyocitest-a.slice::one"
    begin(systemd, bundle)
    assert membership(systemd.state("one")["pid"])[""].endswith("/pyocitest-a.slice/-one.scope")
    assert shown("-one.scope", "ActiveState") == ["active"]
    systemd.ok("delete", "--force", "one")
    assert "-one.scope" not in scopes()


def test_a_failed_unit_of_the_same_name_is_in_nobody_s_way(systemd: Runtime, bundle: Bundle) -> None:
    """As one is that systemd had to end; it stays listed."""
    command = ["systemd-run", "--scope", f"--unit={UNIT}", "--property=RuntimeMaxSec=1", "sleep", "1000"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    eventually(lambda: shown(UNIT, "ActiveState") == ["failed"])
    begin(systemd, in_scope(bundle))
    assert shown(UNIT, "ActiveState") == ["active"]
    systemd.ok("delete", "--force", "one")


def test_a_slice_named_like_a_controller(systemd: Runtime, bundle: Bundle) -> None:
    """Its cgroup has another name than the slice."""
    bundle.config["linux"].update(cgroupsPath="pids.slice:unit:one", resources={"pids": {"limit": 20}})
    begin(systemd, bundle)
    assert membership(systemd.state("one")["pid"])[""] == f"/_pids.slice/{UNIT}"
    assert Path(f"/sys/fs/cgroup/_pids.slice/{UNIT}/pids.max").read_text() == "20\n"
    systemd.ok("delete", "--force", "one")
    systemctl("stop", "pids.slice")


def test_a_systemd_that_executes_itself_anew_meanwhile(systemd: Runtime, bundle: Bundle) -> None:
    """Every connection to it breaks then: whatever was asked is asked again."""
    saved = str(in_scope(bundle).args("sleep", "300").save())
    for _ in range(2):
        anew = subprocess.Popen(["systemctl", "daemon-reexec"])
        systemd.detached("--systemd-cgroup", "run", "--detach", "--bundle", saved, "box")
        assert GROUP.is_dir() and membership(systemd.state("box")["pid"])[""].endswith(UNIT)
        anew.wait(60)
        anew = subprocess.Popen(["systemctl", "daemon-reexec"])
        systemd.ok("delete", "--force", "box")
        anew.wait(60)
        assert not GROUP.exists()
