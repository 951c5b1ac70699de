"""The whole command line, with a lifecycle that only takes notes."""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType

import pytest

import pyoci.__main__
from pyoci.cli import output
from pyoci.errors import Error
from pyoci.plan.steps import Step

main = pyoci.__main__.main

STATE = {
    "id": "web",
    "ociVersion": "1.3.0",
    "owner": 0,
    "pid": 42,
    "status": "running",
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05Z",
    "annotations": {},
}


class Lifecycle:
    """Stands for every operation: notes its calls, answers from `answers`, raises what is an exception."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.answers: dict[str, object] = {}
        self.settings = None

    def operation(self, name: str):
        def call(settings, *args, **kwargs):
            self.settings = settings
            self.calls.append((name, args, kwargs))
            answer = self.answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                return answer(settings, *args, **kwargs)
            return answer

        return call


OPERATIONS = {
    "create": ["create"],
    "run": ["run"],
    "start": ["start"],
    "signals": ["kill"],
    "delete": ["delete"],
    "freeze": ["pause", "resume"],
    "report": ["state", "list_containers", "processes"],
    "exec": ["execute"],
    "explain": ["plan"],
}


@pytest.fixture
def lifecycle(monkeypatch):
    fake = Lifecycle()
    for module, names in OPERATIONS.items():
        stand_in = ModuleType(f"pyoci.lifecycle.{module}")
        for name in names:
            setattr(stand_in, name, fake.operation(name))
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    for name in [name for name in sys.modules if name.startswith("pyoci.cli.")]:
        if name.rpartition(".")[2] in (
            "create",
            "run",
            "start",
            "kill",
            "delete",
            "pause",
            "resume",
            "state",
            "list",
            "ps",
            "exec",
            "explain",
        ):
            monkeypatch.delitem(sys.modules, name)
    yield fake
    for name in list(sys.modules):
        if name.startswith("pyoci.cli."):
            del sys.modules[name]


def vars_of(options) -> dict:
    return {name: getattr(options, name) for name in options.__slots__}


def test_create(lifecycle, monkeypatch):
    monkeypatch.setattr("pyoci.lifecycle.options.count_preserved", lambda asked, sockets: asked)
    line = (
        "--root /r create --bundle /b --pid-file p --console-socket c --pidfd-socket s --preserve-fds 3 "
        "--no-pivot --no-new-keyring -f other.json web"
    )
    assert main(line.split()) == 0
    [(name, (container_id, options), _)] = lifecycle.calls
    assert (name, container_id) == ("create", "web")
    assert vars_of(options) == {
        "bundle": "/b",
        "config": "other.json",
        "console_socket": "c",
        "listening": [],
        "no_new_keyring": True,
        "no_pivot": True,
        "pid_file": "p",
        "pidfd_socket": "s",
        "preserve_fds": 3,
    }
    assert lifecycle.settings.root == "/r"


def test_run_hands_on_the_status(lifecycle):
    lifecycle.answers["run"] = 137
    assert main(["run", "-d", "--keep", "--no-subreaper", "web"]) == 137
    [(_, (container_id, options), flags)] = lifecycle.calls
    assert container_id == "web"
    assert options.bundle == "."
    assert flags == {"detach": True, "keep": True, "no_subreaper": True, "trace": None}


def test_trace_prints_steps(lifecycle, capfd):
    def run(settings, container_id, options, *, trace, **_):
        now = __import__("time").monotonic_ns()
        trace(Step("pivot_root", "/root", ()), now)
        trace(Step("sysctl", "/linux/sysctl/a.b", ("a/b", "1")), now + 1_500_000)
        return 0

    lifecycle.answers["run"] = run
    assert main(["run", "--trace", "web"]) == 0
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith(" ms  change the root  /root")
    assert second == "    1.500 ms  set a/b to 1  /linux/sysctl/a.b"


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("start web", ("start", ("web",), {})),
        ("pause web", ("pause", ("web",), {})),
        ("resume web", ("resume", ("web",), {})),
        ("delete web", ("delete", ("web",), {"force": False})),
        ("delete web -f", ("delete", ("web",), {"force": True})),
        ("kill web", ("kill", ("web", 15), {"everyone": False})),
        ("kill --all web 9", ("kill", ("web", 9), {"everyone": True})),
        ("kill web SIGUSR1", ("kill", ("web", 10), {"everyone": False})),
    ],
)
def test_operations_on_a_container(lifecycle, line, call):
    assert main(line.split()) == 0
    assert lifecycle.calls == [call]


def test_an_empty_signal_is_none(lifecycle):
    assert main(["kill", "web", ""]) == 0
    assert lifecycle.calls[0][1] == ("web", 15)


def test_state_is_in_runcs_order(lifecycle, capfd):
    lifecycle.answers["state"] = STATE
    assert main(["state", "web"]) == 0
    text = capfd.readouterr().out
    assert text.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "web",\n')
    assert list(json.loads(text)) == [
        *("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"),
    ]
    assert json.loads(text)["owner"] == "root"


@pytest.mark.parametrize(("uid", "name"), [(0, "root"), (1, "daemon"), (54321, "54321")])
def test_owners_by_name(lifecycle, capfd, uid, name):
    lifecycle.answers["state"] = STATE | {"owner": uid}
    main(["state", "web"])
    assert json.loads(capfd.readouterr().out)["owner"] == name


def test_list(lifecycle, capfd):
    lifecycle.answers["list_containers"] = [STATE, STATE | {"id": "db", "pid": 0, "status": "stopped"}]
    assert main(["list"]) == 0
    title, web, db = capfd.readouterr().out.splitlines()
    assert title.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert web.split() == ["web", "42", "running", "/b", "2026-01-02T03:04:05Z", "root"]
    assert db.split()[:3] == ["db", "0", "stopped"]
    assert main(["list", "-q"]) == 0
    assert capfd.readouterr().out == "web\ndb\n"
    assert main(["list", "-f", "json"]) == 0
    assert [one["id"] for one in json.loads(capfd.readouterr().out)] == ["web", "db"]


def test_an_empty_list(lifecycle, capfd):
    lifecycle.answers["list_containers"] = []
    main(["list", "-f", "json"])
    main(["list", "-q"])
    assert capfd.readouterr().out == "[]\n"


def test_ps(lifecycle, capfd):
    lifecycle.answers["processes"] = [os.getpid(), os.getppid()]
    assert main(["ps", "--format", "json", "web"]) == 0
    assert json.loads(capfd.readouterr().out) == [os.getpid(), os.getppid()]
    assert main(["ps", "web", "-o", "pid,ppid"]) == 0
    title, *rows = capfd.readouterr().out.splitlines()
    assert title.split() == ["PID", "PPID"]
    assert {int(row.split()[0]) for row in rows} <= {os.getpid(), os.getppid()}
    assert main(["ps", "web", "-o", "args"]) == 1
    assert "no PID column" in capfd.readouterr().err
    assert main(["ps", "web", "--no-such-option"]) == 1
    assert main(["ps", "-f", "json", "web", "-ef"]) == 1


def test_exec_takes_flags_only_before_the_id(lifecycle):
    lifecycle.answers["execute"] = 7
    assert main(["exec", "-t", "web", "sh", "-c", "x", "--tty=no", "--", "-h"]) == 7
    [(_, (container_id, options), _)] = lifecycle.calls
    assert container_id == "web"
    assert options.args == ["sh", "-c", "x", "--tty=no", "--", "-h"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["exec", "--bogus", "web", "id"], 1),
        (["exec"], 1),
        (["exec", "web"], 255),
        (["exec", "-u", "root", "web", "id"], 255),
        (["exec", "web", "id"], 255),
        (["start", "web"], 1),
        (["start"], 1),
        (["--bogus"], 1),
        (["bogus"], 3),
    ],
)
def test_statuses_of_failures_are_runcs(lifecycle, words, status):
    lifecycle.answers["execute"] = Error("no")
    lifecycle.answers["start"] = Error("no")
    assert main(words) == status


def test_a_failures_own_status(lifecycle):
    lifecycle.answers["start"] = Error("no", status=42)
    assert main(["start", "web"]) == 42


def test_errors_go_to_the_log_and_to_people(lifecycle, capfd, tmp_path):
    lifecycle.answers["start"] = Error("container does not exist", code="not-found")
    log = tmp_path / "log.json"
    assert main(["--log", str(log), "--log-format", "json", "start", "web"]) == 1
    assert capfd.readouterr().err == "pyoci start: container does not exist\n"
    assert json.loads(log.read_text())["code"] == "not-found"


def test_a_usage_error_of_a_command_goes_to_the_log_too(tmp_path):
    log = tmp_path / "log.json"
    assert main(["--log", str(log), "--log-format=json", "start", "--bogus"]) == 1
    assert json.loads(log.read_text())["msg"].startswith("flag provided but not defined: --bogus")


def test_a_log_that_can_not_be_opened_stops_everything(lifecycle, capfd):
    assert main(["--log", "/nonexistent/log", "start", "web"]) == 1
    assert not lifecycle.calls
    assert "can't open the log file" in capfd.readouterr().err


def test_warnings_reach_the_log(lifecycle, capfd):
    lifecycle.answers["start"] = lambda settings, _: settings.warn("careful")
    assert main(["start", "web"]) == 0
    assert capfd.readouterr().err == "pyoci start: warning: careful\n"


def test_an_internal_error_is_one_line_and_with_debug_more(lifecycle, capfd):
    lifecycle.answers["start"] = ZeroDivisionError("by zero")
    assert main(["start", "web"]) == 1
    first, hint = capfd.readouterr().err.splitlines()
    assert first == "pyoci start: internal error: ZeroDivisionError: by zero"
    assert "--debug" in hint
    assert main(["--debug", "start", "web"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_an_interrupt(lifecycle, capfd):
    lifecycle.answers["start"] = KeyboardInterrupt()
    assert main(["start", "web"]) == 130
    assert capfd.readouterr().err == ""


def test_a_reader_that_has_gone(lifecycle, capfd):
    lifecycle.answers["state"] = output.ReaderGone()
    assert main(["state", "web"]) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "manager"),
    [
        ([], "cgroupfs"),
        (["--systemd-cgroup"], "systemd"),
        (["--systemd-cgroup=false"], "cgroupfs"),
        (["--cgroup-manager", "disabled"], "disabled"),
        (["--cgroup-manager=systemd", "--systemd-cgroup"], "systemd"),
    ],
)
def test_cgroup_managers(lifecycle, flags, manager):
    assert main([*flags, "start", "web"]) == 0
    assert lifecycle.settings.cgroup_manager == manager


def test_contradicting_cgroup_managers(lifecycle, capfd):
    assert main(["--systemd-cgroup", "--cgroup-manager", "disabled", "start", "web"]) == 1
    assert "exclude each other" in capfd.readouterr().err


@pytest.mark.parametrize(("value", "rootless"), [("true", True), ("false", False)])
def test_rootless(lifecycle, value, rootless):
    assert main(["--rootless", value, "start", "web"]) == 0
    assert lifecycle.settings.rootless is rootless


def test_a_relative_root(lifecycle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--root", "state", "start", "web"]) == 0
    assert lifecycle.settings.root == str(tmp_path / "state")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["h"], ["--debug"]])
def test_general_help(words, capfd):
    assert main(words) == 0
    assert "Commands:\n  create " in capfd.readouterr().out


@pytest.mark.parametrize(
    "words", [["kill", "--help"], ["kill", "x", "-h"], ["help", "kill"], ["--help", "kill"]]
)
def test_help_on_a_command(words, capfd):
    assert main(words) == 0
    assert "pyoci kill [flags] <container-id> [signal]" in capfd.readouterr().out


def test_exec_leaves_the_commands_help_alone(lifecycle, capfd):
    lifecycle.answers["execute"] = 0
    assert main(["exec", "web", "ls", "--help"]) == 0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("words", [["--version"], ["-v"], ["-v", "state", "web"]])
def test_version(words, capfd):
    assert main(words) == 0
    assert capfd.readouterr().out.startswith("pyoci version ")


def test_help_on_an_unknown_command(capfd):
    assert main(["help", "stat"]) == 3
    assert "did you mean state?" in capfd.readouterr().err


def test_spec_never_overwrites(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["spec"]) == 0
    written = (tmp_path / "config.json").read_text()
    assert json.loads(written)["process"]["cwd"] == "/"
    assert main(["spec", "--rootless"]) == 1
    assert capfd.readouterr().err == "pyoci spec: ./config.json exists\n  remove it first\n"
    assert (tmp_path / "config.json").read_text() == written
    assert main(["spec", "--bundle", str(tmp_path / "none")]) == 1
    assert "no such file or directory" in capfd.readouterr().err


def test_spec_for_a_rootless_container(tmp_path):
    assert main(["spec", "--rootless", "--bundle", str(tmp_path)]) == 0
    namespaces = json.loads((tmp_path / "config.json").read_text())["linux"]["namespaces"]
    assert {"type": "user"} in namespaces


def test_features_is_json(capfd):
    assert main(["features"]) == 0
    assert json.loads(capfd.readouterr().out)["ociVersionMax"] == "1.3.0"
