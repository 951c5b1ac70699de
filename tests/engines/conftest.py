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

from pyoci.cgroup import layout
from support.cgroups import in_mode
from support.containerd import Containerd
from support.containers import Bundle, open_to_everyone
from support.directories import short_directory
from support.docker import Docker
from support.leftovers import Before, adopt_orphans
from support.podman import Podman, unmount_below


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


@pytest.fixture(autouse=True, scope="session")
def _cgroups(runtime_path: str) -> Iterator[None]:
    """crun refuses hybrid cgroups while cgroup2 has a controller: it, and its engines, find v1 alone."""
    mode = layout.detect().mode
    is_refused = mode == "hybrid" and os.path.basename(runtime_path) == "crun"
    with in_mode("v1" if is_refused else mode):
        yield


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
    """A root filesystem made from busybox with all of its applets, as a tar archive: there is no registry."""
    bundle = Bundle(tmp_path_factory.mktemp("image"))
    for name in ("home", "root", "var"):
        (bundle.rootfs / name).mkdir()
    for applet in subprocess.check_output([bundle.rootfs / "bin/busybox", "--list"], text=True).split():
        if not os.path.lexists(bundle.rootfs / "bin" / applet):
            (bundle.rootfs / "bin" / applet).symlink_to("busybox")
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


@pytest.fixture(scope="session")
def podman_store(image_tar: Path, runtime_path: str) -> Iterator[Podman]:
    """podman's store with the image "box" in it, which all its tests share."""
    if not shutil.which("podman"):
        pytest.skip("podman isn't installed: .ci/install test")
    # Not below pytest's directory: podman wants its runroot to have at most 50 characters.
    with short_directory("podman-") as name:
        open_to_everyone(Path(name))  # roots of user namespaces come to their root filesystems
        podman = Podman(Path(name), runtime_path)
        podman.ok("import", str(image_tar), "box")
        yield podman
        unmount_below(Path(name))


@pytest.fixture
def podman(podman_store: Podman) -> Iterator[Podman]:
    """podman, whose containers are gone after the test."""
    yield podman_store
    podman_store.clean()
