"""Why a program can't be executed: the words that engines look for, and which file is at fault."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from errno import E2BIG, EACCES, ELOOP, ENOENT, ENOEXEC, ENOTDIR
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.host import diagnose, executable

MACHINE = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
FOREIGN = 243
SEARCH = ("/usr/bin", "/bin")


def elf(machine: int = MACHINE, interpreter: bytes = b"", order: str = "<") -> bytes:
    """An ELF file of 64 bits with nothing but a PT_INTERP header, where an interpreter is given."""
    head = b"\x7fELF" + bytes([2, "<>".index(order) + 1, 1]) + bytes(9)
    head += struct.pack(
        order + "HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, bool(interpreter), 0, 0, 0
    )
    if interpreter:
        head += (
            struct.pack(order + "IIQQQQQQ", 3, 4, 120, 0, 0, len(interpreter) + 1, 0, 1) + interpreter + b"\0"
        )
    return head


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    for directory in ("bin", "usr/bin", "work"):
        (tmp_path / directory).mkdir(parents=True)
    program(tmp_path, "bin/sh", elf())
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor, tmp_path
    os.close(descriptor)


def program(root: Path, name: str, content: bytes, mode: int = 0o755) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


# what is at /bin/x, the kernel's errno, what has to be said
FILES = [
    (elf(interpreter=b"/lib/ld.so.1"), ENOENT, "no such file or directory", "ELF interpreter /lib/ld.so.1"),
    (elf(FOREIGN), ENOEXEC, "exec format error", "program for riscv"),
    (elf(22, order=">"), ENOEXEC, "exec format error", "program for s390x"),
    (elf(4242), ENOEXEC, "exec format error", "program for machine 4242"),
    (b"\x7fELF\x02\x01", ENOEXEC, "exec format error", "damaged ELF"),
    (b"", ENOEXEC, "exec format error", "empty"),
    (b"echo hello\n", ENOEXEC, "exec format error", "text file without a #! line"),
    (b"\0\1\2", ENOEXEC, "exec format error", "in no format"),
    (b"#!/no/such -x\n", ENOENT, "no such file or directory", "names /no/such, which is missing"),
    (b"#! \t/no/such\n", ENOENT, "no such file or directory", "names /no/such, which is missing"),
    (b"#!/bin/sh\r\necho\r\n", ENOENT, "no such file or directory", "bad interpreter: the #! line"),
    (b"#!\n", ENOEXEC, "exec format error", "names no interpreter"),
    (b"#!/bin/x\n", ELOOP, "too many levels of symbolic links", "without an end"),
    (b"#!/bin/riscv\n", ENOEXEC, "exec format error", "interpreter /bin/riscv is a program for riscv"),
    (b"#!/bin/locked\n", EACCES, "permission denied", "interpreter /bin/locked isn't an executable file"),
]


@pytest.mark.parametrize(("content", "error", "words", "cause"), FILES)
@pytest.mark.parametrize("name", ["/bin/x", "x", "../bin/x"])
def test_a_file_that_cannot_run(
    root: tuple[int, Path], name: str, content: bytes, error: int, words: str, cause: str
) -> None:
    program(root[1], "bin/x", content)
    program(root[1], "bin/riscv", elf(FOREIGN))
    program(root[1], "bin/locked", b"", 0o600)
    message, _ = diagnose.explain(root[0], name, cwd="/work", error=error, search=SEARCH)
    assert message.startswith(f'exec: "{name}": ')
    assert words in message
    assert cause in message


def test_line_ends(root: tuple[int, Path]) -> None:
    program(root[1], "bin/x", b"#!/bin/sh\r\n")
    message, hint = diagnose.explain(root[0], "/bin/x", cwd="/", error=ENOENT)
    assert "/bin/sh^M" in message
    assert "CR LF" in hint


@pytest.mark.parametrize(
    ("name", "error", "words", "told"),
    [
        ("nosuch", ENOENT, "executable file not found in $PATH", "looked in /usr/bin:/bin"),
        ("", ENOENT, "executable file not found in $PATH", "empty name"),
        (
            "dangling",
            ENOENT,
            "executable file not found in $PATH",
            "/bin/dangling is a symbolic link to ../gone",
        ),
        ("plain", EACCES, "permission denied", "chmod +x /bin/plain"),
        ("/bin/plain", EACCES, "permission denied", "it isn't executable"),
        ("/bin", EACCES, "permission denied", "it is a directory"),
        ("/bin/fifo", EACCES, "permission denied", "it isn't a regular file"),
        ("/no/such/file", ENOENT, "no such file or directory", "/no is missing"),
        ("/bin/dangling", ENOENT, "no such file or directory", "symbolic link to ../gone"),
        ("/bin/sh/x", ENOTDIR, "not a directory", "/bin/sh isn't a directory"),
        ("/bin/sh", E2BIG, "argument list too long", "128 KiB"),
        ("/bin/sh", EACCES, "permission denied", "the user may not execute it"),
        ("/bin/escape", ENOENT, "no such file or directory", "symbolic link to"),
    ],
)
def test_a_program_that_is_not_there(
    root: tuple[int, Path], name: str, error: int, words: str, told: str
) -> None:
    program(root[1], "bin/plain", b"#!/bin/sh\n", 0o644)
    (root[1] / "bin/dangling").symlink_to("../gone")
    (root[1] / "bin/escape").symlink_to("/" + "../" * 20 + "etc/passwd")
    os.mkfifo(root[1] / "bin/fifo", 0o755)
    message, hint = diagnose.explain(root[0], name, cwd="/work", error=error, search=SEARCH)
    assert words in message
    assert told in message + hint


def test_a_directory_of_path_does_not_hide_the_program_after_it(root: tuple[int, Path]) -> None:
    (root[1] / "usr/bin/x").mkdir()
    program(root[1], "bin/x", b"")
    message, _ = diagnose.explain(root[0], "x", cwd="/", error=ENOEXEC, search=SEARCH)
    assert message == 'exec: "x": /bin/x: exec format error: it is empty'


def test_no_directory_of_path_exists(root: tuple[int, Path]) -> None:
    _, hint = diagnose.explain(root[0], "x", cwd="/", error=ENOENT, search=("/opt/a", "/opt/b"))
    assert hint == "none of /opt/a:/opt/b exists"


def test_links_stay_in_the_root(root: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    program(outside, "secret", elf(FOREIGN))
    (root[1] / "bin/x").symlink_to(outside / "secret")
    message, _ = diagnose.explain(root[0], "/bin/x", cwd="/", error=ENOENT)
    assert "riscv" not in message


@given(head=st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: elf()[:60] + tail))
def test_any_bytes_are_parsed(head: bytes) -> None:
    found = executable.parse_elf(head, lambda length, offset: head[offset : offset + length])
    assert found is None or len(found.interpreter) <= 4096
    executable.script_interpreter(head)


def test_descriptors_are_closed(root: tuple[int, Path]) -> None:
    program(root[1], "bin/x", b"#!/bin/x\n")
    before = os.listdir("/proc/self/fd")
    for error in (ENOENT, ENOEXEC, EACCES, ELOOP, 0):
        for name in ("x", "nosuch", "/bin/x", "/bin"):
            diagnose.explain(root[0], name, cwd="/", error=error, search=SEARCH)
    assert os.listdir("/proc/self/fd") == before
