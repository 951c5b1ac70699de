"""The installed command works wherever it is started from, and whatever the environment tries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.containers import PYOCI, REPOSITORY

BUNDLES = REPOSITORY / "bundles"

HOSTILE = {
    "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/etc/passwd", "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error", "PYTHONVERBOSE": "1", "PYTHONDEBUG": "1", "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0", "PYTHONMALLOC": "debug", "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONPLATLIBDIR": "nowhere", "PYTHONEXECUTABLE": "/nowhere", "PYTHONBREAKPOINT": "os.abort",
    "PYTHONNODEBUGRANGES": "1", "PYTHONDEVMODE": "1", "PYTHONTRACEMALLOC": "5", "PYTHONCASEOK": "1",
    "LC_ALL": "C", "LANGUAGE": "xx", "HOME": "/nowhere",
}  # fmt: skip


def version(program: str, **options: object) -> str:
    """What --version prints; nothing may be said on standard error."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_starts_from_any_directory(tmp_path: Path) -> None:
    assert version(PYOCI, cwd=tmp_path).startswith("pyoci version ")
    assert version(PYOCI, cwd="/proc/self").startswith("pyoci version ")


def test_starts_through_symlinks(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(os.path.realpath(PYOCI))
    (tmp_path / "two").symlink_to("one")
    assert version(str(tmp_path / "two")) == version(PYOCI)


def test_needs_no_environment() -> None:
    assert version(PYOCI, env={}) == version(PYOCI)


def test_hostile_environment_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('sitecustomize was imported')")
    (tmp_path / "os.py").write_text("raise SystemExit('a module of the current directory was imported')")
    environment = {**HOSTILE, "PYTHONPATH": str(tmp_path)}
    assert version(PYOCI, env=environment, cwd=tmp_path) == version(PYOCI)


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_variable_changes_nothing(name: str) -> None:
    assert version(PYOCI, env={name: HOSTILE[name]}) == version(PYOCI)


def test_name_that_is_not_utf8_comes_back_as_it_was() -> None:
    done = subprocess.run([PYOCI, b"\xff\xfe"], capture_output=True, env={"LC_ALL": "C"}, timeout=60)
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert done.stderr != b""


@pytest.mark.parametrize("descriptors", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_starts_with_standard_descriptors_closed(descriptors: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    done = subprocess.run([PYOCI, "--version"], preexec_fn=close, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("pyoci version ") == (1 not in descriptors)


def test_output_that_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [PYOCI, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode != 0
    assert "no space left on device" in done.stderr


def test_traceback_shows_the_installed_source(tmp_path: Path) -> None:
    """A module that the launcher carries is, in a traceback, the installed file."""
    installed = Path(sysconfig.get_path("platlib"))
    packages = tmp_path / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    shutil.copytree(installed / "pyoci", packages / "pyoci", ignore=shutil.ignore_patterns("_shim*"))
    (tmp_path / "bin").mkdir()
    launcher = shutil.copy(PYOCI, tmp_path / "bin/pyoci")

    done = subprocess.run(
        [launcher, "--debug", "run", "--bundle", BUNDLES / "hello", "x"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "_shim" in done.stderr
    file = rf'File "({re.escape(str(packages))}/pyoci/.+)"'
    shown = re.search(rf"{file}, line (\d+), in .+\n +(.+)", done.stderr)
    assert shown is not None, done.stderr
    assert Path(shown[1]).read_text().splitlines()[int(shown[2]) - 1].strip() == shown[3]


def test_launcher_without_its_packages_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    launcher = shutil.copy(PYOCI, tmp_path / "bin/pyoci")
    done = subprocess.run([launcher, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no pyoci in {tmp_path}/lib/python" in done.stderr


@pytest.mark.parametrize("words", [["--root"], ["--root", "--log"], ["--log-format"], [""], ["--"], ["-"]])
def test_incomplete_command_line_is_answered(words: list[str]) -> None:
    done = subprocess.run([PYOCI, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1, 3)
    assert done.stdout + done.stderr != ""
