"""exec's flags: strict values, and nothing that would be ignored."""

from __future__ import annotations

import pytest

from pyoci.cli.arguments import parse
from pyoci.cli.commands import COMMANDS
from pyoci.cli.exec import cgroups, options, user
from pyoci.errors import Error


def read(*words: str):
    _, arguments, flags = COMMANDS["exec"]
    return options(parse(list(words), flags, arguments, "exec"))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("0", (0, None)),
        ("1", (1, None)),
        ("1:2", (1, 2)),
        ("4294967294:0", (4294967294, 0)),
        ("01", (1, None)),
    ],
)
def test_users(text, ids):
    assert user(text) == ids
    assert read("-u", text, "web", "id").user == ids


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:",
        ":1",
        ":",
        "-1",
        "4294967295",
        "1x",
        "0x1",
        " 1",
        "1 ",
        "+1",
        "1:2:3",
        "root",
        "root:0",
        "0:wheel",
        "1.0",
    ],
)
def test_what_is_no_user_is_refused(text):
    """CVE-2026-30892: who reads `1` wrongly, or looks names up in the container, gives root away."""
    with pytest.raises(Error) as caught:
        read("-u", text, "web", "id")
    assert caught.value.code == "usage"
    assert "--user" in caught.value.message


def test_no_user_given_is_nobody_chosen():
    assert read("web", "id").user is None


def test_everything_arrives(monkeypatch):
    monkeypatch.setattr("pyoci.cli.exec.count_preserved", lambda asked, sockets: asked)
    made = read(
        *(
            "-t",
            "-d",
            "-u",
            "5:6",
            "-g",
            "7",
            "--additional-gids=8",
            "-e",
            "A=1",
            "--env",
            "B=",
            "--cwd",
            "/srv",
        ),
        *(
            "--pid-file",
            "p",
            "--console-socket",
            "c",
            "--pidfd-socket",
            "s",
            "-c",
            "CAP_CHOWN",
            "--cap",
            "CAP_KILL",
        ),
        *(
            "--no-new-privs",
            "--preserve-fds",
            "2",
            "--ignore-paused",
            "--process-label",
            "l",
            "--apparmor",
            "a",
        ),
        *("--cgroup", "x", "web", "sh", "-c", "id -u"),
    )
    assert made.args == ["sh", "-c", "id -u"]
    assert (made.tty, made.detach, made.no_new_privs, made.ignore_paused) == (True, True, True, True)
    assert made.user == (5, 6)
    assert made.additional_gids == [7, 8]
    assert made.env == ["A=1", "B="]
    assert made.cwd == "/srv"
    assert (made.pid_file, made.console_socket, made.pidfd_socket) == ("p", "c", "s")
    assert made.caps == ["CAP_CHOWN", "CAP_KILL"]
    assert made.preserve_fds == 2
    assert (made.process_label, made.apparmor) == ("l", "a")
    assert made.cgroup == {"": "x"}


@pytest.mark.parametrize(
    "words",
    [
        ("web",),
        ("-e", "A", "web", "id"),
        ("-e", "=1", "web", "id"),
        ("-g", "x", "web", "id"),
        ("-g", "4294967295", "web", "id"),
        ("--cwd", "srv", "web", "id"),
        ("-p", "", "web"),
        ("-p", "file", "web", "id"),
        ("-p", "file", "-u", "1", "web"),
        ("-p", "file", "-e", "A=1", "web"),
        ("-p", "file", "--cwd", "/", "web"),
        ("-p", "file", "--cap", "CAP_KILL", "web"),
        ("-p", "file", "-g", "1", "web"),
        ("-p", "file", "--no-new-privs", "web"),
    ],
)
def test_what_would_be_wrong_or_ignored_is_refused(words):
    with pytest.raises(Error) as caught:
        read(*words)
    assert caught.value.code == "usage"


def test_what_engines_give_beside_a_process_file():
    made = read("--pid-file", "p", "--process", "file", "--detach", "--tty", "--console-socket", "c", "web")
    assert made.process_file == "file"
    assert made.args == []
    assert made.tty


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ([], {}),
        (["a/b"], {"": "a/b"}),
        (["cpu:a", "memory:b"], {"cpu": "a", "memory": "b"}),
        (["cpu,cpuacct:a"], {"cpu": "a", "cpuacct": "a"}),
        (["cpu:a", "rest"], {"cpu": "a", "": "rest"}),
        (["cpu:a:b"], {"cpu": "a:b"}),
    ],
)
def test_cgroups(given, chosen):
    assert cgroups(given) == chosen


@pytest.mark.parametrize(
    "given", [[""], [":a"], ["cpu:"], ["a", "b"], ["cpu:a", "cpu:b"], ["cpu,:a"], ["cpu,cpu:a"]]
)
def test_cgroups_that_can_not_be_meant(given):
    with pytest.raises(Error):
        cgroups(given)
