"""The executor makes a container, step by step: what the program in it finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, Step, step

NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET
DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp", "root")
APPLETS = ("cat", "id", "ls", "mount", "pwd", "sh", "stat", "tr", "true", "umask", "env", "head")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    return root


def begin(rootfs: Path, flags: int = NAMESPACES) -> list[Step]:
    return [step("clone", flags=flags), step("host_propagation", flags=driver.MS_SLAVE | driver.MS_REC),
            step("open_root", path=str(rootfs)),
            step("mount_filesystem", type="proc", source="proc", target="/proc", attrs=driver.ATTR_NOSUID)]


def finish(*argv: str) -> list[Step]:
    return [step("pivot_root"), step("enter_directory", path="/", final=1),
            step("find_program", name=argv[0], search=["/bin"]), step("close_descriptors", first=3),
            step("execute", argv=argv, env=["PATH=/bin"], home_of=-1)]


def test_a_program_runs_in_new_namespaces(rootfs: Path) -> None:
    with driver.running([*begin(rootfs), *finish("true")]) as run:
        run.expect_end()
        assert run.wait() == 0
