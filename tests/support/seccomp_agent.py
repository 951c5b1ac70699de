"""A seccomp agent: takes listeners at a socket and answers the calls they tell of (seccomp_unotify(2))."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RECEIVE, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102  # linux/seccomp.h
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags; number, architecture, place, arguments
_RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags


class Notification:
    """A call that waits for its answer.

    pid      of the caller, as the agent's pid namespace numbers it
    number   of the system call
    """

    def __init__(self, listener: int, content: bytes) -> None:
        self.listener = listener
        self.id, self.pid, _, self.number, *_ = _NOTIFICATION.unpack(content)

    def valid(self) -> bool:
        """Whether the caller still waits."""
        try:
            fcntl.ioctl(self.listener, _ID_VALID, struct.pack("=Q", self.id))
        except FileNotFoundError:
            return False
        return True


class Agent:
    """Listens at `path`; every call is answered by the errno that `decide` gives for it, in a thread.

    states       the container process states that arrived, one a connection
    descriptors  how many descriptors came with each
    """

    def __init__(self, path: Path, decide: Callable[[Notification], int]) -> None:
        self.decide = decide
        self.states: list[dict[str, Any]] = []
        self.descriptors: list[int] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        self._server.bind(f"/proc/self/fd/{directory}/{path.name}")  # whatever the path's length
        os.close(directory)
        self._server.listen()
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        self._server.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        listeners: list[int] = []
        while True:
            for ready, events in poll.poll():
                if ready == self._stop:
                    for listener in listeners:
                        os.close(listener)
                    return
                if ready == self._server.fileno():
                    listeners += self._accept()
                    poll.register(listeners[-1], select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(ready)
                else:  # POLLHUP: nobody with this filter is left
                    poll.unregister(ready)

    def _accept(self) -> list[int]:
        connection, _ = self._server.accept()
        descriptors = array.array("i")
        text = b""
        with connection:
            while True:
                part, ancillary, _, _ = connection.recvmsg(65536, 4096)
                for _, _, data in ancillary:
                    descriptors.frombytes(data)
                if not part:
                    break
                text += part
        self.states.append(json.loads(text))
        self.descriptors.append(len(descriptors))
        return list(descriptors)

    def _answer(self, listener: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # the caller was interrupted, or is dead
            content = fcntl.ioctl(listener, _RECEIVE, bytes(_NOTIFICATION.size))
            notification = Notification(listener, content)
            error = self.decide(notification)
            fcntl.ioctl(listener, _SEND, _RESPONSE.pack(notification.id, 0, -error, 0))
