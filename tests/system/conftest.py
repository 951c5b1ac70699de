"""Fixtures of the system tests: a runtime, bundles, and the check that nothing is left on the host."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support.containers import PYOCI, Bundle, Runtime
from support.leftovers import Before, adopt_orphans


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="making containers of every kind needs root"))


@pytest.fixture(autouse=True, scope="session")
def _orphans() -> None:
    adopt_orphans()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Every test leaves the host as it found it: processes, mounts, cgroups, descriptors, state."""
    before = Before()
    yield
    assert before.left() == []
    state = tmp_path / "state"
    if state.exists():
        assert [name for name in os.listdir(state) if name != ".cache"] == []


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "bundle")


@pytest.fixture
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    assert os.path.exists(PYOCI), f"{PYOCI} is missing: make build"
    runtime = Runtime(tmp_path / "state")
    yield runtime
    if request.node.stash.get(FAILED, False):  # what a failed test left is not another failure
        for container_id in runtime.ok("list", "-q").split():
            runtime.call("delete", "--force", container_id)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
