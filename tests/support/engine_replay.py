"""An engine that is none: it calls a runtime as the real one would, and holds what that would hold."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.containers import SECONDS, Bundle
from support.engine_calls import PODMANS_VARIABLES, STRAYS, words

NULL = "/dev/null"
VALUES = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "_OCI_SYNCPIPE": "3",  # closed when the runtime looks, or the first of those to preserve
    "_OCI_STARTPIPE": "4",
    "_OCI_ATTACHPIPE": "5",
    "GOMAXPROCS": "2",
    "TTRPC_ADDRESS": "/run/containerd/containerd.sock.ttrpc",
}


class Pipe:
    """What a process writes: the engine has the end to read from."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.read = read
        self.write = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, 100)
        os.close(write)

    def until(self, text: str) -> None:
        """Waits until this text has come."""
        seen = b""
        os.set_blocking(self.read, False)
        deadline = time.monotonic() + SECONDS
        while text.encode() not in seen:
            assert time.monotonic() < deadline, f"{text!r} is not in {seen.decode()!r}"
            with contextlib.suppress(BlockingIOError):
                seen += os.read(self.read, 4096)
            time.sleep(0.002)

    def rest(self) -> str:
        """What came until the last who could write has gone; ours goes with that."""
        self.give_up()
        os.set_blocking(self.read, False)
        seen = b""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                data = os.read(self.read, 65536)
            except BlockingIOError:
                assert time.monotonic() < deadline, (
                    f"somebody holds the output still; so far {seen.decode()!r}"
                )
                time.sleep(0.002)
                continue
            if not data:
                os.close(self.read)
                return seen.decode()
            seen += data

    def give_up(self) -> None:
        if self.write >= 0:
            os.close(self.write)
            self.write = -1


class Engine:
    """Calls `program` as the engine `name` does, for one container with this bundle."""

    def __init__(self, name: str, program: str, bundle: Bundle) -> None:
        self.name = name
        self.program = program
        self.bundle = bundle
        self.statuses: dict[int, int] = {}  # of children that ended while another was waited for
        self.id = f"replay-{os.getpid()}"
        directory = bundle.path
        self.values: dict[str, object] = {
            "id": self.id, "bundle": directory, "pid_file": directory / "init.pid",
            "resources": directory / "resources.json", "process": directory / "process.json",
        }  # fmt: skip
        if name in ("containerd", "buildkit"):
            self.values.update(log=directory / "log.json", root=directory.parent / "runc" / "default")

    def _variables(self, call: str) -> dict[str, str]:
        if self.name == "podman":
            return {name: VALUES.get(name, "") for name in PODMANS_VARIABLES[call]}
        if self.name == "containerd":
            return {name: VALUES[name] for name in ("PATH", "HOME", "GOMAXPROCS", "TTRPC_ADDRESS")}
        return {name: VALUES[name] for name in ("PATH", "HOME")}

    @contextlib.contextmanager
    def _strays(self, call: str, preserved: dict[int, int]) -> Iterator[dict[int, int]]:
        """Descriptors as the engine happens to have open; the odd end of each pair is ours."""
        pairs = {}
        for number in STRAYS.get((self.name, call), []):
            pairs[number] = [end.detach() for end in socket.socketpair()]
        moved = {number: fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 100) for number, ends in pairs.items()}
        yield {**moved, **preserved}
        for descriptor in (*moved.values(), *(end for ends in pairs.values() for end in ends)):
            os.close(descriptor)

    def call(
        self,
        call: str,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        preserved: dict[int, int] | None = None,
        **values: object,
    ) -> int:
        """Makes the call; its exit status. Descriptors that aren't given are /dev/null."""
        command = [self.program, *words(self.name, call, **{**self.values, **values})]
        with (
            contextlib.chdir(self.bundle.path),
            self._strays(call, preserved or {}) as descriptors,
        ):
            actions: list[Any] = []
            for number, given in enumerate((stdin, stdout, stderr)):
                if given is None:
                    actions.append((os.POSIX_SPAWN_OPEN, number, NULL, os.O_RDWR, 0))
                else:
                    actions.append((os.POSIX_SPAWN_DUP2, given, number))
            actions += [(os.POSIX_SPAWN_DUP2, given, number) for number, given in descriptors.items()]
            pid = os.posix_spawn(self.program, command, self._variables(call), file_actions=actions)
        return self.ended(pid)

    def ok(self, call: str, **options: Any) -> str:
        """Makes a call that must succeed; what it prints."""
        out, error = Pipe(), Pipe()
        status = self.call(call, stdout=out.write, stderr=error.write, **options)
        printed, complaint = out.rest(), error.rest()
        assert status == 0, f"{self.name}'s {call}: status {status}: {complaint}"
        return printed

    def fails(self, call: str, **options: Any) -> str:
        """Makes a call that must fail; what the engine would find as its reason."""
        error = Pipe()
        status = self.call(call, stderr=error.write, **options)
        complaint = error.rest()
        assert status != 0
        log = options.get("log") or self.values.get("log")
        return reason(Path(str(log))) if log else complaint

    def pid(self, file: object = None) -> int:
        """The process that the runtime has told in the file."""
        return int(Path(str(file or self.values["pid_file"])).read_text())

    def ended(self, pid: int) -> int:
        """The exit status of a child of ours, by now maybe an adopted one; 128 + N if signal N ended it.

        Every child that ends is reaped, as by the real one, and what isn't asked for yet is kept.
        """
        deadline = time.monotonic() + SECONDS
        while pid not in self.statuses:
            found, status = os.waitpid(-1, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                self.statuses[found] = code if code >= 0 else 128 - code
                continue
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"process {pid} doesn't end")
            time.sleep(0.002)
        return self.statuses.pop(pid)


def reason(log: Path) -> str:
    """What engines find in the log: podman wants it to hold one object, the shim takes the last error."""
    (line,) = log.read_text().splitlines()
    record = json.loads(line)
    assert record["level"] == "error"
    message = record["msg"]
    assert isinstance(message, str)
    return message
