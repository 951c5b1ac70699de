"""The log: where messages go, and their shapes."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from datetime import datetime

import pytest

from pyoci.cli import log_daemons
from pyoci.cli.log import Log, timestamp
from pyoci.errors import Error

FAILURE = Error("no such file", code="not-found", pointer="/process/cwd", errno=2, hint="make it")


def test_people_see_the_command_the_property_and_the_hint(capfd):
    log = Log()
    log.command = "create"
    log.error(FAILURE)
    assert capfd.readouterr() == ("", "pyoci create: /process/cwd: no such file\n  make it\n")


def test_before_a_command_is_known(capfd):
    Log().error(Error("nothing to do"))
    assert capfd.readouterr().err == "pyoci: nothing to do\n"


def test_json_on_stderr(capfd):
    Log(shape="json").error(FAILURE)
    record = json.loads(capfd.readouterr().err)
    assert list(record)[:3] == ["level", "msg", "time"]
    assert record.pop("time")
    assert record == {
        "level": "error",
        "msg": str(FAILURE),
        "code": "not-found",
        "pointer": "/process/cwd",
        "errno": 2,
        "hint": "make it",
    }


def test_a_log_file_gets_the_record_and_people_still_see_it(capfd, tmp_path):
    file = tmp_path / "log.json"
    file.write_text("earlier\n")
    log = Log(str(file), "json")
    log.check()
    log.error(FAILURE)
    log.warn('two\nlines "quoted" \x1b[0m \udcff')
    earlier, first, second, end = file.read_text().split("\n")
    assert (earlier, end) == ("earlier", "")
    assert json.loads(first)["code"] == "not-found"
    assert json.loads(second)["msg"] == 'two\nlines "quoted" \x1b[0m \udcff'
    assert json.loads(second)["level"] == "warning"
    assert capfd.readouterr().err == "pyoci: /process/cwd: no such file\n  make it\n"


def test_text_in_a_log_file_is_as_logrus_writes_it(tmp_path):
    file = tmp_path / "log"
    Log(str(file)).error(FAILURE)
    assert re.fullmatch(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=error '
        r'msg="/process/cwd: no such file \(make it\)" '
        r'code="not-found" pointer="/process/cwd" errno=2 hint="make it"\n',
        file.read_text(),
    )


def test_the_log_file_follows_no_change_of_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Log("relative")
    monkeypatch.chdir("/")
    log.warn("here")
    assert "here" in (tmp_path / "relative").read_text()


def test_a_log_that_cannot_be_opened_is_told_at_once(tmp_path, capfd):
    log = Log(str(tmp_path / "none/log"), "json")
    with pytest.raises(Error) as caught:
        log.check()
    assert caught.value.message == f"can't open the log file {tmp_path}/none/log: no such file or directory"
    log.error(caught.value)
    assert json.loads(capfd.readouterr().err)["errno"] == 2


def test_a_full_log_makes_nothing_fail(capfd):
    log = Log("/dev/full")
    log.warn("lost")
    assert capfd.readouterr().err == "pyoci: can't write to the log /dev/full: no space left on device\n"


@pytest.mark.parametrize(
    ("level", "told"),
    [("error", ""), ("warning", "w"), ("info", "w"), ("debug", "wd")],
)
def test_levels(level, told, capfd):
    log = Log(level=level)
    log.warn("w")
    log.debug("d")
    log.error(Error("e"))
    expected = {"w": "pyoci: warning: w\n", "d": "pyoci: debug: d\n"}
    assert capfd.readouterr().err == "".join(expected[one] for one in told) + "pyoci: e\n"


def test_stderr_by_name_is_told_once(capfd):
    Log("/dev/stderr").error(Error("e"))
    assert capfd.readouterr().err == "pyoci: e\n"


def test_control_characters_from_a_container_do_not_reach_the_terminal(capfd):
    Log().error(Error("hook said: \x1b[2J\r\n\tbell \x07 ünïcode \udc80"))
    assert capfd.readouterr().err == "pyoci: hook said: \\x1b[2J\\r\n\tbell \\x07 ünïcode \\udc80\n"


@pytest.mark.parametrize(
    ("zone", "suffix"), [("UTC", "Z"), ("XXX-5:30", "+05:30"), ("XXX3:30", "-03:30"), ("XXX0:30", "-00:30")]
)
def test_times_have_their_offset(zone, suffix, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        text = timestamp(1_700_000_000.9)
        assert text.endswith(suffix)
        assert datetime.fromisoformat(text).timestamp() == 1_700_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    address = str(tmp_path / "daemon")
    monkeypatch.setattr(log_daemons, "JOURNAL", address)
    monkeypatch.setattr(log_daemons, "SYSLOG", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(10)
        yield listener


def test_the_journal_gets_values_with_their_lengths(daemon):
    Log("journald:web").warn("one\ntwo")
    message = b"one\ntwo"
    assert daemon.recv(4096) == (
        b"PRIORITY=4\nSYSLOG_IDENTIFIER=web\nMESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n"
    )


def test_syslog(daemon):
    Log("syslog:web").error(Error("it broke"))
    assert re.fullmatch(rb"<27>web\[\d+\]: it broke", daemon.recv(4096))


def test_json_for_a_daemon(daemon):
    Log("syslog:", "json").warn("w")
    _, _, record = daemon.recv(4096).partition(b": ")
    assert json.loads(record)["msg"] == "w"


def test_a_daemon_that_is_not_there_is_told_to_people(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(log_daemons, "JOURNAL", str(tmp_path / "none"))
    Log("journald:web").warn("lost")
    assert "can't write to the log journald:web: no such file or directory" in capfd.readouterr().err
