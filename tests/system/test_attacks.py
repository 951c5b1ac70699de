"""Known attacks through a bundle's files: the host is afterwards what it was, and shows nothing of itself.

Every attack is run against support/naive.py as well, where it has to succeed: else its test could not
fail. PYOCI=/usr/sbin/runc runs them against another runtime.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attacks import ATTACKS, LEAKED, MARKER, NaiveRuntime, attempt
from support.containers import PYOCI, Bundle, Runtime


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory that stands for the host's files."""
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "secret").write_text(MARKER)
    return directory


@pytest.fixture
def leaked(host: Path) -> Iterator[int]:
    """A descriptor of the host's directory that whoever starts the runtime forgot to close."""
    descriptor = os.open(host, os.O_RDONLY)
    os.dup2(descriptor, LEAKED, inheritable=True)
    os.close(descriptor)
    yield LEAKED
    os.close(LEAKED)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(runtime: Runtime, bundle: Bundle, host: Path, leaked: int, name: str) -> None:
    attack = ATTACKS[name]
    bundle.config["ociVersion"] = "1.0.2"  # which every runtime knows
    attack.prepare(bundle, host)
    done, harm = attempt(runtime, bundle, host, pass_fds=(leaked,))
    assert harm == [], done.stderr
    if not PYOCI.endswith("pyoci"):
        return
    if attack.refused:
        assert done.returncode == 1
        assert done.stderr.startswith(f"pyoci run: {attack.refused}: "), done.stderr
        assert attack.says in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ATTACKS)
def test_a_naive_runtime_falls_for_it(
    tmp_path: Path, bundle: Bundle, host: Path, leaked: int, name: str
) -> None:
    ATTACKS[name].prepare(bundle, host)
    done, harm = attempt(NaiveRuntime(tmp_path), bundle, host, pass_fds=(leaked,))
    assert harm, done.stderr


def test_a_naive_runtime_can_do_without_attacks(tmp_path: Path, bundle: Bundle, host: Path) -> None:
    """So that it's the attack which does the harm."""
    bundle.shell("echo $(id -u) in $(hostname)")
    done, harm = attempt(NaiveRuntime(tmp_path), bundle, host)
    assert (done.returncode, harm) == (0, []), done.stderr
    assert done.stdout.startswith("0 in ")
