"""What only cgroup v1 has: limits, device lists and cpusets, each in a hierarchy of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from errno import EBUSY, EINVAL

import pytest

from pyoci.cgroup import files, layout, manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error
from support.cgroups import Start, eventually, membership, value

HERE = layout.detect()
pytestmark = pytest.mark.skipif(not HERE.v1, reason="this machine has no cgroup v1 hierarchy")


def mounted(*controllers: str) -> pytest.MarkDecorator:
    missing = [name for name in controllers if name not in HERE.v1]
    return pytest.mark.skipif(bool(missing), reason=f"no v1 hierarchy of {', '.join(missing)} here")


def test_a_new_cpuset_takes_processes(here: Layout, group: Manager) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        assert value(group, "cpuset", file) == files.read(f"{here.v1['cpuset']}/{file}")


def test_parents_are_made_usable_too(here: Layout, name: str, start: Start) -> None:
    group = manager.new(here, f"/{name}/a/b", "unused")
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
