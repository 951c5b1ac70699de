"""Temporary directories of a run's own, which no other run on the machine changes."""

from __future__ import annotations

import shutil
import tempfile

import pytest

OWN = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest chooses /tmp/pytest-of-USER: each run that begins makes that private again, and
    containers of another run whose users are mapped can't reach their root filesystem any longer."""
    if config.option.basetemp is None:
        config.stash[OWN] = config.option.basetemp = tempfile.mkdtemp(prefix="pyoci-tests-")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed tests have left can be looked at."""
    if exitstatus != pytest.ExitCode.TESTS_FAILED and (own := session.config.stash.get(OWN, None)):
        shutil.rmtree(own, ignore_errors=True)
