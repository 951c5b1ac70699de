"""Limits felt: the OOM kill happens, the fork fails, the device isn't opened, the quota throttles."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cgroups import eventually
from support.containers import Bundle, Runtime, reap_orphans, status
from support.limited import Limited, limited, managers, version

pytestmark = pytest.mark.layout

MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}


@pytest.fixture(params=managers())
def box(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[Limited]:
    with limited(runtime, bundle, request.param) as made:
        yield made


def run(box: Limited, script: str, resources: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """A container's whole life in the foreground."""
    box.bundle.shell(script).config["linux"]["resources"] = resources
    return box.runtime.call("run", "--bundle", str(box.bundle.save()), "box")


def test_more_memory_than_the_limit_is_deadly(box: Limited) -> None:
    script = "busybox dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?"
    assert run(box, script, {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}).stdout == "137\n"
    assert run(box, script, {"memory": {"limit": 128 * MIB}}).stdout == "0\n"


def test_without_oom_killer_it_waits_and_can_be_deleted(box: Limited) -> None:
    """disableOOMKiller, which only v1 has: its process sleeps in the kernel until it is killed."""
    if version(box.manager) == 2:
        pytest.skip("cgroup v2 has no way to disable the OOM killer")
    # It has to be the program itself that touches the memory: a system call would only return an error.
    box.bundle.shell("x=xxxxxxxx; while :; do x=$x$x; done")
    box.start({"memory": {"limit": 32 * MIB, "swap": 32 * MIB, "disableOOMKiller": True}})
    eventually(lambda: "under_oom 1" in box.holds("memory.oom_control"))
    box.runtime.ok("delete", "--force", "box")


def test_more_processes_than_the_limit_cannot_be(box: Limited) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 9 & done"
    done = run(box, script, {"pids": {"limit": 5}})
    assert done.returncode != 0 and "can't fork" in done.stderr
    assert run(box, script, {"pids": {"limit": 20}}).returncode == 0


def test_devices_are_opened_only_as_the_rules_say(box: Limited) -> None:
    _node(box.bundle.rootfs / "fuse", 10, 229)
    _node(box.bundle.rootfs / "kmsg", 1, 11)
    script = "for f in /fuse /kmsg /dev/null; do (: >$f) 2>/dev/null && echo $f; done; true"
    rules = [DENY_ALL, {"allow": True, "access": "w", "type": "c", "major": 1, "minor": 11}]
    assert run(box, script, {"devices": rules}).stdout == "/kmsg\n/dev/null\n"
    refused = run(box, "cat /kmsg", {"devices": rules})
    assert refused.returncode != 0 and "Operation not permitted" in refused.stderr
    assert run(box, script, {"devices": [DENY_ALL]}).stdout == "/dev/null\n"


def test_devices_may_be_made_but_not_opened(box: Limited) -> None:
    """The default rules, with which every runtime ends the list, allow mknod(2)."""
    for kind in ("bounding", "effective", "permitted"):
        box.bundle.config["process"]["capabilities"][kind].append("CAP_MKNOD")
    done = run(box, "busybox mknod /new c 1 11 && : > /new", {"devices": [DENY_ALL]})
    assert done.returncode != 0 and "can't create /new: Operation not permitted" in done.stderr
    assert stat.S_ISCHR((box.bundle.rootfs / "new").stat().st_mode)


def _node(path: Path, major: int, minor: int) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    path.chmod(0o666)


def test_a_quota_throttles(box: Limited) -> None:
    box.bundle.shell("while :; do :; done")
    box.start({"cpu": {"quota": 2000, "period": 20000}})
    eventually(lambda: _count(box, "nr_throttled") > 0)


def _count(box: Limited, name: str) -> int:
    return int(next(line.split()[1] for line in box.holds("cpu.stat") if line.startswith(f"{name} ")))


def test_a_cpuset_restricts(box: Limited) -> None:
    last = str(max(os.sched_getaffinity(0)))
    found = status(box_sleeping(box, {"cpu": {"cpus": last, "mems": "0"}}))
    assert (found["Cpus_allowed_list"], found["Mems_allowed_list"]) == ([last], ["0"])


def box_sleeping(box: Limited, resources: dict[str, object]) -> int:
    box.bundle.args("sleep", "300")
    return box.start(resources)


def test_an_idle_cgroup_is_scheduled_as_idle(box: Limited) -> None:
    """SCHED_IDLE for the group: its weight becomes that of idle tasks."""
    box_sleeping(box, {"cpu": {"idle": 1}})
    (weight,) = box.holds("cpu.weight" if version(box.manager) == 2 else "cpu.shares")
    assert int(weight) <= 3  # kernels write it as 0, 1 or 3


def test_unified_limits_are_felt(box: Limited) -> None:
    if version(box.manager) == 1:
        pytest.skip("the memory controller is v1's here")
    script = "busybox dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?"
    assert run(box, script, {"unified": {"memory.max": str(32 * MIB)}}).stdout == "137\n"


def test_huge_pages_are_refused(box: Limited, syscalls: Path) -> None:
    """At mmap(2), as reservations are limited: not later by SIGBUS."""
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = pool.read_text() if pool.exists() else ""
    if before and version(box.manager) == 2:
        pool.write_text("4")
    try:
        if version(box.manager) == 1 or not before or int(pool.read_text()) < 2:
            pytest.skip("there is no hugetlb hierarchy, or no huge page, here")
        shutil.copy(syscalls, box.bundle.rootfs / "bin/syscalls")
        # mmap of 2 MiB: PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB
        box.bundle.args("syscalls", f"9,0,{2 * MIB},3,{0x40022},{2**64 - 1},0")
        for limit, answer in ((0, "12\n"), (2 * MIB, "0\n")):  # ENOMEM
            box.bundle.config["linux"]["resources"] = {
                "hugepageLimits": [{"pageSize": "2MB", "limit": limit}]
            }
            assert box.runtime.ok("run", "--bundle", str(box.bundle.save()), "box") == answer
    finally:
        if before:
            pool.write_text(before)


def test_everything_that_is_left_is_killed_with_the_container(box: Limited) -> None:
    """Also without a pid namespace, whose end would see to that."""
    namespaces = box.bundle.config["linux"]["namespaces"]
    box.bundle.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "pid"]
    box.bundle.shell("busybox setsid sleep 300 & echo $!")
    pid = int(box.runtime.ok("run", "--bundle", str(box.bundle.save()), "box"))
    reap_orphans(set())
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
