"""Talking to systemd: its private socket, method calls, and waiting for a job's end.

The private socket needs no bus daemon and is there before one is. On it every signal arrives without
having been asked for, and there is no Hello.
"""

from __future__ import annotations

import os
import socket
import stat
from collections import deque
from errno import EACCES, ECONNRESET
from time import monotonic, sleep

from jeepney import DBusAddress, HeaderFields, Message, MessageType, Parser, Properties, new_method_call

from pyoci.errors import Error
from pyoci.host import privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SECONDS = 30.0  # for one answer, and for one job
BACK_SECONDS = 10.0  # for systemd to listen again while it executes itself anew
_BOOTED = "/run/systemd/system"  # there where systemd is the init, sd_booted(3)
MANAGER = DBusAddress(
    "/org/freedesktop/systemd1",
    bus_name="org.freedesktop.systemd1",
    interface="org.freedesktop.systemd1.Manager",
)

# A D-Bus property as jeepney writes it: name, (signature, value)
Property = tuple[str, tuple[str, object]]


class Refusal(Exception):
    """systemd's answer was an error: its D-Bus name and text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name.removeprefix("org.freedesktop.systemd1.")
        self.text = text


class _Closed(Exception):
    """systemd has closed the connection before it said what was awaited."""


class Bus:
    """A connection to the system's manager, or with `user` to the calling user's. close() when done.

    systemd closes it when it is told to execute itself anew (systemctl daemon-reexec): then the connection
    is made once more, and what was not answered is asked again; `repeated` says that this has happened.
    """

    def __init__(self, user: bool) -> None:
        self.user = user
        self.repeated = False
        path = _socket_path(user)
        # systemd is just about to listen again where a socket is that refuses, or none where it is the init.
        passing: tuple[type[OSError], ...] = (ConnectionRefusedError,)
        if not user and os.path.exists(_BOOTED):
            passing += (FileNotFoundError,)
        try:
            self._connect_at_last(path, passing)
        except OSError as error:
            raise _unreachable(path, user, error) from None

    def _connect_at_last(self, path: str, passing: tuple[type[OSError], ...]) -> None:
        """Connect as soon as systemd is back, where its absence shows by an error that is `passing`."""
        deadline = monotonic() + BACK_SECONDS
        while True:
            try:
                return self._connect(path)
            except passing:
                if monotonic() > deadline:
                    raise
            sleep(0.01)  # there is nothing that would tell

    def _connect(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(SECONDS)
            self._socket.connect(path)
            rest = self._authenticate()
        except OSError:
            self._socket.close()
            raise
        self._parser = Parser()
        self._parser.add_data(rest)
        self._serial = 0
        self._signals: deque[Message] = deque()

    def _connect_again(self, awaited: str) -> None:
        """Error if that was done already, or systemd doesn't come back."""
        if self.repeated:
            raise _closed(awaited)
        self.repeated = True
        self._socket.close()
        try:
            self._connect_at_last(_socket_path(self.user), (OSError,))
        except OSError:
            raise _closed(awaited) from None

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _authenticate(self) -> bytes:
        """All of the handshake at once, as systemd's own clients do it: a message that it reads together
        with BEGIN is left lying until the next one comes. We don't say who we are, as in a user namespace
        we may have another number: the kernel tells it systemd's way (SO_PEERCRED).

        What has come after the answer is returned: from BEGIN on systemd tells us of everybody's units.
        """
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        answer = b""
        while True:
            asked, end, more = answer.partition(b"\r\n")
            if end and asked != b"DATA":
                raise PermissionError(EACCES, os.strerror(EACCES))
            verdict, end, rest = more.partition(b"\r\n")
            if end:
                break
            part = self._socket.recv(1024)
            if not part:
                raise ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
            answer += part
        if not verdict.startswith(b"OK "):
            raise PermissionError(EACCES, os.strerror(EACCES))
        return rest

    def call(self, method: str, signature: str = "", *arguments: object) -> tuple[Any, ...]:
        """A method of the manager; its answer's values. Refusal if it is an error."""
        return self._send(new_method_call(MANAGER, method, signature or None, arguments), method)

    def manager_property(self, name: str) -> Any:
        (variant,) = self._send(Properties(MANAGER).get(name), name)
        return variant[1]

    def unit_properties(self, unit: str, names: Iterable[str]) -> list[Property]:
        """Properties of a scope or slice, each once. Refusal where there is none."""
        (path,) = self.call("GetUnit", "s", unit)
        kind = unit.rpartition(".")[2].capitalize()
        address = DBusAddress(path, MANAGER.bus_name, f"{MANAGER.interface.rpartition('.')[0]}.{kind}")
        found: list[Property] = []
        for name in dict.fromkeys(names):
            (variant,) = self._send(Properties(address).get(name), name)
            found.append((name, (variant[0], variant[1])))
        return found

    def run_job(self, verb: str, signature: str, *arguments: object) -> None:
        """A method that queues a job for the unit that its first argument names, and the job's end.

        Error if the job fails, or isn't done in time: it names unit and job.
        """
        unit = str(arguments[0])
        while True:
            self._signals.clear()
            (job,) = self._send(new_method_call(MANAGER, verb, signature, arguments), f"{verb} of {unit}")
            try:
                return self._await_end(job, verb, unit)
            except _Closed:
                self._connect_again(f"{job} of {unit}")

    def _await_end(self, job: str, verb: str, unit: str) -> None:
        deadline = monotonic() + SECONDS
        while True:
            waiting = bool(self._signals)
            message = self._signals.popleft() if waiting else self._receive(deadline, f"{job} of {unit}")
            fields = message.header.fields
            if fields.get(HeaderFields.member) != "JobRemoved" or message.body[1] != job:
                continue
            result = message.body[3]
            if result != "done":
                raise Error(
                    f"systemd's {_short(verb)} of {unit} ended as {result!r}",
                    code="kernel",
                    pointer="/linux/cgroupsPath",
                    hint=f"systemctl {'--user ' if self.user else ''}status {unit} may say more",
                )
            return

    def _send(self, message: Message, what: str) -> tuple[Any, ...]:
        try:
            return self._exchange(message, what)
        except _Closed:
            self._connect_again(what)
        try:
            return self._exchange(message, what)
        except _Closed:
            raise _closed(what) from None

    def _exchange(self, message: Message, what: str) -> tuple[Any, ...]:
        self._serial += 1
        self._socket.settimeout(SECONDS)
        try:
            self._socket.sendall(message.serialise(self._serial))
        except TimeoutError:
            raise _timeout(what) from None
        except (BrokenPipeError, ConnectionResetError):
            raise _Closed from None
        deadline = monotonic() + SECONDS
        while True:
            answer = self._receive(deadline, what)
            fields = answer.header.fields
            if answer.header.message_type is MessageType.signal:
                self._signals.append(answer)
            elif fields.get(HeaderFields.reply_serial) != self._serial:
                continue
            elif answer.header.message_type is MessageType.error:
                text = answer.body[0] if answer.body else ""
                raise Refusal(str(fields.get(HeaderFields.error_name, "")), str(text))
            else:
                return tuple(answer.body)

    def _receive(self, deadline: float, awaited: str) -> Message:
        while True:
            message = self._parser.get_next_message()
            if message is not None:
                return message
            self._socket.settimeout(max(deadline - monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise _timeout(awaited) from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise _Closed
            self._parser.add_data(data)


def _timeout(awaited: str) -> Error:
    return Error(
        f"systemd did not answer within {SECONDS:.0f} s: still waiting for {awaited}",
        code="timeout",
        hint="systemctl list-jobs shows what it is busy with",
    )


def _closed(awaited: str) -> Error:
    return Error(
        f"systemd closed the connection while {awaited} was awaited, and again or for good",
        code="kernel",
        hint="systemctl status, or journalctl --unit init.scope, may say why",
    )


def _short(verb: str) -> str:
    return {"StartTransientUnit": "start", "StopUnit": "stop"}.get(verb, verb)


def _socket_path(user: bool) -> str:
    if not user:
        return "/run/systemd/private"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or _login()}/systemd/private"


def _login() -> str:
    """What a login of the user's sets XDG_RUNTIME_DIR to."""
    return f"/run/user/{privileges.outer_uid()}"


def _unreachable(path: str, user: bool, error: OSError) -> Error:
    reason = os.strerror(error.errno or 0).lower() if error.errno else str(error)
    if not user:
        hint = "systemd isn't the init here" if not _is_socket(path) else "only root may talk to it"
    else:
        hint = _remedy()
    message = f"can't reach systemd at {path}: {reason}"
    return Error(message, code="not-found", errno=error.errno or 0, hint=hint)


def _remedy() -> str:
    """What a user does whose own manager can't be reached: one of three things."""
    if not os.path.exists(_BOOTED):
        return "systemd isn't the init here: use --cgroup-manager cgroupfs"
    login = _login()
    if _is_socket(f"{login}/systemd/private"):
        return f"set XDG_RUNTIME_DIR to {login}, as a login does"
    return (
        f"no systemd of user {privileges.outer_uid()} runs: log in, or have root say `loginctl "
        "enable-linger` for that user; or use --cgroup-manager cgroupfs"
    )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
