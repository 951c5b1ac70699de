"""What is said of processes that name themselves, and what is done when one ends in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from pyoci.cgroup import processes
from pyoci.cgroup.manager import Manager
from pyoci.lifecycle import delete
from pyoci.lifecycle.store import Container


@pytest.mark.parametrize(
    ("name", "shown"), [(b"a\n9 (b, R)", "a?9 (b, R)"), (b"\x1b]0;x\x07", "?]0;x?"), (b"\xff\xfe!", "??!")]
)
def test_a_name_writes_no_lines_and_moves_no_cursor(name: bytes, shown: str) -> None:
    own = Path("/proc/self/task", str(os.getpid()), "comm")
    before = own.read_bytes()
    own.write_bytes(name)
    try:
        assert processes.describe([os.getpid()]).startswith(f"{os.getpid()} ({shown}, R")
    finally:
        own.write_bytes(before)


def test_a_container_that_ends_as_it_is_deleted() -> None:
    """Between its being seen alive and the signal, and its parent has waited for it."""
    process = subprocess.Popen(["sleep", "300"])

    class Ending:
        id = "box"
        state = {"pid": process.pid}  # noqa: RUF012

        def alive(self) -> bool:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True

    ending: Any = Ending()
    delete._kill_and_wait(cast(Container, ending), Manager("disabled", "none", []))
