"""State on a full file system: each command does all of its work, or nothing, and says why."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 64


class Disk:
    """A small tmpfs with the state directory, and what takes its room away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"
        self.runtime = Runtime(path / "root")

    def leave(self, pages: int) -> None:
        """Let that many pages be free."""
        self.ballast.unlink(missing_ok=True)
        free = os.statvfs(self.path).f_bfree - pages
        assert free >= 0
        self.ballast.write_bytes(bytes(free * PAGE))
        assert os.statvfs(self.path).f_bfree == pages

    def leave_inodes(self, number: int) -> None:
        """Let that many inodes be free."""
        found = os.statvfs(self.path)
        most = found.f_files - found.f_ffree + number
        subprocess.run(["mount", "-o", f"remount,nr_inodes={most}", self.path], check=True)

    def files(self) -> dict[str, bytes]:
        """Every file of the state directory."""
        found = self.runtime.root.rglob("*")
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    def refused(self, *args: str, **options: Any) -> None:
        """A command that says in one sentence that there is no room, and leaves all as it was."""
        before = self.files()
        done = self.runtime.call(*args, **options)
        assert done.returncode == 1, done.stderr
        assert_no_room(done.stderr)
        assert self.files() == before


def assert_no_room(said: str) -> None:
    """One sentence, and what would help on a line of its own."""
    lines = said.splitlines()
    where = r"(can't write /\S*/box/[a-z.]+|can't use /\S*/root for the state|can't listen at /\S*/box/start)"
    assert re.match(rf"pyoci \w+: {where}: no space left on device", lines[0]), said
    if "listen" not in said:
        assert lines[1:] == ["  make room there, or give another directory by --root"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PAGES * PAGE}", "tmpfs", path], check=True)
    made = Disk(path)
    try:
        yield made
    finally:
        made.ballast.unlink(missing_ok=True)
        if made.runtime.root.exists():
            made.runtime.call("delete", "--force", "box")
        subprocess.run(["umount", path], check=True)


def test_create_leaves_nothing(disk: Disk, bundle: Bundle) -> None:
    """With any room that is too little for it."""
    bundle.config["annotations"] = {"long": "x" * 2 * PAGE}  # what is written is longer than one page
    bundle.config["linux"]["resources"] = {"pids": {"limit": 50}}
    saved = str(bundle.args("sleep", "300").save())
    create_when_there_is_room(disk, saved, disk.leave)
    assert json.loads(disk.runtime.ok("state", "box"))["status"] == "created"


def test_create_leaves_nothing_where_there_are_no_inodes(
    disk: Disk, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file, directory and socket takes one."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nobody/listens")  # it has a directory made for the container
    saved = str(bundle.args("sleep", "300").save())
    create_when_there_is_room(disk, saved, disk.leave_inodes)
    disk.runtime.ok("delete", "--force", "box")


def create_when_there_is_room(disk: Disk, bundle: str, leave: Callable[[int], None]) -> None:
    """Leave no room, then ever a little more, until the container is created."""
    disk.runtime.root.mkdir()
    refused = 0
    while True:
        leave(refused)
        if _fits(disk, bundle):
            break
        refused += 1
        assert os.listdir(disk.runtime.root) == []
    assert refused > 3


def _fits(disk: Disk, bundle: str) -> bool:
    """Whether a container is created; else it has been refused for want of room."""
    done = subprocess.run(
        disk.runtime.command("create", "--bundle", bundle, "box"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(disk.path.parent / "said").open("w"),
        timeout=60, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return True
    said = (disk.path.parent / "said").read_text()
    assert_no_room(said)
    return False


def test_a_created_container_is_started_later(disk: Disk, bundle: Bundle) -> None:
    """Neither is the program run and then killed for want of room."""
    mark = bundle.rootfs / "ran"
    disk.runtime.create(bundle.shell("touch /ran; exec sleep 300"), "box")
    disk.leave(0)
    disk.refused("start", "box")
    assert not mark.exists()
    assert disk.runtime.state("box")["status"] == "created"
    disk.ballast.unlink()
    disk.runtime.ok("start", "box")
    assert disk.runtime.state("box")["status"] == "running"


def test_a_running_container(disk: Disk, bundle: Bundle) -> None:
    bundle.config["linux"]["resources"] = {"pids": {"limit": 50}, "cpu": {"shares": 512}}
    runtime = disk.runtime
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    disk.leave(0)
    wanted = json.dumps({"pids": {"limit": 60}, "cpu": {"shares": 700}, "memory": {"limit": 64 << 20}})
    stats = json.loads(runtime.ok("events", "--stats", "box"))["data"]["pids"]
    rooms = 0
    while True:
        disk.leave(rooms)
        if runtime.call("update", "-r", "-", "box", input=wanted).returncode == 0:
            break
        disk.refused("update", "-r", "-", "box", input=wanted)
        assert json.loads(runtime.ok("events", "--stats", "box"))["data"]["pids"] == stats
        rooms += 1
    assert rooms > 1
    disk.leave(0)
    assert runtime.ok("exec", "box", "echo", "hello") == "hello\n"
    runtime.ok("pause", "box")
    runtime.ok("resume", "box")
    runtime.ok("ps", "box")
    runtime.ok("kill", "box", "KILL")
    runtime.ok("delete", "--force", "box")
    assert os.listdir(runtime.root) == []
    disk.leave(0)
    disk.runtime.ok("list")
