"""The conversation with the executor: starting it, answering its questions, hearing its failures.

The protocol is drawn in native/executor/report.c. A plan's steps name what the executor does, so a
failure comes back as a step's number and leaves here as an Error with that step's JSON pointer.
"""

from __future__ import annotations

import os

from pyoci.errors import Error
from pyoci.lifecycle import channel
from pyoci.lifecycle.channel import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyoci.plan.plan import Plan
    from pyoci.plan.steps import Step

FAILED, WAITING, CLONED, DESCRIPTOR, READY, DONE, WARNING = range(1, 8)
TERMINAL, LISTENER = 1, 2
COMMAND_NAME = "pyoci-init"  # /proc/PID/comm of an executor
_HEADER_BYTES = 24  # struct report, native/executor/report.h
_EXECUTOR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_executor")


class Report:
    """One packet from the executor; `descriptor` is -1 where none came along."""

    __slots__ = ("descriptor", "error", "kind", "step", "text", "value")

    def __init__(self, packet: bytes, descriptor: int) -> None:
        self.kind = int.from_bytes(packet[0:4], "little")
        self.step = int.from_bytes(packet[4:8], "little")
        self.error = int.from_bytes(packet[8:12], "little", signed=True)
        length = int.from_bytes(packet[12:16], "little")
        self.value = int.from_bytes(packet[16:24], "little", signed=True)
        self.text = packet[_HEADER_BYTES : _HEADER_BYTES + length].decode("utf-8", "replace")
        self.descriptor = descriptor


class Init:
    """A started executor: its process, and the socket to talk with it.

    pid, pidfd  the process itself; after CLONED, the container's process (pidfd -1 before)
    """

    __slots__ = ("control", "pid", "pidfd", "plan", "stage", "stage_pidfd", "trace", "warn")

    def __init__(self, plan: Plan, control: channel.Channel, warn: Callable[[str], None]) -> None:
        self.plan = plan
        self.control = control
        self.warn = warn
        self.trace: Callable[[Step, int], None] | None = None
        self.pid = self.stage = 0
        self.pidfd = self.stage_pidfd = -1

    def receive(self) -> Report | None:
        """The next packet, None at the end of the connection. Raises what a FAILED tells; takes
        note of CLONED, DONE and WARNING by itself."""
        while True:
            packet, descriptor = self.control.receive()
            if not packet:
                return None
            report = Report(packet, descriptor)
            if report.kind == CLONED:
                self.pid, self.pidfd = report.value, report.descriptor
                self._reap_stage()
            elif report.kind == WARNING:
                self.warn(f"{self.plan.pointer(report.step)}: {report.text}")
            elif report.kind == DONE:
                if self.trace:
                    self.trace(self.plan.steps[report.step], report.value)
            elif report.kind == FAILED:
                from pyoci.lifecycle.failures import failed_step

                raise failed_step(self.plan, report, self.pid or self.stage)
            else:
                return report

    def answer(self) -> None:
        self.control.send(b"g")

    def until_program(self) -> None:
        """Wait until the program runs: exec closes the socket."""
        if self.receive() is not None:
            raise Error("the executor went on talking where its program should run")

    def _reap_stage(self) -> None:
        if self.stage:
            os.waitpid(self.stage, 0)
            os.close(self.stage_pidfd)
            self.stage, self.stage_pidfd = 0, -1

    def destroy(self) -> None:
        """Kill what was started and wait for its end; safe to call at any point."""
        for pid in (self.stage, self.pid):
            if pid:
                try:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    continue
        self.pid = self.stage = 0
        self.close()

    def close(self) -> None:
        self.control.close()
        for descriptor in (self.pidfd, self.stage_pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self.pidfd = self.stage_pidfd = -1


def spawn(
    plan: Plan,
    *,
    descriptors: Mapping[str, int],
    keep: Iterable[int] = (),
    standard: tuple[int, int, int] = (-1, -1, -1),
    cgroup: int = -1,
    warn: Callable[[str], None],
    trace: Callable[[Step, int], None] | None = None,
) -> Init:
    """Start the executor on a plan.

    descriptors  the number behind each name in the plan
    keep         further descriptors the program inherits, beside `standard` (-1: our own)
    cgroup       the cgroup v2 directory to be born in, or -1
    """
    from pyoci._shim import ffi, lib  # here, as start and delete only talk with what create spawned
    from pyoci.plan.encode import encode

    ours, theirs = channel.pair()
    init = Init(plan, ours, warn)
    init.trace = trace
    image = program = -1
    try:
        image = _image()
        data = encode(plan.steps, descriptors, trace is not None)
        program = checked(lib.shim_sealed_data(data, len(data), b"pyoci-plan"), "make the plan's memfd")
        kept = [*descriptors.values(), *keep]
        request = ffi.new("struct spawn *")
        request.executor, request.plan, request.control = image, program, theirs.descriptor
        request.cgroup = cgroup
        request.standard = standard
        numbers = ffi.new("int[]", kept)
        request.keep, request.keep_count = numbers, len(kept)
        pid = checked(lib.shim_spawn(request), "start the executor")
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        for descriptor in (image, program):
            if descriptor >= 0:
                os.close(descriptor)
    if plan.staged:
        init.stage, init.stage_pidfd = pid, request.pidfd
    else:
        init.pid, init.pidfd = pid, request.pidfd
    return init


def _image() -> int:
    """The executor, as a copy that nobody can write to: what a container sees as /proc/self/exe."""
    from pyoci._shim import lib

    file = os.open(_EXECUTOR, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return checked(lib.shim_sealed_file(file, b"pyoci-init"), "copy the executor to memory")
    finally:
        os.close(file)
