"""Fixtures of the system tests: a runtime, bundles, and the check that nothing is left on the host."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import manager
from pyoci.cgroup.layout import Layout
from pyoci.cgroup.manager import Manager
from support import cgroups
from support.containers import PYOCI, Bundle, Runtime, Sleeper
from support.leftovers import Before, adopt_orphans
from support.updated import Box, running


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


@pytest.fixture(params=cgroups.layouts())
def here(request: pytest.FixtureRequest) -> Iterator[Layout]:
    """The machine's cgroups, in each mode in which a runtime can be made to find them."""
    with cgroups.in_mode(request.param) as found:
        yield found


@pytest.fixture
def name() -> str:
    """What the cgroup of the `group` fixture is called."""
    return f"pyoci-test-{os.getpid()}"


@pytest.fixture
def group(here: Layout, name: str) -> Iterator[Manager]:
    """A cgroup of a container's in every hierarchy."""
    made = manager.new(here, f"/{name}", "unused")
    made.create()
    yield made
    made.kill(signal.SIGKILL)
    made.destroy()


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle, here: Layout) -> Iterator[Box]:
    """A container `box` that sleeps, in each mode."""
    with running(runtime, bundle, here) as made:
        yield made


@pytest.fixture
def start() -> Iterator[cgroups.Start]:
    """Starts a process that waits until it is in its cgroup: it goes on once its stdin is closed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str = "exec sleep 1000", group: Manager | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["sh", "-c", f"read x; {script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        if group:
            group.join(process.pid)
        assert process.stdin
        process.stdin.close()
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()


@pytest.fixture
def sleeper(runtime: Runtime, bundle: Bundle) -> Iterator[Sleeper]:
    yield Sleeper(runtime, bundle)
    runtime.ok("delete", "--force", "box")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def syscalls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that makes system calls and tells their answers, static."""
    program = tmp_path_factory.mktemp("syscalls") / "syscalls"
    source = Path(__file__).parents[1] / "support/syscalls.c"
    subprocess.run(["gcc", "-static", "-O2", "-pthread", "-o", program, source], check=True)
    return program
