"""What only cgroup v2 has: birth in a cgroup, its files, its way to deny devices, its one tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import files, layout, manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error
from support.cgroups import Start, eventually, membership, value
from support.containers import Bundle, Runtime

HERE = layout.detect()
pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(HERE.mode != "v2", reason=f"cgroups are {HERE.mode} here, not v2 alone"),
]


@pytest.fixture
def here() -> Layout:
    return HERE


def test_every_controller_is_enabled(group: Manager) -> None:
    there = files.read(f"{HERE.unified}/cgroup.controllers").split()
    assert {"cpu", "memory", "pids"} <= set(there)
    assert value(group, "", "cgroup.controllers").split() == there


def test_limits(group: Manager) -> None:
    group.set(
        {
            "memory": {"limit": 64 << 20, "swap": 80 << 20, "reservation": 32 << 20},
            "cpu": {
                "shares": 2048,
                "quota": 50000,
                "period": 100000,
                "burst": 10000,
                "cpus": "0",
                "mems": "0",
            },
            "pids": {"limit": 20},
            "unified": {"memory.high": "50331648", "cgroup.max.depth": "3"},
        }
    )
    assert value(group, "", "memory.max") == str(64 << 20)
    assert value(group, "", "memory.swap.max") == str(16 << 20)
    assert value(group, "", "memory.low") == str(32 << 20)
    assert value(group, "", "memory.high") == "50331648"
    assert value(group, "", "cpu.weight") == "174"
    assert value(group, "", "cpu.max") == "50000 100000"
    assert value(group, "", "cpu.max.burst") == "10000"
    assert value(group, "", "cpuset.cpus") == "0"
    assert value(group, "", "pids.max") == "20"
    group.update({"cpu": {"quota": 20000}, "memory": {"limit": 32 << 20, "swap": -1}})
    assert value(group, "", "cpu.max") == "20000 100000", "the period stays"
    assert value(group, "", "memory.swap.max") == "max"
    group.update({"cpu": {"idle": 1}})
    assert value(group, "", "cpu.idle") == "1"
    group.update({"cpu": {"shares": 1024, "idle": 0}})
    assert value(group, "", "cpu.weight") == "100", "weight can be set only once it is idle no more"


def test_memory_beyond_the_limit_kills(group: Manager, start: Start) -> None:
    group.set({"memory": {"limit": 32 << 20, "swap": 32 << 20}})
    process = start(f"exec {sys.executable} -c 'bytearray(200 << 20)'", group)
    assert process.wait() == -signal.SIGKILL
    assert "oom_kill 1" in value(group, "", "memory.events")


def test_check_before_update(group: Manager, start: Start) -> None:
    start(f"exec {sys.executable} -c 'import time; x = bytearray(20 << 20); time.sleep(1000)'", group)
    eventually(lambda: int(value(group, "", "memory.current")) > 20 << 20)
    with pytest.raises(Error) as caught:
        group.update({"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}})
    assert caught.value.pointer == "/linux/resources/memory/limit"
    assert value(group, "", "memory.max") == "max"


def test_a_file_or_controller_that_is_not_there_is_named(group: Manager) -> None:
    for wanted, pointer in (
        ({"unified": {"memory.nonsense": "1"}}, "/unified/memory.nonsense"),
        ({"unified": {"nonsense.max": "1"}}, "/unified/nonsense.max"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "/hugepageLimits/0"),
        ({"network": {"classID": 1}}, "/network/classID"),
    ):
        with pytest.raises(Error) as caught:
            group.set(wanted)
        assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/resources" + pointer)


def test_block_devices(group: Manager) -> None:
    disks = [name for name in os.listdir("/sys/block") if not name.startswith(("ram", "zram"))]
    if not disks or "io" not in value(group, "", "cgroup.controllers").split():
        pytest.skip("this machine has no block device or no io controller")
    major, minor = (int(word) for word in Path(f"/sys/block/{disks[0]}/dev").read_text().split(":"))
    device = {"major": major, "minor": minor}
    group.set(
        {
            "blockIO": {
                "throttleReadBpsDevice": [{**device, "rate": 1 << 20}],
                "throttleWriteIOPSDevice": [{**device, "rate": 100}],
            }
        }
    )
    assert value(group, "", "io.max") == f"{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100"


DENY = {"allow": False, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11}
DEFAULT = "null zero random"


def openable(group: Manager, start: Start, way: str) -> str:
    """Which devices a process in the cgroup can open; none of them does anything when only opened."""
    names = f"{DEFAULT} kmsg"
    process = start(f"for f in {names}; do (: {way}/dev/$f) 2>/dev/null && echo $f; done; true", group)
    assert process.stdout
    return " ".join(process.stdout.read().decode().split())


@pytest.mark.parametrize(
    ("rules", "read", "written"),
    [
        (None, DEFAULT, DEFAULT),
        ([DENY], DEFAULT, DEFAULT),
        ([DENY, {"allow": True, **KMSG, "access": "r"}], f"{DEFAULT} kmsg", DEFAULT),
        ([DENY, {"allow": True, "type": "c", "major": 1}, {"allow": False, **KMSG, "access": "r"}],
         DEFAULT, f"{DEFAULT} kmsg"),
        ([{"allow": True}, {"allow": False, **KMSG, "access": "w"}], f"{DEFAULT} kmsg", DEFAULT),
        ([{"allow": True}], f"{DEFAULT} kmsg", f"{DEFAULT} kmsg"),
    ],
)  # fmt: skip
def test_devices(group: Manager, start: Start, rules: list[object] | None, read: str, written: str) -> None:
    group.set({} if rules is None else {"devices": rules})
    assert openable(group, start, "<") == read
    assert openable(group, start, ">") == written


def test_device_rules_are_replaced_not_added_to(group: Manager, start: Start) -> None:
    group.set({"devices": [DENY]})
    assert openable(group, start, "<") == DEFAULT
    group.update({"devices": [{"allow": True}, {"allow": False, **KMSG, "access": "w"}]})
    assert openable(group, start, "<") == f"{DEFAULT} kmsg"
    assert openable(group, start, ">") == DEFAULT
    group.update({"devices": [{"allow": True}]})
    assert openable(group, start, ">") == f"{DEFAULT} kmsg"


def test_signals_do_not_keep_device_rules_out(group: Manager) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        for _ in range(100):
            group.update({"devices": [DENY]})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_birth_descriptor_is_the_cgroup(group: Manager) -> None:
    descriptor = group.birth_fd()
    try:
        assert os.path.samestat(os.fstat(descriptor), os.stat(group.paths()[""]))
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_where_the_container_made_controllers_its_own_exec_goes_to_its_first_process(
    group: Manager, name: str, start: Start
) -> None:
    path = group.paths()[""]
    os.mkdir(f"{path}/init")
    first = start("exec sleep 1000", group)
    files.write(f"{path}/init/cgroup.procs", str(first.pid))
    files.write(f"{path}/cgroup.subtree_control", "+memory")
    outside = subprocess.Popen(["sleep", "1000"])
    try:
        with pytest.raises(Error, match="device or resource busy"):
            group.exec_join(outside.pid)
        with pytest.raises(Error, match="device or resource busy"):
            group.exec_join(outside.pid, {"": "/"}, first.pid)
        group.exec_join(outside.pid, None, first.pid)
        assert membership(outside.pid) == {"": f"/{name}/init"}
    finally:
        outside.kill()
        outside.wait()


def test_no_controllers_means_their_properties_are_refused(
    here: Layout, group: Manager, name: str, start: Start
) -> None:
    start("exec sleep 1000", group)
    below = manager.new(here, f"/{name}/below", "unused")
    below.create()
    with pytest.raises(Error, match=r"memory\.max") as caught:
        below.set({"memory": {"limit": 1 << 20}})
    assert caught.value.pointer == "/linux/resources/memory/limit"


@pytest.fixture
def above(name: str) -> Iterator[Path]:
    """Somebody's cgroup, with a process and without controllers for those below it."""
    path = Path(HERE.unified or "", f"{name}-above")
    path.mkdir()
    process = subprocess.Popen(["sleep", "1000"])
    (path / "cgroup.procs").write_text(str(process.pid))
    yield path
    process.kill()
    process.wait()
    eventually(lambda: manager.remove_tree(str(path)))


def below(bundle: Bundle, above: Path, name: str, **resources: object) -> str:
    """A bundle whose container has its cgroup in another."""
    bundle.shell("cat /proc/self/cgroup").config["linux"].update(
        cgroupsPath=f"/{above.name}/{name}", resources=resources
    )
    return str(bundle.save())


def test_a_cgroup_with_processes_stays_as_it_is(runtime: Runtime, bundle: Bundle, above: Path) -> None:
    """A controller that counts threads could be handed down from it, and would make it threaded."""
    assert runtime.ok("run", "--bundle", below(bundle, above, "box"), "box").startswith("0::/")
    assert (above / "cgroup.type").read_text() == "domain\n"
    assert (above / "cgroup.subtree_control").read_text() == ""


@pytest.mark.parametrize(
    ("resources", "file"),
    [({"memory": {"limit": 64 << 20}}, "memory.max"), ({"pids": {"limit": 20}}, "pids.max")],
)
def test_whose_processes_keep_a_limit_out_is_said(
    runtime: Runtime, bundle: Bundle, above: Path, resources: dict[str, object], file: str
) -> None:
    done = runtime.call("run", "--bundle", below(bundle, above, "box", **resources), "box")
    assert done.returncode == 1
    controller = file.partition(".")[0]
    pid = (above / "cgroup.procs").read_text().strip()
    assert (
        f"/linux/resources/{controller}/limit: there is no {file} in {above}/box: {above} doesn't hand the "
        f"controller {controller} down, as a cgroup that has processes can't: {pid} (sleep, "
    ) in done.stderr
    assert "move them to a cgroup of their own" in done.stderr
    assert (above / "cgroup.type").read_text() == "domain\n"
    assert [path.name for path in above.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("threads", "{above}/threads is threaded and can't have a container's processes\n"),
        (
            "threads/box",
            "is domain invalid and can't have a container's processes, since {above}/threads is threaded",
        ),
        ("box", "is domain invalid and can't have a container's processes, since {above} is domain threaded"),
    ],
)
def test_threaded_cgroups_are_refused(
    runtime: Runtime, bundle: Bundle, above: Path, where: str, says: str
) -> None:
    """A container there could be neither limited nor listed."""
    (above / "threads").mkdir()
    (above / "threads/cgroup.type").write_text("threaded")
    done = runtime.call("run", "--bundle", below(bundle, above, where), "box")
    assert done.returncode == 1
    assert "/linux/cgroupsPath: the cgroup " in done.stderr
    assert says.format(above=above) in done.stderr
    assert "name a cgroup that isn't in a threaded one" in done.stderr
    assert (above / "threads/cgroup.type").read_text() == "threaded\n"
    assert [path.name for path in above.iterdir() if path.is_dir()] == ["threads"]
    assert not list((above / "threads").glob("*/"))
