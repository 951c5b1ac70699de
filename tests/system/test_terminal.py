"""Terminals: pyoci's own relay in the foreground, and the console socket."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime
from support.screen import Screen

Foreground = Callable[..., list[str]]


@pytest.fixture
def terminal(bundle: Bundle) -> Bundle:
    bundle.config["process"]["terminal"] = True
    for applet in ("tty", "stty", "seq", "head"):
        (bundle.rootfs / "bin" / applet).symlink_to("busybox")
    return bundle


def test_an_interactive_shell(runtime: Runtime, terminal: Bundle) -> None:
    path = terminal.args("sh").save()
    screen = Screen(runtime.command("run", "--bundle", str(path), "one"))
    screen.expect("# ")
    screen.type("tty; stty size; echo owner $(stat -c %u:%t:%T /dev/console)\n")
    screen.expect("/dev/pts/0")
    screen.expect("40 100")
    screen.expect("owner 0:88:0")
    screen.resize(50, 120)
    screen.process.send_signal(signal.SIGWINCH)
    screen.type("sleep 0.3; stty size\n")
    screen.expect("50 120")
    screen.type("exit 5\n")
    assert screen.finish() == 5
    assert termios.tcgetattr(screen.slave) == screen.before, "our terminal's modes are given back"
    screen.close()


def test_control_c_reaches_the_program(runtime: Runtime, terminal: Bundle) -> None:
    path = terminal.shell("trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done").save()
    screen = Screen(runtime.command("run", "--bundle", str(path), "one"))
    screen.expect("ready")
    screen.type("\x03")
    assert screen.finish() == 9
    screen.close()


def test_nothing_is_lost_at_the_end(runtime: Runtime, terminal: Bundle) -> None:
    path = terminal.args("seq", "1", "30000").save()
    screen = Screen(runtime.command("run", "--bundle", str(path), "one"))
    assert screen.finish() == 0
    numbers = screen.seen.decode().split()
    assert numbers == [str(n) for n in range(1, 30001)]
    screen.close()


def test_output_into_a_pipe_that_is_read_late(runtime: Runtime, terminal: Bundle) -> None:
    path = terminal.args("seq", "1", "30000").save()
    process = subprocess.Popen(
        runtime.command("run", "--bundle", str(path), "one"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(0.5)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.split() == [str(n).encode() for n in range(1, 30001)]


def receive_terminal(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        fds = array.array("i")
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_LEN(fds.itemsize))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data)
    assert len(fds) == 1
    return fds[0]


def test_the_console_socket_gets_the_terminal(runtime: Runtime, terminal: Bundle, tmp_path: Path) -> None:
    terminal.config["process"]["consoleSize"] = {"width": 99, "height": 33}
    deep = tmp_path / ("x" * 100) / ("y" * 100)  # longer than a sockaddr_un holds
    deep.mkdir(parents=True)
    directory = os.open(deep, os.O_PATH)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"/proc/self/fd/{directory}/s")
    os.close(directory)
    listener.listen()
    path = terminal.shell("stty size; read line; echo got $line; sleep 60").save()
    runtime.detached("create", "--console-socket", str(deep / "s"), "--bundle", str(path), "one")
    master = receive_terminal(listener)
    runtime.ok("start", "one")
    os.write(master, b"word\n")
    seen = b""
    while b"got word" not in seen:
        assert select.select([master], [], [], 10)[0]
        seen += os.read(master, 4096)
    assert b"33 99" in seen
    runtime.detached("exec", "-d", "-t", "--console-socket", str(deep / "s"), "one", "tty")
    second = receive_terminal(listener)
    assert select.select([second], [], [], 10)[0]
    assert os.read(second, 4096) == b"/dev/pts/1\r\n"
    for descriptor in (master, second):
        os.close(descriptor)
    listener.close()
    runtime.ok("delete", "--force", "one")


def test_exec_with_a_terminal(runtime: Runtime, bundle: Bundle) -> None:
    for applet in ("tty", "stty"):
        (bundle.rootfs / "bin" / applet).symlink_to("busybox")
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    screen = Screen(runtime.command("exec", "-t", "one", "sh", "-c", "stty size; tty; exit 3"))
    assert screen.finish() == 3
    assert screen.seen.split() == [b"40", b"100", b"/dev/pts/0"]
    screen.close()
    runtime.ok("delete", "--force", "one")


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_terminal_nobody_holds_is_refused(runtime: Runtime, terminal: Bundle, verb: str) -> None:
    flags = ["-d"] if verb == "run" else []
    done = runtime.call(verb, *flags, "--bundle", str(terminal.save()), "one")
    assert done.returncode == 1
    assert "/process/terminal" in done.stderr
    assert "--console-socket" in done.stderr


@pytest.fixture(params=["run", "exec"])
def foreground(request: pytest.FixtureRequest, runtime: Runtime, terminal: Bundle) -> Iterator[Foreground]:
    """A command in the foreground with a terminal, by run and by exec: a function of the program."""
    if request.param == "run":
        yield lambda *program: runtime.command("run", "--bundle", str(terminal.args(*program).save()), "one")
        return
    terminal.config["process"]["terminal"] = False
    runtime.create(terminal.args("sleep", "600"), "one")
    runtime.ok("start", "one")
    yield lambda *program: runtime.command("exec", "--tty", "one", *program)
    runtime.ok("delete", "--force", "one")


ENDLESS = "trap 'exit 8' TERM; while :; do echo 0123456789012345678901234567890123456789; done"


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_a_reader_that_sleeps_blocks_no_signal(foreground: Foreground, kind: str) -> None:
    """The output is full and stays so; the signal is for the program all the same, and so is its status. What
    it had written still comes, when it is read."""
    if kind == "pipe":
        ours, theirs = os.pipe()
    elif kind == "terminal":
        ours, theirs = pty.openpty()
    else:
        ours, theirs = (end.detach() for end in socket.socketpair())
    process = subprocess.Popen(foreground("sh", "-c", ENDLESS), stdin=subprocess.DEVNULL, stdout=theirs)
    os.close(theirs)
    assert select.select([ours], [], [], 20)[0]
    while is_busy(process.pid):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    while True:
        try:
            if not os.read(ours, 65536):
                break
        except OSError:  # a terminal that nobody has open any more
            break
    assert process.wait(20) == 8
    os.close(ours)


def is_busy(pid: int) -> bool:
    """Whether it isn't waiting, twice within a moment: while it relays it hardly ever is."""

    def ticks() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    time.sleep(0.2)
    return ticks() != before


def test_a_reader_that_goes_is_no_error(foreground: Foreground) -> None:
    """The program goes on, and its status is handed on."""
    read, write = os.pipe()
    words = foreground("sh", "-c", "seq 1 2000; exit 4")
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.close(read)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (4, "")


def test_the_callers_output_stays_blocking(foreground: Foreground) -> None:
    """O_NONBLOCK would be everybody's who shares the open file: a shell's, for one."""
    read, write = os.pipe()
    process = subprocess.Popen(foreground("echo", "out"), stdin=subprocess.DEVNULL, stdout=write)
    assert process.wait(20) == 0
    assert os.get_blocking(write)
    os.close(write)
    assert os.read(read, 100) == b"out\r\n"
    os.close(read)


def test_output_that_nobody_will_read_can_be_given_up(foreground: Foreground) -> None:
    """A second signal, when the program has ended, says so."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(foreground("seq", "1", "3000"), stdin=subprocess.DEVNULL, stdout=write)
    os.close(write)
    assert select.select([read], [], [], 20)[0]
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert process.returncode in (0, 143)
    os.close(read)
