"""Handing things to the caller: the pid file, and descriptors through a unix socket."""

from __future__ import annotations

import os

from pyoci.errors import Error
from pyoci.lifecycle import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.lifecycle.options import CreateOptions, ExecOptions


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid as decimal digits, atomically: who polls for the file finds all of it."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{pid}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, str(pid).encode())
        finally:
            os.close(descriptor)
        try:
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise Error(
            f"can't write the pid file {path}: {os.strerror(error.errno or 0).lower()}",
            errno=error.errno or 0,
        ) from None


def connect(path: str, flag: str) -> channel.Channel:
    """A connection to the stream socket that an engine listens on.

    flag  the flag that gave it, or the JSON pointer of the property
    """
    try:
        return channel.connect(path, stream=True)
    except OSError as error:
        by = "" if flag.startswith("/") else f", given by {flag}"
        raise Error(
            f"can't connect to {path}{by}: {os.strerror(error.errno or 0).lower()}",
            code="not-found",
            pointer="" if by else flag,
            errno=error.errno or 0,
            hint="whoever calls pyoci has to listen there",
        ) from None


def send_descriptor(path: str, flag: str, descriptor: int, name: bytes) -> None:
    """Send a descriptor with a few bytes of text, as engines expect terminals and pidfds."""
    connection = connect(path, flag)
    try:
        connection.send(name, descriptor)
    finally:
        connection.close()


def send_terminal(path: str, master: int) -> None:
    """Give the caller a terminal's master at --console-socket; ours is closed in any case."""
    try:
        send_descriptor(path, "--console-socket", master, b"/dev/ptmx")
    finally:
        os.close(master)


def tell_process(options: CreateOptions | ExecOptions, pid: int, pidfd: int) -> None:
    """Tell the caller of the new process in the ways that were asked for."""
    if options.pidfd_socket:
        send_descriptor(options.pidfd_socket, "--pidfd-socket", pidfd, b"pidfd")
    if options.pid_file:
        write_pid_file(options.pid_file, pid)
