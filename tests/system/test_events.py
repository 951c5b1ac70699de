"""`pyoci events`: what a container uses, in runc's shape and with true numbers, and its lack of memory."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup.layout import Layout
from support.cgroups import eventually
from support.containers import Bundle, Runtime
from support.systemd import NOT_HERE, SYSTEMD

pytestmark = pytest.mark.layout

MIB = 1 << 20
# What pyoci tells beyond runc 1.1: PSI by runc 1.2's names, and on v2 the cpuset and the peak.
BEYOND = ("cpu.psi.", "memory.psi.", "blkio.psi.", "cpuset.cpus", "cpuset.mems", "memory.usage.max")


@pytest.fixture(autouse=True)
def _in_every_mode(here: Layout) -> None:
    """Each test once as the machine is, and once with v1 alone."""


class Watcher:
    """`pyoci events` while it watches."""

    def __init__(self, runtime: Runtime, *flags: str) -> None:
        self.process = subprocess.Popen(
            runtime.command("events", *flags, "box"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.pid = self.process.pid
        self.rest = b""

    def wait_until_it_waits(self) -> None:
        eventually(lambda: "poll" in Path(f"/proc/{self.pid}/wchan").read_text() or self.process.poll())

    def line(self) -> dict[str, Any]:
        """The next event; it has to come as soon as it happens."""
        assert self.process.stdout
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], 60)
            assert ready, "no event came"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "it ended instead"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        event = json.loads(line)
        assert isinstance(event, dict)
        return event

    def end(self) -> tuple[int, bytes]:
        """How it ended, and what it said from now on."""
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, self.rest + out + error


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    yield bundle.args("sleep", "300")
    runtime.ok("delete", "--force", "box")


def start(runtime: Runtime, box: Bundle) -> int:
    runtime.detached("run", "--detach", "--bundle", str(box.save()), "box")
    pid: int = runtime.state("box")["pid"]
    return pid


def stats(runtime: Runtime) -> dict[str, Any]:
    event = json.loads(runtime.ok("events", "--stats", "box"))
    assert set(event) == {"type", "id", "data"}
    assert (event["type"], event["id"]) == ("stats", "box")
    data = event["data"]
    assert isinstance(data, dict)
    return data


def keys(value: Any, path: str = "") -> set[str]:
    """Every key of the object, with the keys above it: cpu.usage.total."""
    if isinstance(value, dict) and value:
        return {key for name, item in value.items() for key in keys(item, f"{path}{name}.")}
    return {path.rstrip(".")}


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
def test_the_keys_are_runcs(runtime: Runtime, box: Bundle, tmp_path: Path) -> None:
    # What is 0 is left out of some counters, the page cache for one.
    box.shell("busybox dd if=/dev/zero of=/tmp/file bs=64k count=8 2>/dev/null; while :; do :; done")
    box.config["linux"]["resources"] = {
        "memory": {"limit": 64 * MIB},
        "cpu": {"quota": 2000, "period": 20000},
        "pids": {"limit": 20},
    }
    found = {}
    for name, one in {"runc": Runtime(tmp_path / "runc", "runc"), "pyoci": runtime}.items():
        start(one, box)
        eventually(lambda one=one: stats(one)["cpu"]["throttling"].get("throttledTime"))  # type: ignore[misc]
        eventually(lambda one=one: stats(one)["memory"].get("cache"))  # type: ignore[misc]
        data = stats(one)
        found[name] = {key for key in keys(data) if not key.startswith("blkio.io")}
        if name == "runc":
            one.ok("delete", "--force", "box")
    assert found["runc"] - found["pyoci"] <= {"blkio"}  # which says no more than that there is nothing in it
    assert [key for key in found["pyoci"] - found["runc"] if not key.startswith(BEYOND)] == []


def test_memory_that_is_used_is_counted(runtime: Runtime, box: Bundle) -> None:
    box.shell("busybox dd if=/dev/zero of=/dev/filled bs=1048576 count=8 2>/dev/null; exec sleep 300")
    box.config["linux"]["resources"] = {"memory": {"limit": 64 * MIB}}
    start(runtime, box)

    def raw(memory: dict[str, Any]) -> int:
        told: int = memory["raw"].get("total_shmem", memory["raw"].get("shmem"))
        return told

    eventually(lambda: raw(stats(runtime)["memory"]) == 8 * MIB)
    memory = stats(runtime)["memory"]
    assert memory["usage"]["limit"] == 64 * MIB
    assert 8 * MIB < memory["usage"]["usage"] < 16 * MIB
    assert memory["cache"] >= 8 * MIB
    assert memory["swap"]["usage"] >= memory["usage"]["usage"], "together with memory, as v1 counts it"


def test_processes_are_counted(runtime: Runtime, box: Bundle) -> None:
    box.shell("sleep 300 & sleep 300 & wait")
    box.config["linux"]["resources"] = {"pids": {"limit": 20}}
    start(runtime, box)
    eventually(lambda: stats(runtime)["pids"] == {"current": 3, "limit": 20})


def test_time_and_throttling_are_counted(runtime: Runtime, box: Bundle) -> None:
    box.shell("while :; do :; done")
    box.config["linux"]["resources"] = {"cpu": {"quota": 2000, "period": 20000, "cpus": "0"}}
    pid = start(runtime, box)
    eventually(lambda: stats(runtime)["cpu"]["throttling"].get("throttledTime", 0) > 100_000_000)
    eventually(lambda: stats(runtime)["cpu"]["usage"]["user"] > 0)
    before = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    data = stats(runtime)
    after = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    # The cgroup began with the container's set-up, by another process.
    assert before * 0.9 <= data["cpu"]["usage"]["total"] <= after + 100_000_000
    assert 0 < data["cpu"]["throttling"]["throttledPeriods"] <= data["cpu"]["throttling"]["periods"]
    assert data["cpuset"]["cpus"] == [0]
    if "percpu" in data["cpu"]["usage"]:
        first, *others = data["cpu"]["usage"]["percpu"]

        def each() -> list[int]:
            told: list[int] = stats(runtime)["cpu"]["usage"]["percpu"]
            return told

        eventually(lambda: each()[0] >= first + 10_000_000)
        assert each()[1:] == others, "it may run nowhere else"


def test_pressure_is_told_where_the_kernel_knows_it(here: Layout, runtime: Runtime, box: Bundle) -> None:
    start(runtime, box)
    told = {name for name, section in stats(runtime).items() if "psi" in (section or {})}
    known = here.unified is not None and Path("/proc/pressure/cpu").exists()
    assert told == ({"cpu", "memory", "blkio"} if known else set())
    if known:
        psi = stats(runtime)["memory"]["psi"]
        assert set(psi) == {"some", "full"}
        assert set(psi["some"]) == {"avg10", "avg60", "avg300", "total"}


def readable(box: Bundle) -> str:
    """Something of 4 MiB or more that the container can read from a disk, by its path there; "" for none."""
    number = box.rootfs.stat().st_dev
    if os.major(number):
        box.rootfs.joinpath("data").write_bytes(b"x" * 4 * MIB)
        os.sync()
        place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        count_uses(box, device_of(place.parent if (place / "partition").exists() else place))
        return "/data"
    for disk in Path("/sys/block").iterdir():
        if int((disk / "size").read_text()) * 512 < 4 * MIB:
            continue
        with contextlib.suppress(OSError):
            os.close(os.open(f"/dev/{disk.name}", os.O_RDONLY))
            device = {"type": "b", **device_of(disk)}
            box.config["linux"]["devices"] = [{"path": "/dev/disk", **device}]
            count_uses(box, device_of(disk))
            box.config["linux"]["resources"]["devices"] = [{"allow": True, **device, "access": "rm"}]
            return "/dev/disk"
    return ""


def device_of(disk: Path) -> dict[str, int]:
    major, minor = map(int, (disk / "dev").read_text().split(":"))
    return {"major": major, "minor": minor}


def count_uses(box: Bundle, device: dict[str, int]) -> None:
    """v1 counts a disk's uses only once some cgroup has had a limit for it; this one is never reached."""
    limit = {"throttleReadBpsDevice": [{**device, "rate": 1 << 40}]}
    box.config["linux"]["resources"] = {"blockIO": limit}


def test_reads_of_a_disk_are_counted(runtime: Runtime, box: Bundle) -> None:
    path = readable(box)
    if not path:
        pytest.skip("the tests' directory is on no disk, and no other can be read")
    box.shell(f"busybox dd if={path} of=/dev/null bs=1048576 count=4 iflag=direct; exec sleep 300")
    start(runtime, box)

    def read() -> int:
        entries = stats(runtime)["blkio"].get("ioServiceBytesRecursive", [])
        return sum(entry.get("value", 0) for entry in entries if entry["op"] == "Read")

    eventually(lambda: read() >= 4 * MIB)
    assert read() < 8 * MIB, "each byte once"


def test_interfaces_of_its_own_are_told(runtime: Runtime, box: Bundle) -> None:
    pid = start(runtime, box)
    assert stats(runtime)["network_interfaces"] is None
    enter = ["nsenter", "--net", "--target", str(pid), "ip"]
    subprocess.run([*enter, "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    for name in ("v0", "v1"):
        subprocess.run([*enter, "link", "set", name, "up"], check=True)

    def told() -> dict[str, dict[str, Any]]:
        return {one["Name"]: one for one in stats(runtime)["network_interfaces"]}

    assert set(told()) == {"v0", "v1"}
    # Each tells its neighbours of itself, and the other hears it.
    eventually(lambda: told()["v0"]["TxBytes"] > 0 and told()["v1"]["RxPackets"] > 0)


def test_reports_come_one_by_one(runtime: Runtime, box: Bundle) -> None:
    start(runtime, box)
    watcher = Watcher(runtime, "--interval", "20ms")
    for _ in range(3):
        event = watcher.line()
        assert (event["type"], event["id"]) == ("stats", "box")
        assert set(event["data"]) == set(stats(runtime))
    runtime.ok("kill", "box", "KILL", own={watcher.pid})
    status, _ = watcher.end()
    assert status == 0


LITTLE = {"memory": {"limit": 16 * MIB}}


def test_a_kill_for_lack_of_memory_is_told(runtime: Runtime, box: Bundle) -> None:
    box.config["linux"]["resources"] = LITTLE
    start(runtime, box)
    watcher = Watcher(runtime, "--interval", "1h")
    watcher.wait_until_it_waits()
    own = {watcher.pid}
    assert runtime.call("exec", "box", "busybox", "tail", "/dev/zero", own=own).returncode == 137
    assert watcher.line() == {"type": "oom", "id": "box"}
    assert stats(runtime)["memory"]["usage"]["failcnt"] > 0
    assert watcher.process.poll() is None, "the container lives on, and is watched on"
    runtime.ok("kill", "box", "KILL", own=own)
    assert watcher.end()[0] == 0


def test_a_container_that_dies_of_it(runtime: Runtime, box: Bundle) -> None:
    """It is watched from before its program runs; that there is no more is told after what ended it."""
    box.config["linux"]["resources"] = LITTLE
    runtime.create(box.args("busybox", "tail", "/dev/zero"), "box")
    watcher = Watcher(runtime, "--interval", "1h")
    watcher.wait_until_it_waits()
    runtime.ok("start", "box", own={watcher.pid})
    assert watcher.line() == {"type": "oom", "id": "box"}
    assert watcher.end()[0] == 0


def test_waiting_takes_no_time(runtime: Runtime, box: Bundle) -> None:
    """Nothing is asked again and again: whatever goes on in the container, it isn't even woken."""
    pid = start(runtime, box)
    watcher = Watcher(runtime, "--interval", "1h")
    watcher.wait_until_it_waits()

    def switches() -> list[str]:
        text = Path(f"/proc/{watcher.pid}/status").read_text()
        return [line for line in text.splitlines() if "ctxt_switches" in line]

    before = switches()
    for _ in range(5):
        runtime.ok("exec", "box", "true", own={watcher.pid})
    runtime.ok("pause", "box", own={watcher.pid})
    runtime.ok("resume", "box", own={watcher.pid})
    assert switches() == before
    os.kill(pid, signal.SIGKILL)
    assert watcher.end() == (0, b""), "but by its end"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(runtime: Runtime, box: Bundle, number: int) -> None:
    start(runtime, box)
    watcher = Watcher(runtime, "--interval", "1h")
    watcher.wait_until_it_waits()
    os.kill(watcher.pid, number)
    status, said = watcher.end()
    assert status in (128 + number, -number)
    assert said == b""


@pytest.mark.parametrize("interval", ["1h", "10ms"])
def test_it_ends_quietly_when_its_reader_goes(runtime: Runtime, box: Bundle, interval: str) -> None:
    start(runtime, box)
    watcher = Watcher(runtime, "--interval", interval)
    if interval == "1h":
        watcher.wait_until_it_waits()
    else:
        watcher.line()  # it may wait for its reader already, as long as nobody reads the next
    assert watcher.process.stdout and watcher.process.stderr
    watcher.process.stdout.close()
    watcher.process.wait(60)
    with watcher.process.stderr as said:
        assert said.read() == b""


@pytest.mark.parametrize("flags", [(), ("--stats",)])
def test_a_container_that_has_ended(runtime: Runtime, box: Bundle, flags: tuple[str, ...]) -> None:
    pid = start(runtime, box)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: runtime.state("box")["status"] == "stopped")
    done = runtime.call("events", *flags, "box")
    assert (done.returncode, done.stdout) == (1, "")
    assert "container with id box is not running: it is stopped" in done.stderr


@pytest.mark.parametrize("flags", [(), ("--stats",)])
def test_a_container_without_cgroups(runtime: Runtime, box: Bundle, flags: tuple[str, ...]) -> None:
    saved = str(box.save())
    runtime.detached("--cgroup-manager", "disabled", "run", "--detach", "--bundle", saved, "box")
    done = runtime.call("events", *flags, "box")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the container has no cgroups, and what it uses isn't counted" in done.stderr


@pytest.mark.parametrize("interval", ["0", "0s", "-1s", "", "5", "s", "1 s", "1x", "99999999h"])
def test_intervals_that_are_none(runtime: Runtime, interval: str) -> None:
    done = runtime.call("events", "--interval", interval, "box")
    assert done.returncode == 1 and "interval" in done.stderr


@pytest.mark.skipif(not SYSTEMD, reason=NOT_HERE)
def test_in_a_unit_of_systemds(runtime: Runtime, box: Bundle) -> None:
    box.config["linux"]["resources"] = LITTLE
    saved = str(box.save())
    runtime.detached("--systemd-cgroup", "run", "--detach", "--bundle", saved, "box")
    assert stats(runtime)["memory"]["usage"]["limit"] == 16 * MIB
    assert stats(runtime)["pids"]["current"] == 1
