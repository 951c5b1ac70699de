"""sd_notify(3) through the runtime: the container says that it is ready, the caller's service manager hears.

create binds a directory beside the container's state into the container. Who starts the container makes a
socket there, and passes on what comes: `start` and a detached `run` until the container is ready or has
ended - they return only then, as runc and crun do, so that nobody has to be left behind for it -, `run` in
the foreground as long as the container lives.

What the container says isn't trusted: only known fields are passed on, and MAINPID is ours to say.
"""

from __future__ import annotations

import os

from pyoci.lifecycle import store
from pyoci.lifecycle.channel import POLLIN, wait_events, wait_readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.lifecycle.store import Container

VARIABLE = "NOTIFY_SOCKET"
DIRECTORY = "notify"  # in the container's state directory
SOCKET = "notify.sock"
INSIDE = "/run/notify"  # where runc has it
MESSAGE_BYTES = 4096  # what systemd reads of a message
BARRIER_SECONDS = 5.0

# Not among them, beside MAINPID: what is about descriptors, and about who may notify.
RELAYED = (
    "BUSERROR", "ERRNO", "EXTEND_TIMEOUT_USEC", "MONOTONIC_USEC", "READY", "RELOADING", "STATUS", "STOPPING",
    "WATCHDOG",
)  # fmt: skip


def arrange(config: dict[str, Any], path: str) -> str:
    """Change a configuration so that its process finds a socket to notify; the caller's socket, or ""
    if the caller has none, or has written one into the configuration by itself.

    path  of the container's state directory
    """
    caller = os.environ.get(VARIABLE, "")
    environment = config["process"].get("env") or []
    if not caller or any(entry.startswith(f"{VARIABLE}=") for entry in environment):
        return ""
    config["process"]["env"] = [*environment, f"{VARIABLE}={INSIDE}/{SOCKET}"]
    mount = {
        "destination": INSIDE,
        "type": "bind",
        "source": f"{path}/{DIRECTORY}",
        "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    }
    config["mounts"] = [*(config.get("mounts") or ()), mount]
    return caller


def make_directory(container: Container) -> None:
    """What the mount of arrange() shows, open to every user of the container."""
    try:
        os.mkdir(DIRECTORY, dir_fd=container.descriptor)
        os.chmod(DIRECTORY, 0o755, dir_fd=container.descriptor)
    except OSError as error:
        raise store.unwritten(f"{container.path}/{DIRECTORY}", error) from None


class Proxy:
    """Between one container and the caller's service manager. close() when done.

    descriptor  readable when the container has said something
    ready       whether it has said that it is ready
    """

    def __init__(self, container: Container, warn: Callable[[str], None]) -> None:
        import _socket

        self.pid: int = container.state["pid"]
        self.address: str = os.environ.get(VARIABLE) or container.state["notify"]
        self.warn = warn
        self.ready = False
        self._path = f"{container.path}/{DIRECTORY}/{SOCKET}"
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
        self.descriptor = self._socket.fileno()
        _unlink(self._path)
        before = os.umask(0)  # the container's user, whoever it is, may write to it
        try:
            _by_directory(self._path, self._socket.bind)
        finally:
            os.umask(before)

    def relay(self) -> None:
        """Pass on all that the container has said."""
        while True:
            try:
                message = self._socket.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            lines = [line for line in message.split(b"\n") if _field(line) in RELAYED]
            if b"READY=1" in lines:
                lines.append(b"MAINPID=%d" % self.pid)
                self.ready = True
            if lines:
                self._tell(b"\n".join(lines))

    def wait_ready(self) -> None:
        """Relay until the container is ready, or has ended."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            ended = False
            while not self.ready and not ended:
                ended = pidfd in wait_events({self.descriptor: POLLIN, pidfd: POLLIN})
                self.relay()
        finally:
            os.close(pidfd)
        if self.ready:
            self._wait_heard()

    def close(self) -> None:
        """Nobody listens any more; the rest of what was said is passed on."""
        self.relay()
        self._socket.close()
        _unlink(self._path)

    def _wait_heard(self) -> None:
        """A service manager looks up who spoke, so we mustn't have gone before it has read
        (sd_notify_barrier(3)): it closes its end of the pipe then."""
        import _socket

        reading, writing = os.pipe()
        try:
            number = writing.to_bytes(4, "little")
            self._tell(b"BARRIER=1", [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, number)])
            os.close(writing)
            writing = -1
            wait_readable(reading, BARRIER_SECONDS)
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)

    def _tell(self, message: bytes, ancillary: list[tuple[int, int, bytes]] | None = None) -> None:
        import _socket

        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            if self.address.startswith("@"):
                sender.connect("\0" + self.address[1:])
            else:
                _by_directory(self.address, sender.connect)
            sender.sendmsg([message], ancillary or [])
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            self.warn(f"can't notify the service manager at {self.address}: {reason}")
        finally:
            sender.close()


def _field(line: bytes) -> str:
    name, equals, _ = line.partition(b"=")
    return name.decode("ascii", "replace") if equals else ""


def _by_directory(path: str, call: Callable[[str], object]) -> None:
    """Bind or connect to a path of any length: a sockaddr_un holds 107 characters."""
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
