"""What /proc says of processes, with names made to mislead, and with processes that go."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.host import procfs

TAIL = b" S 12 34 56 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 11 22\n"


@given(st.binary(max_size=16).filter(lambda name: b"\0" not in name))
def test_any_name_a_process_can_give_itself(name: bytes) -> None:
    status = procfs.Status(b"42 (" + name + b")" + TAIL)
    assert os.fsencode(status.name) == name
    assert (status.pid, status.state, status.parent, status.session) == (42, "S", 12, 56)
    assert status.start_time == 987654


@pytest.mark.parametrize(
    ("letter", "dead"), [("R", False), ("D", False), ("T", False), ("Z", True), ("X", True)]
)
def test_only_zombies_and_what_follows_are_dead(letter: str, dead: bool) -> None:
    status = procfs.Status(b"1 (x)" + TAIL.replace(b" S ", f" {letter} ".encode()))
    assert status.dead is dead


def test_a_process_lives_and_dies() -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        started = procfs.start_time(child.pid)
        assert started is not None
        assert procfs.is_alive(child.pid, started)
        assert not procfs.is_alive(child.pid, started + 1), "another process with the same pid"
        child.send_signal(signal.SIGKILL)
        while (status := procfs.status(child.pid)) and status.state != "Z":
            time.sleep(0.001)
        assert not procfs.is_alive(child.pid, started), "a zombie is dead"
        assert procfs.start_time(child.pid) == started, "and yet its pid isn't free"
    finally:
        child.kill()
        child.wait()
    assert procfs.start_time(child.pid) is None
    assert not procfs.is_alive(child.pid, started)


def test_our_own_status() -> None:
    status = procfs.status(os.getpid())
    assert status is not None
    assert (status.pid, status.parent, status.session) == (os.getpid(), os.getppid(), os.getsid(0))


def test_a_namespace_is_known_by_its_inode() -> None:
    assert os.readlink("/proc/self/ns/pid") == f"pid:[{procfs.ns_id('self', 'pid')}]"
    with pytest.raises(FileNotFoundError):
        procfs.ns_id("self", "nonsense")


def test_the_boot_has_a_name() -> None:
    assert len(procfs.boot_id()) == 36


def test_a_file_longer_than_one_read(tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(b"x" * 300_000)
    assert len(procfs.read(str(long))) == 300_000
