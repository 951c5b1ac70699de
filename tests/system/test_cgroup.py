"""The cgroup manager on this machine's hierarchies: made, limited, joined, frozen, killed, removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from errno import EBUSY, EINVAL

import pytest

from pyoci.cgroup import files, layout, manager
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error

HERE = layout.detect()
needs_v1 = pytest.mark.skipif(not HERE.v1, reason="this machine has no cgroup v1 hierarchy")
needs_freezer = pytest.mark.skipif("freezer" not in HERE.v1, reason="the v1 freezer is not mounted here")


def mounted(*controllers: str) -> pytest.MarkDecorator:
    missing = [name for name in controllers if name not in HERE.v1]
    return pytest.mark.skipif(bool(missing), reason=f"no v1 hierarchy of {', '.join(missing)} here")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"pyoci-test-{os.getpid()}"


@pytest.fixture
def group(name: str) -> Iterator[Manager]:
    made = manager.new(HERE, f"/{name}", "unused")
    made.create()
    yield made
    made.kill(signal.SIGKILL)
    made.destroy()


def make_below(name: str, inner: str = "below") -> Manager:
    """A cgroup below a container's, such as the container itself may make."""
    below = manager.new(HERE, f"/{name}/{inner}", "unused")
    if HERE.mode == "v2":
        # Without controllers: with them the one above would take no processes.
        os.mkdir(below.paths()[""])
        return manager.load(below.record())
    below.create()
    return below


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that waits until it is in its cgroup: it goes on once its stdin is closed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str = "exec sleep 1000", group: Manager | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["sh", "-c", f"read x; {script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        if group:
            group.join(process.pid)
        assert process.stdin
        process.stdin.close()
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()


def membership(pid: int) -> dict[str, str]:
    """Controllers, as /proc names them, to the process's cgroup, in the hierarchies that are mounted."""
    mounted = {",".join(hierarchy.controllers) for hierarchy in HERE.hierarchies}
    lines = files.read(f"/proc/{pid}/cgroup").split("\n")
    found = (line.split(":", 2) for line in lines)
    return {names: path for _, names, path in found if names in mounted}


def value(group: Manager, controller: str, file: str) -> str:
    return files.read(f"{group.paths()[controller]}/{file}")


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_joined_process_is_in_every_hierarchy(group: Manager, name: str, start: Start) -> None:
    process = start(group=group)
    assert set(membership(process.pid).values()) == {f"/{name}"}
    assert process.pid in group.pids()


def test_without_a_path_the_cgroup_is_below_the_runtimes_own(name: str, start: Start) -> None:
    group = manager.new(HERE, None, name)
    group.create()
    try:
        process = start(group=group)
        own = membership(os.getpid())
        beside = HERE.mode == "v2"
        for controllers, path in membership(process.pid).items():
            base = os.path.dirname(own[controllers]) if beside else own[controllers]
            assert path == os.path.join(base, name)
    finally:
        group.kill(signal.SIGKILL)
        group.destroy()


@needs_v1
def test_a_new_cpuset_takes_processes(group: Manager) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        assert value(group, "cpuset", file) == files.read(f"{HERE.v1['cpuset']}/{file}")


@needs_v1
def test_parents_are_made_usable_too(name: str, start: Start) -> None:
    group = manager.new(HERE, f"/{name}/a/b", "unused")
    group.create()
    try:
        start(group=group)
    finally:
        group.kill(signal.SIGKILL)
        group.destroy()
        above = [os.path.dirname(path) for path in group.paths().values()]
        assert all(files.exists(path) for path in above), "directories above stay, as with runc"
        for path in set(above):
            os.rmdir(path)
            os.rmdir(os.path.dirname(path))


def test_a_failed_creation_takes_back_what_it_made(name: str) -> None:
    group = manager.new(HERE, f"/{name}/a", "unused")
    broken = group.groups[-1]
    broken.path += "/no\nname"
    with pytest.raises(Error, match="invalid argument") as caught:
        group.create()
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert not any(files.exists(f"{mount}/{name}") for mount in HERE.v1.values())


def test_a_cgroup_in_use_is_refused_and_left_alone(group: Manager, name: str, start: Start) -> None:
    process = start(group=group)
    second = manager.new(HERE, f"/{name}", "unused")
    for attempt in (second.check, second.create):
        with pytest.raises(Error, match=rf"in use by {process.pid} \(") as caught:
            attempt()
        assert (caught.value.code, caught.value.pointer) == ("busy", "/linux/cgroupsPath")
    second.kill(signal.SIGKILL)
    second.destroy()
    assert process.poll() is None
    assert process.pid in group.pids()


def test_a_cgroup_in_use_below_is_refused(group: Manager, name: str, start: Start) -> None:
    below = make_below(name)
    start(group=below)
    with pytest.raises(Error, match="in use"):
        manager.new(HERE, f"/{name}", "unused").create()


def test_an_empty_cgroup_that_is_there_is_taken(group: Manager, name: str, start: Start) -> None:
    again = manager.new(HERE, f"/{name}", "unused")
    again.check()
    again.create()
    process = start(group=again)
    assert process.pid in group.pids()


@pytest.mark.parametrize("above", [False, True])
def test_a_frozen_cgroup_is_refused(group: Manager, name: str, above: bool) -> None:
    group.freeze()
    try:
        with pytest.raises(Error, match="frozen") as caught:
            manager.new(HERE, f"/{name}/x" if above else f"/{name}", "unused").create()
        assert caught.value.code == "busy"
    finally:
        group.thaw()


@mounted("memory")
def test_memory(group: Manager) -> None:
    group.set(
        {
            "memory": {
                "limit": 8 << 20,
                "swap": 12 << 20,
                "reservation": 4 << 20,
                "swappiness": 10,
                "disableOOMKiller": True,
                "useHierarchy": True,
                "kernelTCP": 1 << 20,
            }
        }
    )
    assert value(group, "memory", "memory.limit_in_bytes") == str(8 << 20)
    assert value(group, "memory", "memory.memsw.limit_in_bytes") == str(12 << 20)
    assert value(group, "memory", "memory.soft_limit_in_bytes") == str(4 << 20)
    assert value(group, "memory", "memory.kmem.tcp.limit_in_bytes") == str(1 << 20)
    assert value(group, "memory", "memory.swappiness") == "10"
    assert "oom_kill_disable 1" in value(group, "memory", "memory.oom_control")
    group.update({"memory": {"limit": 64 << 20, "swap": 80 << 20}})
    assert value(group, "memory", "memory.limit_in_bytes") == str(64 << 20)
    group.update({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    assert value(group, "memory", "memory.memsw.limit_in_bytes") == str(16 << 20)
    group.update({"memory": {"limit": -1}})
    assert int(value(group, "memory", "memory.limit_in_bytes")) > 1 << 60


@mounted("memory")
def test_memory_beyond_the_limit_kills(group: Manager, start: Start) -> None:
    group.set({"memory": {"limit": 32 << 20, "swap": 32 << 20}})
    process = start(f"exec {sys.executable} -c 'bytearray(200 << 20)'", group)
    assert process.wait() == -signal.SIGKILL
    assert "oom_kill 1" in value(group, "memory", "memory.oom_control")


@mounted("memory")
def test_a_memory_limit_below_what_is_used_is_refused_by_name(group: Manager, start: Start) -> None:
    start(f"exec {sys.executable} -c 'import time; x = bytearray(20 << 20); time.sleep(1000)'", group)
    eventually(lambda: int(value(group, "memory", "memory.usage_in_bytes")) > 20 << 20)
    refusal = r"refused '65536' for memory\.limit_in_bytes in /.*: device or resource busy"
    with pytest.raises(Error, match=refusal) as caught:
        group.update({"memory": {"limit": 65536}})
    assert (caught.value.pointer, caught.value.errno) == ("/linux/resources/memory/limit", EBUSY)


@mounted("memory")
def test_a_kernel_memory_limit_that_is_ignored_is_an_error(group: Manager) -> None:
    files.write(f"{group.paths()['memory']}/memory.kmem.limit_in_bytes", "4194304")
    honoured = value(group, "memory", "memory.kmem.limit_in_bytes") == "4194304"
    try:
        group.update({"memory": {"kernel": 8 << 20}})
    except Error as error:
        assert not honoured
        assert (error.code, error.pointer) == ("not-supported", "/linux/resources/memory/kernel")
    else:
        assert honoured


@mounted("cpu")
def test_cpu(group: Manager) -> None:
    group.set({"cpu": {"shares": 512, "quota": 50000, "period": 20000, "burst": 10000}})
    assert value(group, "cpu", "cpu.shares") == "512"
    assert value(group, "cpu", "cpu.cfs_quota_us") == "50000"
    assert value(group, "cpu", "cpu.cfs_period_us") == "20000"
    assert value(group, "cpu", "cpu.cfs_burst_us") == "10000"
    group.update({"cpu": {"quota": 2000, "period": 1000000, "burst": 0}})
    assert value(group, "cpu", "cpu.cfs_quota_us") == "2000"
    assert value(group, "cpu", "cpu.cfs_burst_us") == "0"
    group.update({"cpu": {"idle": 1}})
    assert value(group, "cpu", "cpu.idle") == "1"


@mounted("cpu")
def test_a_quota_throttles(group: Manager, start: Start) -> None:
    group.set({"cpu": {"quota": 2000, "period": 20000}})
    start("while :; do :; done", group)
    eventually(
        lambda: (
            not value(group, "cpu", "cpu.stat").startswith("nr_periods 0")
            and "nr_throttled 0\n" not in value(group, "cpu", "cpu.stat")
        )
    )


@mounted("cpu")
def test_a_quota_the_kernel_finds_invalid(group: Manager) -> None:
    with pytest.raises(Error, match=r"'3' for cpu\.cfs_quota_us") as caught:
        group.set({"cpu": {"quota": 3}})
    assert (caught.value.pointer, caught.value.errno) == ("/linux/resources/cpu/quota", EINVAL)


@mounted("cpuset")
def test_cpuset(group: Manager, start: Start) -> None:
    group.set({"cpu": {"cpus": "0", "mems": "0"}})
    process = start(group=group)
    assert os.sched_getaffinity(process.pid) == {0}
    with pytest.raises(Error) as caught:
        group.update({"cpu": {"cpus": "4096"}})
    assert caught.value.pointer == "/linux/resources/cpu/cpus"


@mounted("pids")
def test_forks_beyond_the_limit_fail(group: Manager, start: Start) -> None:
    group.set({"pids": {"limit": 1}})
    process = start("true | true", group)
    assert process.stderr
    assert b"fork" in process.stderr.read()
    assert process.wait() != 0
    assert value(group, "pids", "pids.max") == "1"
    group.update({"pids": {"limit": -1}})
    assert value(group, "pids", "pids.max") == "max"


@mounted("blkio")
def test_block_devices(group: Manager) -> None:
    device = os.stat("/").st_dev
    major, minor = os.major(device), os.minor(device)
    group.set(
        {
            "blockIO": {
                "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}],
                "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 100}],
            }
        }
    )
    assert value(group, "blkio", "blkio.throttle.read_bps_device") == f"{major}:{minor} {1 << 20}"
    assert value(group, "blkio", "blkio.throttle.write_iops_device") == f"{major}:{minor} 100"
    with pytest.raises(Error, match="no such device") as caught:
        group.set({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 0, "rate": 1}]}})
    assert caught.value.pointer == "/linux/resources/blockIO/throttleReadBpsDevice/0"


@pytest.mark.parametrize(
    ("controller", "resources", "pointer"),
    [
        ("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "/hugepageLimits/0"),
        ("net_cls", {"network": {"classID": 1}}, "/network/classID"),
        ("net_prio", {"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "/network/priorities/0"),
        ("rdma", {"rdma": {"mlx5": {"hcaHandles": 1}}}, "/rdma/mlx5"),
    ],
)
def test_a_controller_that_is_not_here_is_an_error(
    group: Manager, controller: str, resources: dict[str, object], pointer: str
) -> None:
    enabled = HERE.unified and controller in value(group, "", "cgroup.controllers").split()
    if controller in HERE.v1 or enabled:
        pytest.skip(f"this machine has the {controller} controller")
    with pytest.raises(Error, match=controller) as caught:
        group.set(resources)
    assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/resources" + pointer)


@pytest.mark.skipif(HERE.mode != "hybrid", reason="about cgroup2 beside v1")
def test_unified_files_beside_v1(group: Manager) -> None:
    group.set({"unified": {"cgroup.max.depth": "3"}})
    assert value(group, "", "cgroup.max.depth") == "3"
    with pytest.raises(Error, match=r"memory\.max") as caught:
        group.set({"unified": {"memory.max": "max"}})
    assert caught.value.pointer == "/linux/resources/unified/memory.max"


def opened(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.read().decode().strip()


TRY = "for f in null zero kmsg; do (: </dev/$f) 2>/dev/null && echo $f; done; true"


@mounted("devices")
def test_devices_are_denied_but_the_default_ones(group: Manager, start: Start) -> None:
    group.set({})
    assert opened(start(TRY, group)) == "null\nzero"
    group.set({"devices": [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]})
    assert "c 1:11 r" in value(group, "devices", "devices.list").split("\n")
    assert opened(start(TRY, group)) == "null\nzero\nkmsg"
    group.set({"devices": [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11}]})
    assert opened(start(TRY, group)) == "null\nzero"


def test_freeze_and_thaw(group: Manager, start: Start) -> None:
    process = start("while :; do echo; done", group)
    assert process.stdout
    process.stdout.readline()
    assert not group.frozen()
    group.freeze()
    assert group.frozen()
    os.set_blocking(process.stdout.fileno(), False)
    while process.stdout.read():
        continue
    assert not process.stdout.read(), "a frozen process writes no more"
    group.thaw()
    assert not group.frozen()
    eventually(process.stdout.read)


def test_a_cgroup_that_is_gone_is_not_frozen(group: Manager) -> None:
    group.destroy()
    group.thaw()
    group.kill(signal.SIGKILL)
    group.destroy()
    assert not group.frozen()
    assert group.pids() == []
    with pytest.raises(Error, match="freezing"):
        group.freeze()


def test_what_is_frozen_from_above_is_said_to_be(group: Manager, name: str) -> None:
    below = make_below(name)
    group.freeze()
    try:
        assert below.frozen()
        with pytest.raises(Error, match="above") as caught:
            below.thaw()
        assert caught.value.code == "wrong-state"
    finally:
        group.thaw()
    assert not below.frozen()


def test_every_process_gets_the_signal(group: Manager, name: str, start: Start) -> None:
    below = make_below(name)
    processes = [start(group=group), start(group=below)]
    outside = start()
    group.kill(signal.SIGTERM)
    assert [process.wait() for process in processes] == [-signal.SIGTERM] * 2
    assert outside.poll() is None


def test_frozen_processes_are_killed_nested_ones_too(group: Manager, name: str, start: Start) -> None:
    below = make_below(name)
    processes = [start(group=group), start(group=below)]
    below.freeze()
    group.freeze()
    group.kill(signal.SIGKILL)
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL] * 2
    group.destroy()
    assert not any(files.exists(path) for path in group.paths().values())


def test_processes_that_multiply_are_killed(group: Manager, start: Start) -> None:
    group.set({"pids": {"limit": 200}})
    start("bomb() { bomb & bomb & }; bomb; sleep 1000", group)
    eventually(lambda: len(group.pids()) > 20)
    group.kill(signal.SIGKILL)
    group.destroy()


def test_removal_waits_for_processes_that_are_exiting(group: Manager, start: Start) -> None:
    process = start(group=group)
    threading.Timer(0.2, process.kill).start()
    group.destroy()
    assert process.poll() is not None or process.wait() == -signal.SIGKILL
    group.destroy()


def test_removal_names_what_stays(group: Manager, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "REMOVE_SECONDS", 0.1)
    process = start(group=group)
    eventually(lambda: files.read(f"/proc/{process.pid}/comm") == "sleep")
    with pytest.raises(Error, match=rf"{process.pid} \(sleep, [RSD]") as caught:
        group.destroy()
    assert caught.value.code == "busy"


def test_groups_that_the_container_made_are_removed(group: Manager) -> None:
    for path in set(group.paths().values()):
        os.makedirs(f"{path}/a/b")
        os.mkdir(f"{path}/c")
    group.destroy()
    assert not any(files.exists(path) for path in group.paths().values())


def test_the_record_is_enough_to_kill_and_remove(name: str, start: Start) -> None:
    group = manager.new(HERE, f"/{name}", "unused")
    group.create()
    process = start(group=group)
    loaded = manager.load(json.loads(json.dumps(group.record())))
    assert process.pid in loaded.pids()
    loaded.kill(signal.SIGKILL)
    loaded.destroy()
    assert process.wait() == -signal.SIGKILL
    assert not any(files.exists(path) for path in group.paths().values())


def test_exec_joins_the_containers_cgroup_or_one_below(group: Manager, name: str, start: Start) -> None:
    make_below(name, "sub")
    first, second = start(), start()
    group.exec_join(first.pid)
    group.exec_join(second.pid, {"": "sub"})
    assert set(membership(first.pid).values()) == {f"/{name}"}
    assert set(membership(second.pid).values()) == {f"/{name}/sub"}
    group.exec_join(second.pid, {"": "/"})
    assert set(membership(second.pid).values()) == {f"/{name}"}


@needs_v1
def test_exec_joins_by_controller(group: Manager, name: str, start: Start) -> None:
    os.mkdir(f"{group.paths()['pids']}/sub")
    process = start()
    group.exec_join(process.pid, {"pids": "sub"})
    found = membership(process.pid)
    assert found["pids"] == f"/{name}/sub"
    assert found["freezer"] == f"/{name}"
    with pytest.raises(Error, match="nonsense") as caught:
        group.exec_join(process.pid, {"nonsense": "sub"})
    assert caught.value.code == "usage"


@pytest.mark.parametrize("path", ["..", "../x", "a/../..", "/etc", "a//b", "./a", ""])
def test_exec_does_not_leave_the_containers_cgroup(group: Manager, start: Start, path: str) -> None:
    process = start()
    before = membership(process.pid)
    with pytest.raises(Error, match="not a path below") as caught:
        group.exec_join(process.pid, {"": path})
    assert caught.value.code == "usage"
    assert membership(process.pid) == before


def test_exec_into_a_missing_group_moves_nothing(group: Manager, start: Start) -> None:
    process = start()
    before = membership(process.pid)
    with pytest.raises(Error, match="no cgroup missing") as caught:
        group.exec_join(process.pid, {"": "missing"})
    assert caught.value.code == "not-found"
    assert membership(process.pid) == before


def test_a_process_that_is_gone_cannot_join(group: Manager, start: Start) -> None:
    process = start("true")
    process.wait()
    with pytest.raises(Error, match=f"moving process {process.pid}"):
        group.join(process.pid)
