"""What the executor does to mounts that are there: labels them, and takes them away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import begin, failure_of, make_rootfs, mountinfo, proc, shell, step

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
DETACH = 2  # MNT_DETACH


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture(params=["static", "sanitised"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    built = driver.build("sanitised" if request.param == "sanitised" else "")
    monkeypatch.setattr(driver, "build", lambda: built)


def test_a_label(rootfs: Path) -> None:
    shell(rootfs, "true", step("label_path", path="/tmp", value=LABEL))
    assert os.getxattr(rootfs / "tmp", "security.selinux").rstrip(b"\0").decode() == LABEL


def test_what_cant_be_labelled(rootfs: Path) -> None:
    label = step("label_path", path="/sys", value=LABEL)
    mount = step("mount_filesystem", type="devpts", source="devpts", target="/sys")
    assert failure_of([*begin(rootfs), mount, label]) == (
        "label_path", "ENOTSUP", "fsetxattr security.selinux",
    )  # fmt: skip
    missing = step("label_path", path="/none", value=LABEL)
    assert failure_of([*begin(rootfs), missing])[:2] == ("label_path", "ENOENT")


def test_a_context_reaches_the_kernel_whole(rootfs: Path, tmp_path: Path) -> None:
    """With the commas of its categories. A kernel without SELinux knows no such option."""
    trace = tmp_path / "trace"
    mount = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp",
                 options=["mode=711", f'context="{LABEL}"'])  # fmt: skip
    wrapper = ["strace", "-f", "-o", str(trace), "-e", "trace=mount", "-s", "200"]
    with driver.running([*begin(rootfs), mount], wrapper=wrapper, stderr=subprocess.DEVNULL) as run:
        run.expect(driver.FAILED)
    assert f'"mode=711,context=\\"{LABEL}\\""' in trace.read_text()


@pytest.mark.parametrize("where", ["/tmp", "/etc/one"])
def test_unmounting(rootfs: Path, tmp_path: Path, where: str) -> None:
    """A directory with what is below it, or a file."""
    source = tmp_path / "file"
    source.touch()
    (rootfs / "tmp/up").symlink_to("..")
    if where == "/tmp":
        mount = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp")
        below = [step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp/below")]
    else:
        mount, below = step("mount_bind", source=str(source), target=where), []
    assert where in mountinfo(rootfs, mount, *below)
    gone = step("unmount", target=f"/tmp/up/{where}" if where != "/tmp" else where, flags=DETACH)
    assert set(mountinfo(rootfs, mount, *below, gone)) == {"/", "/proc"}


def test_it_is_busy_without_detaching(rootfs: Path) -> None:
    mount = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp")
    assert failure_of([*begin(rootfs), mount, step("unmount", target="/tmp")]) == (
        "unmount", "EBUSY", "umount2",
    )  # fmt: skip


@pytest.mark.parametrize("target", ["/", "/tmp/..", "/proc/../"])
def test_the_root_is_never_unmounted(rootfs: Path, target: str) -> None:
    assert failure_of([*begin(rootfs), proc(), step("unmount", target=target, flags=DETACH)]) == (
        "unmount", "EINVAL", "it is the container's root",
    )  # fmt: skip


@pytest.mark.parametrize("target", ["/tmp", "/bin/busybox"])
def test_what_isnt_mounted(rootfs: Path, target: str) -> None:
    assert failure_of([*begin(rootfs), proc(), step("unmount", target=target, flags=DETACH)]) == (
        "unmount", "EINVAL", "umount2",
    )  # fmt: skip
