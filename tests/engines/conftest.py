"""Fixtures of the engines' suites: the runtime they are given, an image, and the check that nothing is left.

`pytest tests/engines --runtime /usr/bin/runc` runs them with another runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containerd import Containerd
from support.containers import Bundle
from support.docker import Docker
from support.leftovers import Before, adopt_orphans


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.engine)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="starting an engine with all it can do needs root"))


@pytest.fixture(autouse=True, scope="session")
def _orphans() -> None:
    adopt_orphans()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test leaves the host as it found it: processes, mounts, cgroups, descriptors."""
    before = Before()
    yield
    assert before.left() == []


@pytest.fixture(scope="session")
def runtime_path(request: pytest.FixtureRequest) -> str:
    """The runtime that engines are given, absolute."""
    path = shutil.which(request.config.getoption("--runtime"))
    assert path, f"there is no runtime {request.config.getoption('--runtime')}: make build"
    return os.path.abspath(path)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "bundle")


@pytest.fixture(scope="session")
def image_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem made from busybox, as a tar archive: there is no registry to pull from."""
    bundle = Bundle(tmp_path_factory.mktemp("image"))
    archive = bundle.path / "image.tar"
    subprocess.run(["tar", "-C", bundle.rootfs, "-cf", archive, "."], check=True)
    return archive


@pytest.fixture(scope="module")
def docker(_orphans: None, runtime_path: str, image_tar: Path) -> Iterator[Docker]:
    """A Docker daemon with an image named box, shared by the tests of a module."""
    docker = Docker(runtime_path)
    try:
        docker.start()
        docker.ok("import", str(image_tar), "box")
        docker.shell("true")  # from now on there are the cgroups that it keeps
        yield docker
    finally:
        docker.close()


@pytest.fixture(scope="module")
def containerd(_orphans: None, runtime_path: str, image_tar: Path) -> Iterator[Containerd]:
    """A containerd with an image, shared by the tests of a module."""
    containerd = Containerd(runtime_path)
    try:
        containerd.start()
        containerd.import_image(image_tar)
        done = containerd.run("first", command=("true",))  # from now on there are the cgroups that it keeps
        assert done.returncode == 0, done.stderr
        yield containerd
    finally:
        containerd.close()
