"""Unix sockets through the shim: the conversations with executors, and with those who call pyoci."""

from __future__ import annotations

import os
from errno import EINTR
from time import monotonic

from pyoci._shim import ffi, lib
from pyoci.errors import Error

PACKET_BYTES = 2048  # the largest report the executor sends is a header and 1,024 bytes of text
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16  # poll(2)


def checked(result: Any, what: str) -> int:
    """A shim call's result; minus an errno becomes an Error."""
    if result < 0:
        raise Error(f"can't {what}: {os.strerror(-result).lower()}", errno=-result)
    return int(result)


class Channel:
    """One connected socket."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, data: bytes, descriptor: int = -1) -> None:
        """Send bytes, and a descriptor along with the first of them unless it is -1."""
        sent = checked(lib.shim_send(self.descriptor, data, len(data), descriptor), "send on a socket")
        while sent < len(data):  # a stream's buffer can be smaller than what a signal interrupts
            rest = data[sent:]
            sent += checked(lib.shim_send(self.descriptor, rest, len(rest), -1), "send on a socket")

    def receive(self) -> tuple[bytes, int]:
        """The next packet and the descriptor that came with it, or -1; no bytes at the end."""
        buffer = ffi.new("char[]", PACKET_BYTES)
        arrived = ffi.new("int *")
        size = -EINTR
        while size == -EINTR:  # between two calls Python handles signals: an interrupt gets out of here
            size = lib.shim_receive(self.descriptor, buffer, PACKET_BYTES, arrived)
        return ffi.buffer(buffer, checked(size, "receive from a socket"))[:], arrived[0]

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def pair() -> tuple[Channel, Channel]:
    """Two connected ends that keep packets apart."""
    ends = ffi.new("int[2]")
    checked(lib.shim_socket_pair(ends), "make a pair of sockets")
    return Channel(ends[0]), Channel(ends[1])


def listen(path: str) -> int:
    """The descriptor of a new socket that takes connections of packets at a path."""
    return checked(lib.shim_listen(os.fsencode(path)), f"listen at {path}")


def connect(path: str, *, stream: bool) -> Channel:
    """A connection to whoever listens at a path of any length. Raises OSError."""
    result = lib.shim_connect(os.fsencode(path), int(stream))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return Channel(result)


def wait_events(wanted: dict[int, int], seconds: float = -1) -> dict[int, int]:
    """poll(2): descriptor -> events waited for, into descriptor -> events that came; at most five
    descriptors; a negative time is for ever."""
    events = ffi.new("int[]", list(wanted.values()))
    milliseconds = int(min(seconds, 1e6) * 1000) if seconds >= 0 else -1
    result = lib.shim_poll(len(wanted), ffi.new("int[]", list(wanted)), events, milliseconds)
    if result == -EINTR:
        return {}
    checked(result, "poll")
    return {descriptor: events[i] for i, descriptor in enumerate(wanted) if events[i]}


def wait_readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or for a pidfd whether its process has ended, in time."""
    deadline = monotonic() + seconds
    while not wait_events({descriptor: POLLIN}, max(0.0, deadline - monotonic())):
        if monotonic() >= deadline:
            return False
    return True
