"""Handing things to the caller: the pid file, and descriptors through a unix socket."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

from pyoci.errors import Error


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
        os.rename(temporary, path)
    except OSError as error:
        raise Error(
            f"can't write the pid file {path}: {os.strerror(error.errno or 0).lower()}",
            errno=error.errno or 0,
        ) from None


def connect(path: str, flag: str) -> socket:
    """The connected stream socket that an engine listens on, given by `flag`."""
    # By its directory's descriptor, as a sockaddr_un holds no more than 107 characters.
    directory, name = os.path.split(os.path.abspath(path))
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{parent}/{name}")
        finally:
            os.close(parent)
    except OSError as error:
        connection.close()
        raise Error(
            f"can't connect to {path}, given by {flag}: {os.strerror(error.errno or 0).lower()}",
            code="not-found",
            errno=error.errno or 0,
            hint="whoever calls pyoci has to listen there",
        ) from None
    return connection


def send_descriptor(connection: socket, descriptor: int, name: bytes) -> None:
    """Send one descriptor with a few bytes of text, as engines expect terminals and pidfds."""
    connection.sendmsg([name], [(SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, "little"))])
