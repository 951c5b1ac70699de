"""Making the cgroups that a path names, however many there are, and giving cpusets what is above them."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import v1

DEEP = 150  # deeper than Python recurses in here


@contextlib.contextmanager
def recursing_little() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + DEEP // 2)
    yield
    sys.setrecursionlimit(limit)


def test_a_path_of_many_cgroups_is_made(tmp_path: Path) -> None:
    mount = str(tmp_path)
    made: list[str] = []
    with recursing_little():
        v1.make(mount, mount + "/a" * DEEP, made)
    assert made == [mount + "/a" * depth for depth in range(1, DEEP + 1)]
    with pytest.raises(FileExistsError):
        v1.make(mount, made[-1], made)
    assert len(made) == DEEP


def test_nothing_is_made_above_the_mount(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(FileNotFoundError):
        v1.make(f"{tmp_path}/gone", f"{tmp_path}/gone/a/b", made)
    assert made == [] and os.listdir(tmp_path) == []


def test_cpusets_get_what_the_nearest_above_has(tmp_path: Path) -> None:
    mount, groups = str(tmp_path), [str(tmp_path) + "/a" * depth for depth in range(DEEP + 1)]
    v1.make(mount, groups[-1], [])
    for index, group in enumerate(groups):
        for name in ("cpuset.cpus", "cpuset.mems"):
            Path(group, name).write_text({0: "0-3", 1: "1-2"}.get(index, ""))
    with recursing_little():
        v1.fill_cpuset(mount, groups[-1])
    assert [Path(group, "cpuset.cpus").read_text() for group in groups[:4]] == ["0-3", "1-2", "1-2", "1-2"]
    assert Path(groups[-1], "cpuset.mems").read_text() == "1-2"
