"""Waiting for a process in the foreground: signals go to it, the terminal is relayed, its end is ours.

All signals are blocked before the process starts and read from a signalfd, so none can be lost
between its start and the wait (a SIGCHLD handler set later would miss a short command's end).
"""

from __future__ import annotations

import os
from _signal import SIG_SETMASK, pthread_sigmask, valid_signals
from _stat import S_ISCHR, S_ISFIFO
from errno import EAGAIN, EIO, EPIPE

from pyoci._shim import lib
from pyoci.lifecycle.channel import POLLERR, POLLHUP, POLLIN, POLLOUT, checked, wait_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyoci.lifecycle.notify import Proxy

SIGPIPE, SIGCHLD, SIGURG, SIGWINCH = 13, 17, 23, 28
_ENDING = (1, 2, 3, 15)  # HUP, INT, QUIT, TERM
CHUNK = 32768
PIPE_BUF = 4096  # a pipe that poll(2) calls writable has room for so many bytes, pipe(7)
_SIGINFO_SIZE = 128  # struct signalfd_siginfo, signalfd(2)


class Foreground:
    """Blocks every signal from its making to close()."""

    def __init__(self) -> None:
        self._before: Iterable[Any] = pthread_sigmask(SIG_SETMASK, valid_signals())
        self._signals = checked(lib.shim_signal_fd(), "make a signalfd")
        self._relay: _Relay | None = None
        self._notify: Proxy | None = None

    def attach(self, master: int) -> None:
        """Relay our own terminal, or whatever our stdin and stdout are, to this one."""
        self._relay = _Relay(master)

    def pass_on(self, notify: Proxy) -> None:
        """Tell the service manager what the container says, as long as it lives."""
        self._notify = notify

    def wait(self, pid: int, pidfd: int) -> int:
        """The exit status of our child `pid`; 128 + n when signal n ended it."""
        ended = False
        while not ended:
            wanted = {self._signals: POLLIN, pidfd: POLLIN}
            if self._notify:
                wanted[self._notify.descriptor] = POLLIN
            if self._relay:
                wanted.update(self._relay.interest())
            for descriptor, events in wait_events(wanted).items():
                if descriptor == self._signals:
                    self._forward(pid)
                elif descriptor == pidfd:
                    ended = True
                elif self._notify and descriptor == self._notify.descriptor:
                    self._notify.relay()
                elif self._relay:
                    self._relay.serve(descriptor, events)
        if self._relay:
            self._relay.drain(self._signals)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        _reap_others()
        return code if code >= 0 else 128 - code

    def _forward(self, pid: int) -> None:
        try:
            packets = os.read(self._signals, _SIGINFO_SIZE * 16)
        except BlockingIOError:
            return
        for offset in range(0, len(packets), _SIGINFO_SIZE):
            number = int.from_bytes(packets[offset : offset + 4], "little")
            if number == SIGCHLD:
                _reap_others(pid)
            elif number == SIGWINCH and self._relay:
                self._relay.resize()
            elif number not in (SIGURG, SIGPIPE):  # the latter is of a write of our own
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    return

    def close(self) -> None:
        """Give the terminal and the signals back."""
        if self._relay:
            self._relay.restore()
        os.close(self._signals)
        pthread_sigmask(SIG_SETMASK, self._before)


def _reap_others(own: int = 0) -> None:
    """Reap the orphans we got as subreaper, but not the process we wait for."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == own:
            return
        os.waitpid(ended.si_pid, 0)


class _Relay:
    """Bytes between our stdin and stdout and the container's terminal, none lost, never blocking."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.saved: list[Any] | None = None
        self.input_open = True
        self.hung_up = False
        self.to_container = b""
        self.to_caller = b""
        self.output = _own_output()
        self.room = PIPE_BUF if self.output == 1 else CHUNK
        os.set_blocking(master, False)
        if os.isatty(0):
            self._raw()
            self.resize()

    def _raw(self) -> None:
        import termios
        import tty

        self.saved = termios.tcgetattr(0)
        tty.setraw(0)

    def restore(self) -> None:
        """Give our terminal back as it was."""
        if self.output != 1:
            os.close(self.output)
        if self.saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
            self.saved = None

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        from fcntl import ioctl
        from termios import TIOCGWINSZ, TIOCSWINSZ

        try:
            ioctl(self.master, TIOCSWINSZ, ioctl(0, TIOCGWINSZ, bytes(8)))
        except OSError:
            return  # ours has no size

    def interest(self) -> dict[int, int]:
        """What to wait for now: read only what there is room for, write only what there is."""
        wanted = {}
        if self.input_open and not self.to_container:
            wanted[0] = POLLIN
        if self.to_caller:
            wanted[self.output] = POLLOUT
        if self.master >= 0:
            reading = 0 if self.to_caller else POLLIN
            writing = POLLOUT if self.to_container else 0
            if reading | writing and not self.hung_up:
                wanted[self.master] = reading | writing
        return wanted

    def serve(self, descriptor: int, events: int) -> None:
        """Do what a descriptor is ready for."""
        if descriptor == 0:
            data = _read(0)
            self.input_open = bool(data)
            self.to_container += data if data else b"\x04"  # end of input is ^D to a terminal
        elif descriptor == self.output:
            self._write_caller()
        elif events & POLLIN:
            self.to_caller += _read(self.master)
        elif events & POLLOUT:
            self._write_master()
        elif events & (POLLHUP | POLLERR):
            # Nobody has it open. Waiting on would spin; what a later process writes is drained at the end.
            self.hung_up = True

    def _write_master(self) -> None:
        try:
            self.to_container = self.to_container[os.write(self.master, self.to_container) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != EIO:
                raise
            self.to_container = b""

    def _write_caller(self) -> None:
        """As much as there is surely room for; with the reader gone, the rest is for nobody."""
        try:
            self.to_caller = self.to_caller[os.write(self.output, self.to_caller[: self.room]) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (EPIPE, EIO):
                raise
            self.to_caller = b""

    def drain(self, signals: int) -> None:
        """After the process's end: what it still had written belongs to the caller, however slowly that
        reads; a signal to pyoci says that it won't be read."""
        while True:
            self.to_caller = self.to_caller or _read(self.master)
            if not self.to_caller:
                return
            ready = wait_events({self.output: POLLOUT, signals: POLLIN})
            if signals in ready and _ends(signals):
                return
            if self.output in ready:
                self._write_caller()


def _own_output() -> int:
    """Our stdout, opened anew so that it can be non-blocking without being so for those who share it.

    What can't be opened by name (a socket) is written to in pieces that poll(2) has promised room for.
    """
    try:
        mode = os.fstat(1).st_mode
        if not S_ISFIFO(mode) and not S_ISCHR(mode):
            return 1
        return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return 1


def _ends(signals: int) -> bool:
    """Whether one of the signals that have come was meant to end the process."""
    packets = os.read(signals, _SIGINFO_SIZE * 16)
    return any(packets[offset] in _ENDING for offset in range(0, len(packets), _SIGINFO_SIZE))


def _read(descriptor: int) -> bytes:
    """What there is to read now; nothing at the end, or when the other side of a terminal is closed."""
    try:
        return os.read(descriptor, CHUNK)
    except OSError as error:
        if error.errno in (EAGAIN, EIO):
            return b""
        raise
