"""The table of commands: complete, without contradictions, and known to whoever repeats a part of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pyoci
from pyoci.cli import help as help_texts
from pyoci.cli.commands import CHOICE, COMMANDS, GLOBAL_FLAGS, LIST, NUMBER, SWITCH, TEXT

SOURCE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_with_a_main(name):
    tree = ast.parse((Path(pyoci.__file__).parent / "cli" / f"{name}.py").read_text())
    assert ast.get_docstring(tree).startswith(f"`pyoci {name}`")
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert [argument.arg for argument in main.args.args] == ["settings", "given"]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_flags_are_well_formed(name):
    flags = COMMANDS[name][2] if name else GLOBAL_FLAGS
    names = [flag[0] for flag in flags] + [flag[1] for flag in flags if flag[1]]
    assert len(names) == len(set(names))
    for long, letter, kind, called, default, text in flags:
        assert len(long) > 1 and len(letter) <= 1
        assert kind in (SWITCH, TEXT, NUMBER, LIST, CHOICE)
        assert bool(called) == (kind != SWITCH)
        assert text and text[0].islower() and not text.endswith(".")
        if kind == CHOICE:
            assert default in called.split("|")
        if kind in (SWITCH, LIST):
            assert default == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_is_used(name):
    """A flag that is accepted does what it says: its long name occurs where the command is run."""
    sources = [name, "create"] if name == "run" else [name]
    text = "".join((Path(pyoci.__file__).parent / "cli" / f"{source}.py").read_text() for source in sources)
    for flag in COMMANDS[name][2]:
        assert f'"{flag[0]}"]' in text or f'"{flag[0]}": (' in text  # looked up, or in the command's table


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_every_flag(name):
    text = help_texts.command_help(name)
    assert f"pyoci {name}" in text
    for flag in COMMANDS[name][2]:
        assert f"--{flag[0]}" in text
        assert flag[5] in text
    assert max(map(len, text.splitlines())) <= 110


def test_general_help_tells_every_command_and_global_flag():
    text = help_texts.general_help()
    for name, (summary, _, _) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE)
    for flag in GLOBAL_FLAGS:
        assert f"--{flag[0]}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_examples_are_of_commands_that_exist():
    assert set(help_texts.EXAMPLES) <= set(COMMANDS)


def test_the_launcher_knows_which_global_flags_have_values():
    """It looks for the command's name before Python has started."""
    launcher = SOURCE / "native/launcher.c"
    if not launcher.exists():
        pytest.skip("the launcher's source isn't here")
    body = re.search(r"valued\[\] = \{(.*?)\}", launcher.read_text(), re.DOTALL).group(1)
    known = set(re.findall(r'"--([a-z-]+)"', body))
    assert known == {flag[0] for flag in GLOBAL_FLAGS if flag[2] != SWITCH}


def test_version_lines():
    lines = help_texts.version().splitlines()
    assert lines[0] == f"pyoci version {pyoci.VERSION}"
    assert f"spec: {pyoci.SPEC_VERSION}" in lines
    assert [line.split(": ")[0] for line in lines[-2:]] == ["python", "libseccomp"]


def test_the_version_is_the_packages():
    project = SOURCE / "pyproject.toml"
    if not project.exists():
        pytest.skip("pyproject.toml isn't here")
    assert f'version = "{pyoci.VERSION}"' in project.read_text()
