"""Why a mount was refused: read from the mount table and the path, after the fact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.host import diagnose_mounts, mountinfo
from pyoci.plan.kernel import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

TABLE = rb"""21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
23 22 0:6 / /proc/kcore ro - tmpfs tmpfs rw
24 21 8:2 / /data\040two ro,nosuid,noatime,nodiratime - xfs /dev/sdb rw
25 24 8:3 / /data\040two/below nodev,relatime - ext4 /dev/sdc rw
26 21 8:4 / /database rw - ext4 /dev/sdd rw
27 21 0:7 / /sys ro,relatime - sysfs sysfs rw
"""
NOTHING = (0, 0)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "read", lambda pid: TABLE)


def clear(attributes: int) -> tuple[int, int]:
    return 0, attributes


def set_(attributes: int) -> tuple[int, int]:
    return attributes, 0


@pytest.mark.parametrize(
    ("path", "change", "below", "found"),
    [
        ("/data two", clear(MOUNT_ATTR_RDONLY), NOTHING, "ro of the xfs on /data two is locked"),
        ("/data two/x/y", clear(MOUNT_ATTR_NOSUID), NOTHING, "nosuid of the xfs on /data two is locked"),
        ("/data two", clear(MOUNT_ATTR_NODEV), NOTHING, ""),
        ("/data two", NOTHING, clear(MOUNT_ATTR_NODEV), "nodev of the ext4 on /data two/below is locked"),
        (
            "/data two/below",
            clear(MOUNT_ATTR_NODEV),
            NOTHING,
            "nodev of the ext4 on /data two/below is locked",
        ),
        ("/data two", (MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY), NOTHING, ""),
        ("/database/x", clear(MOUNT_ATTR_RDONLY), NOTHING, ""),
        ("/data two", clear(MOUNT_ATTR_ATIME), NOTHING, "noatime of the xfs on /data two is locked"),
        ("/data two", set_(MOUNT_ATTR_NOATIME), NOTHING, ""),
        ("/", set_(MOUNT_ATTR_STRICTATIME), NOTHING, "relatime of the ext4 on / is locked"),
        ("/", clear(MOUNT_ATTR_ATIME), NOTHING, ""),
        ("/", set_(MOUNT_ATTR_NODIRATIME), NOTHING, "diratime of the ext4 on / is locked"),
        ("/data two", clear(MOUNT_ATTR_NODIRATIME), NOTHING, "nodiratime of the xfs on /data two is locked"),
    ],
)
def test_what_locks_a_flag(path: str, change: tuple[int, int], below: tuple[int, int], found: str) -> None:
    assert diagnose_mounts.locking(1, path, change, below) == found


def test_what_covers_a_procfs() -> None:
    assert (
        diagnose_mounts.covered(1, "proc") == "parts of the proc on /proc are covered: tmpfs on /proc/kcore"
    )
    assert diagnose_mounts.covered(1, "sysfs") == "the sysfs on /sys is mounted ro,relatime"
    assert diagnose_mounts.covered(1, "mqueue") == "no whole mqueue is mounted where pyoci runs"


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        (0, ""),
        (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, "ro, nosuid"),
        (MOUNT_ATTR_NOATIME, "noatime"),
        (MOUNT_ATTR_ATIME, "atime"),
        (MOUNT_ATTR_ATIME | MOUNT_ATTR_NODEV, "nodev, atime"),
    ],
)
def test_attributes_have_the_names_of_options(attributes: int, names: str) -> None:
    assert diagnose_mounts.names(attributes) == names


def test_how_far_a_path_leads(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("gone")
    assert diagnose_mounts.unreachable(f"{tmp_path}/file") == ""
    assert diagnose_mounts.unreachable(f"{tmp_path}/a/b") == f"{tmp_path} has no a"
    assert diagnose_mounts.unreachable(f"{tmp_path}/file/b") == f"{tmp_path}/file isn't a directory"
    link = f"{tmp_path}/dangling"
    assert diagnose_mounts.unreachable(link) == f"{link} is a symbolic link to gone, which isn't there"
    assert diagnose_mounts.unreachable(os.sep) == ""
