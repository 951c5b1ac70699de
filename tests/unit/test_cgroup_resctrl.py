"""linux.intelRdt: the container's group of the resctrl filesystem, in a directory that acts like one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyoci.cgroup import resctrl
from pyoci.cgroup.journal import Journal
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error
from pyoci.lifecycle import interrupted, update
from pyoci.lifecycle.settings import Settings
from pyoci.lifecycle.store import Container

SCHEMATA = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Like the kernel's: a new directory has its files at once, and goes away together with them."""

    def make(path: str) -> None:
        os.mkdir(path)
        Path(path, "tasks").touch()
        if Path(path).parent.name != "mon_groups":
            Path(path, "schemata").write_text(SCHEMATA)
            Path(path, "mon_groups").mkdir()

    root = tmp_path / "resctrl"
    (root / "info/L3_MON").mkdir(parents=True)
    (root / "info/L3_MON/mon_features").write_text("llc_occupancy\nmbm_total_bytes\n")
    (root / "info/last_cmd_status").write_text("ok\n")
    (root / "mon_groups").mkdir()
    (root / "schemata").write_text(SCHEMATA)
    (root / "tasks").touch()
    for name in ("shared", "other"):
        shutil.copytree(root, root / name, ignore=shutil.ignore_patterns("info", "shared", "other"))

    def write(path: str, value: str) -> None:
        Path(path).write_text(value)

    monkeypatch.setattr(resctrl.files, "write", write)
    kernel = SimpleNamespace(**{**vars(os), "mkdir": make, "rmdir": shutil.rmtree})
    monkeypatch.setattr(resctrl, "os", kernel)
    return root


def created(section: dict[str, Any], mount: Path) -> resctrl.Group:
    group = resctrl.plan(section, "box", str(mount))
    group.create(section)
    return resctrl.load(group.record())


def tree(mount: Path) -> dict[str, str]:
    return {
        str(path.relative_to(mount)): path.read_text() for path in sorted(mount.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("section", [{}, {"schemata": []}, {"enableMonitoring": False}])
def test_without_closid_it_is_the_container_s_id(section: dict[str, Any], mount: Path) -> None:
    before = tree(mount)
    group = created(section, mount)
    assert group.path == f"{mount}/box"
    assert (mount / "box/schemata").read_text() == SCHEMATA  # not written to
    group.join(123)
    assert (mount / "box/tasks").read_text() == "123"
    group.destroy()
    assert tree(mount) == before
    group.destroy()


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ({"l3CacheSchema": "L3:0=f"}, "L3:0=f\n"),
        ({"memBwSchema": "MB:0=20"}, "MB:0=20\n"),
        ({"l3CacheSchema": "L3:0=f\nMB:0=70\nL3:1=f", "memBwSchema": "MB:0=20"}, "L3:0=f\nL3:1=f\nMB:0=20\n"),
        ({"l3CacheSchema": "L3:0=f\nMB:0=70"}, "L3:0=f\nMB:0=70\n"),
        ({"schemata": ["L3:0=f", "L2:0=3\n"]}, "L3:0=f\nL2:0=3\n"),
        ({"l3CacheSchema": "L3:0=1", "schemata": ["L3:0=f"]}, "L3:0=f\n"),  # last, and so it holds
    ],
)
def test_what_it_may_use_is_written(section: dict[str, Any], written: str, mount: Path) -> None:
    group = created({"closID": "new", **section}, mount)
    assert (mount / "new/schemata").read_text() == written
    group.destroy()
    assert not (mount / "new").exists()


def test_schemata_come_after_the_two_schemas(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    monkeypatch.setattr(resctrl.files, "write", lambda path, value: writes.append(value))
    created({"l3CacheSchema": "L3:0=1", "memBwSchema": "MB:0=10", "schemata": ["L3:0=f", "MB:0=20"]}, mount)
    assert writes == ["L3:0=1\nMB:0=10\n", "L3:0=f\nMB:0=20\n"]


@pytest.mark.parametrize(
    "section",
    [{}, {"l3CacheSchema": "L3:1=7FF;0=07ff"}, {"memBwSchema": "MB:0=100"}, {"schemata": ["L3:0=3"]}],
)
def test_a_group_that_is_there_is_shared_and_stays(section: dict[str, Any], mount: Path) -> None:
    group = created({"closID": "shared", **section}, mount)
    group.join(7)
    assert (mount / "shared/tasks").read_text() == "7"
    group.destroy()
    assert (mount / "shared").is_dir()
    assert (mount / "shared/schemata").read_text() == ("L3:0=3\n" if "schemata" in section else SCHEMATA)


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"closID": "shared", "l3CacheSchema": "L3:0=7fe"}, "/linux/intelRdt/l3CacheSchema"),
        ({"closID": "shared", "l3CacheSchema": "L3CODE:0=7ff"}, "/linux/intelRdt/l3CacheSchema"),
        ({"closID": "shared", "memBwSchema": "MB:0=100;1=90"}, "/linux/intelRdt/memBwSchema"),
        ({"closID": "missing"}, "/linux/intelRdt/closID"),
        ({"closID": "missing", "enableMonitoring": True}, "/linux/intelRdt/closID"),
    ],
)
def test_what_contradicts_the_tree_is_refused(section: dict[str, Any], pointer: str, mount: Path) -> None:
    before = tree(mount)
    with pytest.raises(Error) as caught:
        resctrl.plan(section, "box", str(mount))
    assert caught.value.pointer == pointer
    assert caught.value.hint
    assert tree(mount) == before


def test_a_foreign_directory_of_the_container_s_name_is_refused(mount: Path) -> None:
    with pytest.raises(Error, match="is there already"):
        resctrl.plan({}, "other", str(mount))


@pytest.mark.parametrize(("name", "group"), [("/", ""), ("shared", "shared/"), ("new", "new/")])
def test_monitoring_has_a_group_of_its_own(name: str, group: str, mount: Path) -> None:
    before = tree(mount)
    schemata = {"schemata": ["L3:0=7ff"]} if name == "new" else {}
    made = created({"closID": name, "enableMonitoring": True, **schemata}, mount)
    made.join(9)
    assert (mount / group / "mon_groups/box/tasks").read_text() == "9"
    assert (mount / group / "tasks").read_text() == "9"
    made.destroy()
    assert not (mount / group / "mon_groups/box").exists()
    assert tree(mount).keys() == before.keys()


@pytest.mark.parametrize("name", ["enableMonitoring", "enableCMT", "enableMBM"])
def test_what_the_processor_does_not_monitor_is_told_of(name: str, mount: Path) -> None:
    section = {name: True}
    assert resctrl.plan(section, "box", str(mount)).ours
    features = mount / "info/L3_MON/mon_features"
    if name != "enableMonitoring":
        features.write_text("mbm_total_bytes\n" if name == "enableCMT" else "llc_occupancy\n")
        with pytest.raises(Error, match=f"it has {features.read_text().strip()}"):
            resctrl.plan(section, "box", str(mount))
    features.unlink()
    with pytest.raises(Error) as caught:
        resctrl.plan(section, "box", str(mount))
    assert (caught.value.code, caught.value.pointer) == ("not-supported", f"/linux/intelRdt/{name}")


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_the_kernel_s_own_words_are_the_hint(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mount / "info/last_cmd_status").write_text("Mask 800 has bits beyond the last\n")
    group = resctrl.plan({"schemata": ["L3:0=800"]}, "box", str(mount))
    monkeypatch.setattr(resctrl.files, "write", refusing(22))
    with pytest.raises(Error) as caught:
        group.create({"schemata": ["L3:0=800"]})
    assert caught.value.pointer == "/linux/intelRdt/schemata"
    assert caught.value.hint == "Mask 800 has bits beyond the last"
    group.destroy()
    assert not (mount / "box").exists()


def test_a_group_that_another_made_meanwhile_is_not_removed(mount: Path) -> None:
    section = {"closID": "new", "schemata": ["L3:0=f"], "enableMonitoring": True}
    group = resctrl.plan(section, "box", str(mount))
    (mount / "new").mkdir()
    with pytest.raises(Error, match="file exists"):
        group.create(section)
    group.destroy()
    assert (mount / "new").is_dir()


def test_no_class_of_service_left(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = resctrl.plan({}, "box", str(mount))
    monkeypatch.setattr(resctrl.os, "mkdir", refusing(28))
    with pytest.raises(Error, match="share a group by closID"):
        group.create({})


def test_the_mount_is_found_by_its_type() -> None:
    tmpfs = b"30 23 0:27 / /sys/fs/resctrl rw - tmpfs resctrl rw\n"
    real = b"31 23 0:28 / /run/rdt\\040here rw - resctrl resctrl rw\n"
    assert resctrl.find_mount(tmpfs + real) == "/run/rdt here"
    with pytest.raises(Error) as caught:
        resctrl.find_mount(tmpfs)
    assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/intelRdt")


# ------------------------------------------------------------------ update


def container_and_cgroup() -> tuple[Container, Manager]:
    """A container that keeps nothing, and its cgroups, in which nothing is."""
    container = Container("/box", "box", -1, {"resctrl": None})
    silent = SimpleNamespace(
        id="box", state=container.state, save=lambda: None, replace=lambda *_: None, discard=lambda _: None
    )
    return cast(Container, silent), Manager("disabled", "none", [])


def test_what_it_may_use_is_changed_and_put_back(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = created({"l3CacheSchema": "L3:0=f"}, mount)
    (mount / "box/schemata").write_text("    MB:0=70;1=100\n    L3:0=00f;1=7ff\n")
    writes: list[str] = []
    monkeypatch.setattr(resctrl.files, "write", lambda path, value: writes.append(value))
    journal = interrupted.journal(*container_and_cgroup(), Settings("/"))
    group.change({"memBwSchema": "MB:0=20"}, journal)
    group.change({"l3CacheSchema": "L3:0=3;1=3"}, journal)
    assert writes == ["MB:0=20\n", "L3:0=3;1=3\n"]
    assert journal.undo() == f"; put back as it was: {mount}/box/schemata"
    assert writes[2:] == ["L3:0=00f;1=7ff\n", "MB:0=70;1=100\n"]


def test_a_shared_group_is_not_changed_for_one_container(mount: Path) -> None:
    group = created({"closID": "shared"}, mount)
    with pytest.raises(Error, match="others may be in it") as caught:
        group.change({"memBwSchema": "MB:0=20"}, Journal({}))
    assert (caught.value.code, caught.value.pointer) == ("not-supported", "/linux/intelRdt")
    assert (mount / "shared/schemata").read_text() == SCHEMATA


def test_a_running_container_comes_into_a_group_with_all_its_threads(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with what it forks while it is moved."""
    threads = {10: ["10", "11"], 20: ["20"], 30: ["30"]}
    listings = iter([[10], [10, 20], [10, 20, 30, 40], [10, 20, 30]])
    listed = resctrl.os.listdir

    def tasks(path: str) -> list[str]:
        if not path.startswith("/proc/"):
            return listed(path)
        pid = int(path.split("/")[2])
        if pid not in threads:
            raise FileNotFoundError(path)
        return threads[pid]

    monkeypatch.setattr(resctrl.os, "listdir", tasks)
    group = created({"l3CacheSchema": "L3:0=f"}, mount)
    moved: list[str] = []

    def write(path: str, value: str) -> None:
        assert path == f"{mount}/box/tasks"
        moved.append(value)
        if value == "20":  # it has ended meanwhile
            raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(resctrl.files, "write", write)
    group.take_over(lambda: next(listings))
    assert sorted(moved) == ["10", "11", "20", "30"]


def test_update_gives_a_container_without_a_group_one_and_delete_removes_it(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Any] = []
    container, cgroup = container_and_cgroup()
    monkeypatch.setattr(container, "save", lambda: saved.append(dict(container.state)))
    monkeypatch.setattr(resctrl, "find_mount", lambda mounts: str(mount))
    journal = interrupted.journal(container, cgroup, Settings("/"))
    update._share(container, cgroup, {"l3CacheSchema": "L3:0=f"}, journal)
    assert (mount / "box/schemata").read_text() == "L3:0=f\n"
    assert saved[0]["resctrl"]["path"] == f"{mount}/box"
    update._share(container, cgroup, {"l3CacheSchema": "L3:0=3"}, journal)
    assert (mount / "box/schemata").read_text() == "L3:0=3\n"
    resctrl.load(container.state["resctrl"]).destroy()
    assert not (mount / "box").exists()


def test_what_fails_afterwards_takes_the_group_away_again(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, cgroup = container_and_cgroup()
    monkeypatch.setattr(resctrl, "find_mount", lambda mounts: str(mount))
    journal = interrupted.journal(container, cgroup, Settings("/"))
    update._share(container, cgroup, {"memBwSchema": "MB:0=20"}, journal)
    assert journal.undo() == f"; put back as it was: the group {mount}/box"
    assert not (mount / "box").exists()
    assert container.state["resctrl"] is None
