"""The manual page and the completion for bash: made from the table, and right in their own languages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyoci.__main__ import main
from pyoci.cli.commands import COMMANDS, GLOBAL_FLAGS
from pyoci.cli.completion import bash
from pyoci.cli.manual import page


def test_the_manual_page_tells_every_command_and_flag():
    text = page().replace("\\-", "-")
    for name, (_, _, flags) in COMMANDS.items():
        assert f".SS \\fBpyoci {name}\\fR" in text
        for flag in flags:
            assert f"--{flag[0]}" in text
    for flag in GLOBAL_FLAGS:
        assert f"--{flag[0]}" in text


@pytest.mark.skipif(not shutil.which("groff"), reason="groff isn't installed")
def test_groff_has_no_complaints():
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", "-k"],
        input=page(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_they_are_printed_by_help(capfd):
    assert main(["help", "man"]) == 0
    assert capfd.readouterr().out == page()
    assert main(["help", "bash"]) == 0
    assert capfd.readouterr().out == bash()


@pytest.fixture
def complete(tmp_path: Path):
    """What bash offers for a command line whose last word is being typed."""
    (tmp_path / "pyoci").write_text('#!/bin/sh\necho "$@" >> "$0.calls"\necho web\necho db\n')
    (tmp_path / "pyoci").chmod(0o755)
    (tmp_path / "script").write_text(bash())

    def offered(*words: str) -> list[str]:
        driver = """
            source ./script
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _pyoci
            printf "%s\\n" "${COMPREPLY[@]}"
        """
        done = subprocess.run(
            ["bash", "--norc", "-c", driver, "bash", f"{tmp_path}/pyoci", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    offered.calls = lambda: (tmp_path / "pyoci.calls").read_text()
    return offered


needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash isn't installed")


@needs_bash
def test_commands_are_completed(complete):
    assert complete("st") == ["start", "state"]
    assert complete("--root", "/r", "") == [*COMMANDS, "help"]


@needs_bash
def test_flags_are_completed(complete):
    assert complete("--log") == ["--log", "--log-format", "--log-level"]
    assert complete("kill", "-") == ["--all", "--help"]
    assert complete("run", "--no-") == ["--no-pivot", "--no-new-keyring", "--no-subreaper"]


@needs_bash
def test_values_are_completed(complete):
    assert complete("list", "--format", "") == ["table", "json"]
    assert complete("list", "-f", "j") == ["json"]
    assert complete("--rootless", "a") == ["auto"]
    assert complete("exec", "--user", "") == []
    assert complete("exec", "--process", "scr") == ["script"]
    assert complete("run", "--bundle", "scr") == []


@needs_bash
def test_containers_are_completed_from_the_right_root(complete):
    assert complete("--root", "/r", "kill", "") == ["web", "db"]
    assert complete("kill", "--all", "w") == ["web"]
    assert complete("run", "") == []
    assert complete("kill", "web", "") == []
    assert complete.calls() == "--root /r list --quiet\nlist --quiet\n"


@needs_bash
def test_arguments_are_completed_by_their_position(complete):
    assert complete("mounts", "") == ["add", "remove"]
    assert complete("mounts", "r") == ["remove"]
    assert complete("mounts", "add", "") == ["web", "db"]
    assert complete("mounts", "add", "web", "scr") == ["script"]
    assert complete("mounts", "add", "web", "script", "") == []
