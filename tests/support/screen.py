"""A terminal of the test's with a command in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Collection

from support.containers import SECONDS

SIZE = (31, 97)
FOLLOWING = (
    "trap 'echo caught; exit 33' INT; trap 'stty size' WINCH; test -t 0 && test -t 1 && test -t 2 && tty;"
    " stty size; echo ready; while :; do sleep 0.05; done"
)
"""A script for a container on a terminal of SIZE, which follows() is about."""


class Screen:
    """A terminal of ours with a command in it."""

    def __init__(
        self,
        command: list[str],
        rows: int = 40,
        columns: int = 100,
        environment: dict[str, str] | None = None,
        descriptors: Collection[int] = (),  # further ones that the command inherits
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that it hears of our resizing
            env=environment,
            pass_fds=descriptors,
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize_until(self, rows: int, columns: int, text: str) -> None:
        """Resize, and tell the command until the text is there: one that just began may not listen yet."""
        self.resize(rows, columns)
        deadline = time.monotonic() + SECONDS
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.seen.decode()!r}"
            self.process.send_signal(signal.SIGWINCH)
            self.read(0.2)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.master, 65536)
        return True

    def expect(self, text: str, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.seen.decode()!r}"
            self.read(0.05)

    def finish(self) -> int:
        status = None
        deadline = time.monotonic() + SECONDS
        while status is None:
            assert time.monotonic() < deadline
            self.read(0.02)
            status = self.process.poll()
        while self.read(0.1):
            continue
        return status

    def follows(self) -> None:
        """FOLLOWING has a terminal of ours: its size is ours, control-C is a signal inside, and the exit
        status is the script's."""
        self.expect("ready")
        assert b"/dev/pts/0\r\n" in self.seen and b"%d %d\r\n" % SIZE in self.seen
        self.resize_until(20, 50, "20 50")
        self.type("\x03")
        self.expect("caught")
        assert self.finish() == 33

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)
