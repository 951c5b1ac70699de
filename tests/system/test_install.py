"""pyoci installs with pip under each Python it supports, and with make into a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.containers import REPOSITORY, Bundle, Runtime

SECONDS = 300
PYTHONS = ("3.11", "3.12", "3.13")


def find_python(version: str) -> str | None:
    """A Python of this version that can make virtual environments and has its headers; None without one."""
    candidates = [
        *sorted(str(path) for path in Path("/root/.pyenv/versions").glob(f"{version}.*/bin/python{version}")),
        f"/usr/local/bin/python{version}",
        f"/usr/bin/python{version}",
    ]
    probe = "import ensurepip, os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')"
    for candidate in candidates:
        if (
            os.path.exists(candidate)
            and subprocess.run([candidate, "-c", probe], capture_output=True).returncode == 0
        ):
            return candidate
    return None


def sources(directory: Path) -> Path:
    """A copy of what is in the tree, without anything built, so that no build disturbs another."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "build", "rootfs", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis",
        "steps.h", "validator.py", "_shim*", "_libseccomp.py", "_executor",
    )  # fmt: skip
    shutil.copytree(REPOSITORY, directory, ignore=ignored)
    (directory / "pyoci/plan/steps.py").unlink(missing_ok=True)
    return directory


def run(*command: str | Path, **options: object) -> None:
    """Runs a command of an installation; what it says is shown if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        **options,  # type: ignore[call-overload]  # cwd and env, of whatever type
    )
    assert done.returncode == 0, done.stdout + done.stderr


def works(program: Path, tmp_path: Path) -> None:
    """A container runs, and the runtime's help and version are there."""
    installed = Runtime(tmp_path / "state", str(program))
    assert installed.ok("--version", env={}).startswith("pyoci version ")
    bundle = Bundle(tmp_path / "bundle").args("echo", "installed")
    assert installed.ok("run", "--bundle", str(bundle.save()), "installed", env={}) == "installed\n"
    bundle.config["process"]["cwd"] = 5
    assert "/process/cwd" in installed.call("run", "--bundle", str(bundle.save()), "installed", env={}).stderr


@pytest.mark.parametrize("version", PYTHONS)
def test_pip_installs_under(version: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version} with headers and ensurepip")
    environment = tmp_path / "environment"
    run(python, "-m", "venv", "--without-pip", environment)  # which takes as long as all the rest
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin/python", "--quiet")
    run(*pip, "install", sources(tmp_path / "sources"))

    works(environment / "bin/pyoci", tmp_path)

    link = tmp_path / "link"
    link.symlink_to(environment / "bin/pyoci")
    assert Runtime(tmp_path / "state", str(link)).ok("--version", cwd="/") != ""
    run(environment / "bin/python", "-m", "pyoci", "--version")
    run(*pip, "uninstall", "--yes", "pyoci")
    assert not (environment / "bin/pyoci").exists()


def test_make_installs_into_a_directory_of_its_own(tmp_path: Path) -> None:
    prefix = tmp_path / "a prefix"
    run("make", "--directory", REPOSITORY, "install", f"PREFIX={prefix}")

    assert sorted(os.listdir(prefix)) == ["bin", "lib"]
    assert os.listdir(prefix / "bin") == ["pyoci"]
    assert os.listdir(prefix / "lib") == ["pyoci"]
    works(prefix / "bin/pyoci", tmp_path)

    moved = tmp_path / "moved"
    prefix.rename(moved)
    works(moved / "bin/pyoci", tmp_path / "again")


@pytest.mark.parametrize("way", ["linked in", "shared", "executed"])
def test_launcher_works_however_it_has_python(way: str, tmp_path: Path) -> None:
    """Where the interpreter's library can't be linked, the launcher executes python, and all is as before."""
    packages = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    script = (
        "import sys, setuptools; from pathlib import Path; sys.path.insert(0, 'native'); import build\n"
        "target, packages, way = sys.argv[1:]; ways = build.ways_to_python()\n"
        "if way not in ways: sys.exit(3)\n"
        "build.build_launcher(Path(target), Path(packages), {way: ways[way]})"
    )
    (tmp_path / "bin").mkdir()
    target = tmp_path / "bin/pyoci"
    built = subprocess.run(
        [sys.executable, "-c", script, target, packages, way],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    if built.returncode == 3:
        pytest.skip(f"this Python has no library that can be {way}")
    assert built.returncode == 0, built.stdout + built.stderr
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/pyoci").symlink_to(packages)

    works(target, tmp_path)
    hostile = {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "LC_ALL": "C", "PYTHONOPTIMIZE": "2"}
    assert Runtime(tmp_path / "state", str(target)).ok("--version", env=hostile).startswith("pyoci version ")
