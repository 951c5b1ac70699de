"""The cgroup manager on this machine's hierarchies: made, limited, joined, frozen, killed, removed."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from pyoci.cgroup import files, layout, manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error
from support.cgroups import Start, eventually, membership, value

pytestmark = pytest.mark.layout


def make_below(here: Layout, name: str, inner: str = "below") -> Manager:
    """A cgroup below a container's, such as the container itself may make."""
    below = manager.new(here, f"/{name}/{inner}", "unused")
    if here.mode == "v2":
        # Without controllers: with them the one above would take no processes.
        os.mkdir(below.paths()[""])
        return manager.load(below.record())
    below.create()
    return below


def test_a_joined_process_is_in_every_hierarchy(group: Manager, name: str, start: Start) -> None:
    process = start(group=group)
    assert set(membership(process.pid).values()) == {f"/{name}"}
    assert process.pid in group.pids()


def test_without_a_path_the_cgroup_is_below_the_runtimes_own(here: Layout, name: str, start: Start) -> None:
    group = manager.new(here, None, name)
    group.create()
    try:
        process = start(group=group)
        own = membership(os.getpid())
        beside = here.mode == "v2"
        for controllers, path in membership(process.pid).items():
            base = os.path.dirname(own[controllers]) if beside else own[controllers]
            assert path == os.path.join(base, name)
    finally:
        group.kill(signal.SIGKILL)
        group.destroy()


def test_a_failed_creation_takes_back_what_it_made(here: Layout, name: str) -> None:
    group = manager.new(here, f"/{name}/a", "unused")
    broken = group.groups[-1]
    broken.path += "/no\nname"
    with pytest.raises(Error, match="invalid argument") as caught:
        group.create()
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert not any(files.exists(f"{mount}/{name}") for mount in here.v1.values())


def test_a_cgroup_in_use_is_refused_and_left_alone(
    here: Layout, group: Manager, name: str, start: Start
) -> None:
    process = start(group=group)
    second = manager.new(here, f"/{name}", "unused")
    for attempt in (second.check, second.create):
        with pytest.raises(Error, match=rf"in use by {process.pid} \(") as caught:
            attempt()
        assert (caught.value.code, caught.value.pointer) == ("busy", "/linux/cgroupsPath")
    second.kill(signal.SIGKILL)
    second.destroy()
    assert process.poll() is None
    assert process.pid in group.pids()


def test_a_cgroup_in_use_below_is_refused(here: Layout, group: Manager, name: str, start: Start) -> None:
    below = make_below(here, name)
    start(group=below)
    with pytest.raises(Error, match="in use"):
        manager.new(here, f"/{name}", "unused").create()


def test_an_empty_cgroup_that_is_there_is_taken(
    here: Layout, group: Manager, name: str, start: Start
) -> None:
    again = manager.new(here, f"/{name}", "unused")
    again.check()
    again.create()
    process = start(group=again)
    assert process.pid in group.pids()


@pytest.mark.parametrize("above", [False, True])
def test_a_frozen_cgroup_is_refused(here: Layout, group: Manager, name: str, above: bool) -> None:
    group.freeze()
    try:
        with pytest.raises(Error, match="frozen") as caught:
            manager.new(here, f"/{name}/x" if above else f"/{name}", "unused").create()
        assert caught.value.code == "busy"
    finally:
        group.thaw()


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
    here: Layout, group: Manager, controller: str, resources: dict[str, object], pointer: str
) -> None:
    enabled = here.unified and controller in value(group, "", "cgroup.controllers").split()
    if controller in here.v1 or enabled:
        pytest.skip(f"this machine has the {controller} controller")
    with pytest.raises(Error, match=controller) as caught:
        group.set(resources)
    assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/resources" + pointer)


@pytest.mark.skipif(layout.detect().mode == "v2", reason="about v1, with or without cgroup2 beside it")
def test_unified_files_beside_v1(here: Layout, group: Manager) -> None:
    depth = {"unified": {"cgroup.max.depth": "3"}}
    if here.mode == "v1":
        with pytest.raises(Error, match="no cgroup v2 hierarchy") as caught:
            group.set(depth)
        assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/resources/unified")
        return
    group.set(depth)
    assert value(group, "", "cgroup.max.depth") == "3"
    with pytest.raises(Error, match=r"memory\.max") as caught:
        group.set({"unified": {"memory.max": "max"}})
    assert caught.value.pointer == "/linux/resources/unified/memory.max"


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


def test_what_is_frozen_from_above_is_said_to_be(here: Layout, group: Manager, name: str) -> None:
    below = make_below(here, name)
    group.freeze()
    try:
        assert below.frozen()
        with pytest.raises(Error, match="above") as caught:
            below.thaw()
        assert caught.value.code == "wrong-state"
    finally:
        group.thaw()
    assert not below.frozen()


def test_every_process_gets_the_signal(here: Layout, group: Manager, name: str, start: Start) -> None:
    below = make_below(here, name)
    processes = [start(group=group), start(group=below)]
    outside = start()
    group.kill(signal.SIGTERM)
    assert [process.wait() for process in processes] == [-signal.SIGTERM] * 2
    assert outside.poll() is None


def test_frozen_processes_are_killed_nested_ones_too(
    here: Layout, group: Manager, name: str, start: Start
) -> None:
    below = make_below(here, name)
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


def test_the_record_is_enough_to_kill_and_remove(here: Layout, name: str, start: Start) -> None:
    group = manager.new(here, f"/{name}", "unused")
    group.create()
    process = start(group=group)
    loaded = manager.load(json.loads(json.dumps(group.record())))
    assert process.pid in loaded.pids()
    loaded.kill(signal.SIGKILL)
    loaded.destroy()
    assert process.wait() == -signal.SIGKILL
    assert not any(files.exists(path) for path in group.paths().values())


def test_exec_joins_the_containers_cgroup_or_one_below(
    here: Layout, group: Manager, name: str, start: Start
) -> None:
    make_below(here, name, "sub")
    first, second = start(), start()
    group.exec_join(first.pid)
    group.exec_join(second.pid, {"": "sub"})
    assert set(membership(first.pid).values()) == {f"/{name}"}
    assert set(membership(second.pid).values()) == {f"/{name}/sub"}
    group.exec_join(second.pid, {"": "/"})
    assert set(membership(second.pid).values()) == {f"/{name}"}


@pytest.mark.parametrize("path", ["..", "../x", "a/../..", "/../etc", "a//b", "./a", ""])
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
