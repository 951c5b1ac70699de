"""The conversation with systemd, with one that answers late, wrongly, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jeepney import HeaderFields, Message, Parser, new_error, new_method_return, new_signal

from pyoci.cgroup import changes, resources
from pyoci.cgroup.journal import Journal
from pyoci.cgroup.manager import Manager
from pyoci.cgroup.systemd import bus
from pyoci.cgroup.systemd.bus import MANAGER, Bus, Refusal
from pyoci.cgroup.systemd.driver import SystemdManager
from pyoci.cgroup.systemd.names import UnitName
from pyoci.errors import Error

JOB = "/org/freedesktop/systemd1/job/7"
UNIT = "web.scope"
START = ("StartTransientUnit", "ssa(sv)a(sa(sv))", UNIT, "fail", [], [])

Answer = Callable[[Message], list[Message]]


class Systemd:
    """Listens where a user's manager does; `answer` is what it says to each call."""

    def __init__(self, directory: Path) -> None:
        (directory / "systemd").mkdir()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(directory / "systemd/private"))
        self.socket.listen()
        self.answer: Answer = lambda message: []
        self.calls: list[str] = []
        self.unasked = b""  # what it says right after its part of the handshake
        self.connections = 0
        self.losses = 0  # how many connections are closed once something is asked
        self.hang_up = False  # whether this one is closed once it was answered
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # closed: the test is over
            self.connections += 1
            with connection:
                self.converse(connection)

    def converse(self, connection: socket.socket) -> None:
        if b"BEGIN" not in connection.recv(1024):
            return
        connection.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n" + self.unasked)
        parser, serial = Parser(), 100
        while data := connection.recv(65536):
            parser.add_data(data)
            while message := parser.get_next_message():
                self.calls.append(message.header.fields[HeaderFields.member])
                if self.losses:
                    self.losses -= 1
                    return
                for part in self.answer(message):
                    serial += 1
                    connection.sendall(part.serialise(serial))
                if self.hang_up:
                    self.hang_up = False
                    return

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    listening = Systemd(tmp_path)
    yield listening
    listening.close()


@pytest.fixture
def connected(systemd: Systemd) -> Iterator[Bus]:
    with Bus(user=True) as connection:
        yield connection


def removed(job: str, result: str) -> Message:
    return new_signal(MANAGER, "JobRemoved", "uoss", (7, job, UNIT, result))


def test_a_job_is_done_when_systemd_says_so_of_it(systemd: Systemd, connected: Bus) -> None:
    """What comes before the answer counts, and other jobs don't."""
    systemd.answer = lambda message: [
        removed("/org/freedesktop/systemd1/job/6", "failed"),
        removed(JOB, "done"),
        new_method_return(message, "o", (JOB,)),
    ]
    connected.run_job(*START)
    assert systemd.calls == ["StartTransientUnit"]


def test_what_comes_with_the_handshake_s_answer_is_no_part_of_it(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on systemd tells of the units of everybody, be it before anything was asked."""
    monkeypatch.setattr(bus, "SECONDS", 1.0)
    systemd.unasked = removed("/org/freedesktop/systemd1/job/6", "done").serialise(99)
    systemd.answer = lambda message: [new_method_return(message, "o", (JOB,)), removed(JOB, "done")]
    with Bus(user=True) as connected:
        connected.run_job(*START)
    assert systemd.calls == ["StartTransientUnit"]


@pytest.mark.parametrize(
    ("accepted", "awaited"), [(False, f"StartTransientUnit of {UNIT}"), (True, f"{JOB} of {UNIT}")]
)
def test_a_time_out_names_unit_and_job(
    systemd: Systemd, connected: Bus, monkeypatch: pytest.MonkeyPatch, accepted: bool, awaited: str
) -> None:
    def answer(message: Message) -> list[Message]:
        monkeypatch.setattr(bus, "SECONDS", 0.1)  # from here on: the first answer may take its time
        return [new_method_return(message, "o", (JOB,))]

    if accepted:
        systemd.answer = answer
    else:
        monkeypatch.setattr(bus, "SECONDS", 0.1)
    with pytest.raises(Error, match="did not answer within") as caught:
        connected.run_job(*START)
    assert caught.value.message.endswith(f"still waiting for {awaited}")
    assert (caught.value.code, caught.value.hint) == (
        "timeout",
        "systemctl list-jobs shows what it is busy with",
    )


def test_a_job_that_fails_names_the_unit(systemd: Systemd, connected: Bus) -> None:
    systemd.answer = lambda message: [new_method_return(message, "o", (JOB,)), removed(JOB, "failed")]
    with pytest.raises(Error, match=rf"systemd's start of {UNIT} ended as 'failed'") as caught:
        connected.run_job(*START)
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert f"systemctl --user status {UNIT}" in caught.value.hint


def test_a_refusal_has_systemds_words(systemd: Systemd, connected: Bus) -> None:
    name = "org.freedesktop.systemd1.UnitExists"
    systemd.answer = lambda message: [new_error(message, name, "s", ("it is there already",))]
    with pytest.raises(Refusal) as caught:
        connected.call("StopUnit", "ss", UNIT, "replace")
    assert (caught.value.name, caught.value.text) == ("UnitExists", "it is there already")


def test_a_systemd_that_executes_itself_anew_is_asked_again(systemd: Systemd, connected: Bus) -> None:
    systemd.losses = 1
    systemd.answer = lambda message: [new_method_return(message, "o", (JOB,)), removed(JOB, "done")]
    connected.run_job(*START)
    assert connected.repeated and systemd.calls == ["StartTransientUnit"] * 2


def test_a_job_whose_end_was_lost_is_asked_for_again(systemd: Systemd, connected: Bus) -> None:
    def answer(message: Message) -> list[Message]:
        accepted = new_method_return(message, "o", (JOB,))
        if len(systemd.calls) == 1:
            systemd.hang_up = True
            return [accepted]
        return [accepted, removed(JOB, "done")]

    systemd.answer = answer
    connected.run_job(*START)
    assert connected.repeated and systemd.calls == ["StartTransientUnit"] * 2


def test_a_systemd_that_goes_away_is_said_to_have(systemd: Systemd, connected: Bus) -> None:
    systemd.losses = 2
    with pytest.raises(Error, match=f"closed the connection while StartTransientUnit of {UNIT} was awaited"):
        connected.run_job(*START)


@pytest.mark.parametrize(
    ("given", "booted", "running", "hint"),
    [
        ("", False, False, "systemd isn't the init here: use --cgroup-manager cgroupfs"),
        ("", True, False, "no systemd of user 54321 runs: log in, or have root say `loginctl enable-linger`"),
        ("/nowhere", True, False, "no systemd of user 54321 runs"),
        ("/nowhere", True, True, "set XDG_RUNTIME_DIR to "),
    ],
)
def test_without_a_manager_the_remedy_that_applies_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, booted: bool, running: bool, hint: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    monkeypatch.setattr(bus, "_BOOTED", str(tmp_path if booted else tmp_path / "nothing"))
    monkeypatch.setattr(bus.privileges, "outer_uid", lambda: 54321)  # whose manager surely doesn't run
    listening = socket.socket(socket.AF_UNIX)
    if running:
        (tmp_path / "systemd").mkdir()
        listening.bind(str(tmp_path / "systemd/private"))
        monkeypatch.setattr(bus, "_login", lambda: str(tmp_path))
    with listening, pytest.raises(Error, match=r"can't reach systemd at .*/systemd/private") as caught:
        Bus(user=True)
    assert caught.value.hint.startswith(hint)


def test_an_update_is_one_conversation(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the unit has, one change of all, and that it is made."""

    def answer(message: Message) -> list[Message]:
        member = message.header.fields[HeaderFields.member]
        told = {"GetUnit": ("o", ("/org/freedesktop/systemd1/unit/web_2escope",)), "Get": ("v", (("t", 7),))}
        return [new_method_return(message, *told.get(member, (None, ())))]

    systemd.answer = answer
    writes = [resources.one("pids.max", 5, "/p"), resources.one("memory.max", 4096, "/p")]
    monkeypatch.setattr(Manager, "_update", lambda *_: writes)  # made in the cgroup, which there is none of
    monkeypatch.setattr(changes, "settle", lambda *_: None)
    manager = SystemdManager("v2", [], UnitName("a.slice", UNIT), user=True)
    manager.update({}, journal=Journal({}))
    assert systemd.connections == 1
    assert systemd.calls == ["GetUnit", "Get", "Get", "SetUnitProperties", "GetUnit"]


def test_a_socket_that_is_about_to_be_there_is_waited_for(
    systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While systemd executes itself anew there is none for a moment."""
    monkeypatch.setattr(bus, "_BOOTED", str(tmp_path))
    socket_file, away = tmp_path / "systemd/private", tmp_path / "away"
    socket_file.rename(away)
    monkeypatch.setattr(bus, "_socket_path", lambda user: str(socket_file))
    monkeypatch.setattr(bus, "sleep", lambda _: away.rename(socket_file))
    with Bus(user=False):
        assert systemd.connections == 1
