"""Removing a container's directory, in which the container itself may have made what it likes."""

from __future__ import annotations

import os
from pathlib import Path

from pyoci.lifecycle import store

DEEP = 1200  # deeper than Python recurses, and with these names longer than a path may be


def test_whatever_is_in_it_goes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("")
    container = tmp_path / "container"
    (container / "notify/notify.1/notify.2").mkdir(parents=True)
    for place in ("", "notify", "notify/notify.1"):
        (container / place / "link").symlink_to(tmp_path / "precious")
        (container / place / "file").write_text("")
    (container / "notify.1/interrupted").mkdir(parents=True)  # by this very function, when it was killed
    inner = os.open(container / "notify", os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("directory", dir_fd=inner)
        below = os.open("directory", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.symlink(tmp_path / "precious", "link", dir_fd=inner)
    os.close(inner)
    directory = os.open(container, os.O_RDONLY)
    store.remove_files(directory)
    os.close(directory)
    assert os.listdir(container) == []
    assert os.listdir(tmp_path / "precious") == ["file"]
