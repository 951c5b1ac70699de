"""The mount table's parser: every field, every escape, and what is passed over."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from pyoci.host import mountinfo

names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def escape(name: bytes) -> bytes:
    """As the kernel does it, mangle() in fs/proc_namespace.c."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)


def test_every_field() -> None:
    line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
    (mount,) = mountinfo.parse(line)
    assert (mount.id, mount.parent, mount.device) == (36, 35, "98:0")
    assert (mount.root, mount.point) == ("/mnt1", "/mnt2")
    assert mount.options == ["rw", "noatime"]
    assert mount.propagation == ["master:1", "shared:7"]
    assert (mount.type, mount.source) == ("ext3", "/dev/root")
    assert mount.super_options == ["rw", "errors=continue"]


def test_a_private_mount_with_an_empty_source() -> None:
    (mount,) = mountinfo.parse(b"1 0 0:2 / / rw - rootfs  rw\n")
    assert (mount.propagation, mount.source, mount.super_options) == ([], "", ["rw"])


@given(names, names, names)
def test_names_are_those_of_the_file_system(root: bytes, point: bytes, source: bytes) -> None:
    line = b"1 2 0:3 /%s /%s rw - tmpfs %s rw\n" % (escape(root), escape(point), escape(source))
    (mount,) = mountinfo.parse(line)
    assert os.fsencode(mount.root) == b"/" + root
    assert os.fsencode(mount.point) == b"/" + point
    assert os.fsencode(mount.source) == source


def test_lines_without_the_wanted_text_are_not_parsed() -> None:
    text = b"nonsense\n1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\nmore\n"
    assert [mount.type for mount in mountinfo.parse(text, b" - cgroup")] == ["cgroup2"]


def test_the_real_table_has_a_root() -> None:
    mounts = list(mountinfo.parse(mountinfo.read()))
    assert any(mount.point == "/" for mount in mounts)
    assert any(mount.type == "proc" for mount in mounts)
