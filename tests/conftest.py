"""The runtime that the engines' suites call, and temporary directories of a run's own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from support.containers import PYOCI

OWN = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--runtime",
        default=PYOCI,
        metavar="PATH",
        help="the runtime that engines are given in tests/engines (default: this tree's pyoci)",
    )


def _heed_signals() -> None:
    """A shell without job control has what it runs in the background ignore these, and whatever the tests
    start would inherit that: neither a program nor pytest itself could be interrupted."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest chooses /tmp/pytest-of-USER: each run that begins makes that private again, and
    containers of another run whose users are mapped can't reach their root filesystem any longer."""
    _heed_signals()
    if config.option.basetemp is None:
        config.stash[OWN] = config.option.basetemp = tempfile.mkdtemp(prefix="pyoci-tests-")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed tests have left can be looked at."""
    if exitstatus != pytest.ExitCode.TESTS_FAILED and (own := session.config.stash.get(OWN, None)):
        shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _temporary_directories_of_all_stay_so() -> Iterator[None]:
    """Whoever narrows /tmp breaks what runs next on this machine: apt needs it as an ordinary user."""
    shared = os.stat(tempfile.gettempdir()).st_mode
    yield
    assert os.stat(tempfile.gettempdir()).st_mode == shared
