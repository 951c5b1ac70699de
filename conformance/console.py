"""A terminal's other end: the socket that `--console-socket` names, and the master that comes over it."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time

from conformance.registry import Violation, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conformance.harness import Container

# Much more than the probe writes.
LIMIT = 1 << 20


class Console:
    """A listening socket for one container's terminal."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.path = container.directory / "console"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._listener.settimeout(10)
        self.master = -1

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self.master >= 0:
            os.close(self.master)

    def created(self) -> Console:
        """Create the container and receive the master of its terminal."""
        self.container.created("--console-socket", str(self.path))
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            raise Violation("nobody connected to the console socket") from None
        with connection:
            connection.settimeout(10)
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 4)
        check(len(descriptors) == 1, f"{len(descriptors)} descriptors came over the console socket, not 1")
        self.master = descriptors[0]
        return self

    def read(self, seconds: float = 10.0) -> str:
        """Everything written to the terminal until all its writers have closed it."""
        text = b""
        end = time.monotonic() + seconds
        while len(text) < LIMIT and time.monotonic() < end:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            if not ready:
                continue
            try:
                got = os.read(self.master, 65536)
            except OSError as error:
                # The kernel's word for a terminal whose other end has no more users (pty(7)).
                if error.errno == errno.EIO:
                    break
                raise
            if not got:
                break
            text += got
        return text.decode(errors="surrogateescape")

    def view(self, *words: str) -> dict[str, Any]:
        """What the probe saw at a terminal; the container is created, started, waited for and not deleted."""
        self.container.run_probe(*words)
        self.created()
        started = self.container.start()
        check(started.ok, str(started))
        text = self.read()
        self.container.wait()
        try:
            return dict(json.loads(text))
        except ValueError:
            raise Violation(f"the probe printed no JSON to its terminal: {text[:300]!r}") from None
