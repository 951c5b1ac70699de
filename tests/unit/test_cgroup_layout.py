"""Finding the cgroup hierarchies, from the tables of machines of every kind, and naming cgroups in them."""

from __future__ import annotations

import json
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.cgroup import layout, manager
from pyoci.errors import Error

OTHERS = (
    b"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    b"31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
)

HYBRID = (
    OTHERS
    + b"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    + b"33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    + b"34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    + b"35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
    b"4:name=systemd:/user.slice\n3:memory:/jobs/build\n2:cpu,cpuacct:/\n1:freezer:/\n0::/user.slice/a.scope\n",
)
V1 = (
    HYBRID[0].replace(b"cgroup2 cgroup2", b"bpf bpf"),
    HYBRID[1].replace(b"0::/user.slice/a.scope\n", b""),
)
V2 = (
    OTHERS + b"30 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    b"0::/user.slice/session-1.scope\n",
)
# In a container without a cgroup namespace the mounts show the container's own groups only.
NESTED = (
    b"72 71 0:45 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    b"76 72 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    b"77 72 0:33 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
    b"4:memory:/docker/abc\n3:pids:/docker/abc/inner\n0::/docker/abc\n",
)


def found(machine: tuple[bytes, bytes]) -> layout.Layout:
    return layout.parse(*machine)


def test_hybrid() -> None:
    here = found(HYBRID)
    assert here.mode == "hybrid"
    assert here.unified == "/sys/fs/cgroup/unified"
    assert here.v1 == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "memory": "/sys/fs/cgroup/memory",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
    }
    assert list(here.v1) == ["cpu", "cpuacct", "memory", "name=systemd"], "in the order of the mounts"
    assert here.hierarchies[-1].controllers == [""], "cgroup2 comes last"


def test_a_controller_that_is_not_mounted_is_not_there() -> None:
    assert "freezer" not in found(HYBRID).v1


def test_v1_alone() -> None:
    here = found(V1)
    assert (here.mode, here.unified, len(here.hierarchies)) == ("v1", None, 3)


def test_v2_alone() -> None:
    here = found(V2)
    assert (here.mode, here.unified, here.v1) == ("v2", "/sys/fs/cgroup", {})


def test_none() -> None:
    assert found((OTHERS, b"0::/\n")).mode == "none"
    assert found((b"", b"")).mode == "none"


def test_in_a_container_the_own_cgroup_is_seen_from_the_mount() -> None:
    own = {h.controllers[0]: h.own for h in found(NESTED).hierarchies}
    assert own == {"memory": "/", "pids": "/inner"}


def test_of_several_mounts_the_one_that_shows_our_cgroup() -> None:
    container = b"90 1 0:30 /docker/x /var/lib/docker/x/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    here = found((container + HYBRID[0], HYBRID[1]))
    assert here.v1["memory"] == "/sys/fs/cgroup/memory"


def test_a_mount_that_something_else_covers_is_not_used() -> None:
    here = layout.parse(*HYBRID, lambda mount: mount.point != "/sys/fs/cgroup/memory")
    assert "memory" not in here.v1 and "cpu" in here.v1
    assert layout.parse(*HYBRID, lambda mount: False).mode == "none"
    elsewhere = b"90 1 0:30 /jobs /mnt rw - cgroup cgroup rw,memory\n"
    here = layout.parse(
        HYBRID[0] + elsewhere, HYBRID[1], lambda mount: mount.point != "/sys/fs/cgroup/memory"
    )
    assert here.v1["memory"] == "/mnt"


def test_a_mount_that_another_cgroup_covers_is_not_used() -> None:
    over = b"91 33 0:30 /jobs/build /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    here = {h.controllers[0]: h for h in found((HYBRID[0] + over, HYBRID[1])).hierarchies}
    assert (here["memory"].mount, here["memory"].own) == ("/sys/fs/cgroup/memory", "/")
    below = b"91 33 0:30 /jobs/build /sys/fs/cgroup/memory/x rw - cgroup cgroup rw,memory\n"
    here = {h.controllers[0]: h for h in found((HYBRID[0] + below, HYBRID[1])).hierarchies}
    assert (here["memory"].mount, here["memory"].own) == ("/sys/fs/cgroup/memory", "/jobs/build")


def test_a_file_system_that_only_sounds_like_one() -> None:
    assert found((b"1 2 0:3 / /mnt rw - cgroupish none rw,memory\n", HYBRID[1])).mode == "none"


def test_this_machine() -> None:
    here = layout.detect()
    assert here.mode in ("v1", "v2", "hybrid", "none")
    for mount in [*here.v1.values(), *([here.unified] if here.unified else [])]:
        with open(f"{mount}/cgroup.procs") as file:
            file.readline()


def names(machine: tuple[bytes, bytes], path: str | None) -> dict[str, str]:
    return manager.new(found(machine), path, "box").paths()


@pytest.mark.parametrize(
    ("path", "memory", "systemd", "unified"),
    [
        ("/a/b", "/a/b", "/a/b", "/a/b"),
        ("/a//./b/", "/a/b", "/a/b", "/a/b"),
        ("/../a/../../b", "/b", "/b", "/b"),
        ("a/b", "/jobs/build/a/b", "/user.slice/a/b", "/user.slice/a.scope/a/b"),
        ("../../a", "/jobs/build/a", "/user.slice/a", "/user.slice/a.scope/a"),
        (None, "/jobs/build/box", "/user.slice/box", "/user.slice/a.scope/box"),
        ("", "/jobs/build/box", "/user.slice/box", "/user.slice/a.scope/box"),
    ],
)
def test_names_as_runc_has_them_on_v1(path: str | None, memory: str, systemd: str, unified: str) -> None:
    paths = names(HYBRID, path)
    assert paths["memory"] == "/sys/fs/cgroup/memory" + memory
    assert paths["name=systemd"] == "/sys/fs/cgroup/systemd" + systemd
    assert paths[""] == "/sys/fs/cgroup/unified" + unified
    assert paths["cpu"] == paths["cpuacct"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b", "/a/b"), ("a", "/user.slice/a"), ("../a", "/user.slice/a"), (None, "/user.slice/box")],
)
def test_on_v2_relative_names_stand_beside_the_runtime(path: str | None, expected: str) -> None:
    assert names(V2, path) == {"": "/sys/fs/cgroup" + expected}


@given(st.one_of(st.none(), st.text(alphabet="/.a-", max_size=12)), st.sampled_from([HYBRID, V1, V2, NESTED]))
def test_no_name_leads_out_or_is_a_root(path: str | None, machine: tuple[bytes, bytes]) -> None:
    here = found(machine)
    try:
        made = manager.new(here, path, "box")
    except Error as error:
        assert error.pointer == "/linux/cgroupsPath"
        assert path and posixpath.normpath(f"/x/../{path}") == "/", "only what comes to nothing is refused"
        return
    for group in made.groups:
        assert group.path.startswith(group.mount + "/")
        assert not {"", ".", ".."}.intersection(group.path[len(group.mount) + 1 :].split("/"))


def test_what_is_recorded_is_what_is_loaded() -> None:
    made = manager.new(found(HYBRID), "a", "box")
    again = manager.load(json.loads(json.dumps(made.record())))
    assert again.paths() == made.paths()
    assert again.record() == made.record()


def test_the_hierarchies_roots_are_no_containers() -> None:
    for path in ("/", "/..", "//."):
        with pytest.raises(Error) as caught:
            manager.new(found(HYBRID), path, "box")
        assert caught.value.pointer == "/linux/cgroupsPath"


def test_drivers() -> None:
    with pytest.raises(Error, match="'nobody'") as caught:
        manager.new(found(HYBRID), None, "box", driver="nobody")
    assert caught.value.code == "usage"
    with pytest.raises(Error, match="no cgroup hierarchy"):
        manager.new(found((b"", b"")), None, "box")


def test_disabled_does_nothing() -> None:
    nothing = manager.new(found((b"", b"")), "/a", "box", driver="disabled")
    nothing.check()
    nothing.create()
    nothing.join(1)
    nothing.exec_join(1)
    nothing.kill(9)
    nothing.set({"devices": [{"allow": False}]})
    nothing.destroy()
    assert (nothing.pids(), nothing.paths(), nothing.frozen(), nothing.birth_fd()) == ([], {}, False, -1)
    with pytest.raises(Error) as caught:
        nothing.set({"pids": {"limit": 10}})
    assert caught.value.pointer == "/linux/resources/pids/limit"
    with pytest.raises(Error) as caught:
        nothing.update({"devices": [{"allow": False}]})
    assert caught.value.pointer == "/linux/resources/devices"
