"""The cache of compiled seccomp filters: right, cheap, and not to be fooled."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pyoci.errors import Error
from pyoci.host import seccomp
from pyoci.host.seccomp_profile import translate

SECTION: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "root/.cache/seccomp"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every filter that is really compiled."""
    count: list[int] = []
    real = seccomp._compile

    def counting(section: Any, library: str, strict: bool) -> tuple[bytes, list[str]]:
        count.append(1)
        return real(section, library, strict)

    monkeypatch.setattr(seccomp, "_compile", counting)
    return count


def entry(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


def test_a_second_compile_is_a_hit_with_the_same_result(cache: Path, compiled: list[int]) -> None:
    first, second = seccomp.compile(SECTION, str(cache)), seccomp.compile(SECTION, str(cache))
    assert len(compiled) == 1
    assert (first.program, first.flags, first.warnings) == (second.program, second.flags, second.warnings)
    assert "'nosuchcall'" in second.warnings[0]


def test_nobody_else_may_read_or_write_it(cache: Path) -> None:
    old = os.umask(0)
    try:
        seccomp.compile(SECTION, str(cache))
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (entry(cache), cache, cache.parent)] == [
        0o600,
        0o700,
        0o700,
    ]


def test_without_a_directory_nothing_is_kept(tmp_path: Path, compiled: list[int]) -> None:
    seccomp.compile(SECTION, None)
    seccomp.compile(SECTION, None)
    assert len(compiled) == 2
    assert not list(tmp_path.iterdir())


CHANGES: list[dict[str, Any]] = [
    {"defaultAction": "SCMP_ACT_LOG"},
    {"defaultAction": "SCMP_ACT_ERRNO"},
    {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38},
    {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_ARM"]},
    {"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]},
    {"syscalls": [{"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO"}]},
    {"syscalls": [{"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 6}]},
    *(
        {"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [arg]}]}
        for arg in (
            {"index": 0, "op": "SCMP_CMP_EQ", "value": 1},
            {"index": 1, "op": "SCMP_CMP_EQ", "value": 1},
            {"index": 0, "op": "SCMP_CMP_NE", "value": 1},
            {"index": 0, "op": "SCMP_CMP_EQ", "value": 2},
            {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 2, "valueTwo": 2},
        )
    ),
]


def test_every_change_of_the_profile_is_another_filter(cache: Path, compiled: list[int]) -> None:
    programs = {seccomp.compile(SECTION, str(cache)).program}
    for change in CHANGES:
        seccomp.compile({**SECTION, **change}, str(cache))
        programs.add(seccomp.compile({**SECTION, **change}, str(cache)).program)
    assert len(compiled) == len(CHANGES) + 1
    assert len(programs) >= len(CHANGES)  # a name that is left out changes only the warnings


def test_flags_are_no_part_of_the_program(cache: Path, compiled: list[int]) -> None:
    seccomp.compile(SECTION, str(cache))
    assert seccomp.compile({**SECTION, "flags": []}, str(cache)).flags == 0
    assert len(compiled) == 1


def test_who_wants_unknown_names_refused_is_not_served_by_who_does_not(cache: Path) -> None:
    seccomp.compile(SECTION, str(cache))
    with pytest.raises(Error, match="nosuchcall"):
        seccomp.compile(SECTION, str(cache), strict=True)


class Numbers:
    """A libseccomp whose numbers never change."""

    NUMBERS: ClassVar = {"read": 0, "ioctl": 16, "socket": 41, "openat": 257}

    def known(self, name: str) -> bool:
        return name in self.NUMBERS

    def number(self, name: str, architecture: int) -> int:
        return self.NUMBERS[name]


def test_the_scheme_changes_with_what_compiling_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters kept by an older pyoci are not to be taken for what this one would compile. Where this
    fails, give the cache's scheme another number, and write down the new digest beside it."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "1", "", "x86_64")))
    args = [
        {"index": index, "op": f"SCMP_CMP_{op}", "value": 1 << 33 | 5, "valueTwo": 7}
        for index, op in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT"))
    ]
    section = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["read", "socket"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ioctl"], "action": "SCMP_ACT_TRACE", "args": args},
            {
                "names": ["openat"],
                "action": "SCMP_ACT_LOG",
                "args": [{**args[0], "op": "SCMP_CMP_MASKED_EQ"}],
            },
        ],
    }
    program, _ = translate(section, Numbers())  # type: ignore[arg-type]
    assert (seccomp._SCHEME, hashlib.sha256(program).hexdigest()[:16]) == (
        b"pyoci seccomp 3\n",
        "4c4eafb0c9c944fd",
    )


@pytest.mark.parametrize("what", ["library", "kernel"])
def test_another_library_or_kernel_is_another_filter(
    cache: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    seccomp.compile(SECTION, str(cache))
    path, identity = seccomp.find_library()
    system = os.uname()
    if what == "library":
        monkeypatch.setattr(seccomp, "find_library", lambda: (path, identity + "x"))
    else:
        changed = os.uname_result((system[0], system[1], "99.1", system[3], system[4]))
        monkeypatch.setattr(os, "uname", lambda: changed)
    seccomp.compile(SECTION, str(cache))
    assert len(compiled) == 2


def test_a_library_that_was_not_found_by_path_is_not_cached(
    cache: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seccomp, "find_library", lambda: ("libseccomp.so.2", ""))
    seccomp.compile(SECTION, str(cache))
    assert not cache.exists()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def forge(file: Path) -> None:
    """A filter that allows everything, in the place of the real one."""
    length = (8).to_bytes(4, "little")
    file.write_bytes(file.read_bytes()[:48] + length + b"\x06\0\0\0\0\0\xff\x7f")


def link(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def of_another(file: Path) -> None:
    """Another profile's entry under this one's name."""
    mine = file.read_bytes()
    seccomp.compile({"defaultAction": "SCMP_ACT_LOG"}, str(file.parent))
    (other,) = set(file.parent.iterdir()) - {file}
    assert other.read_bytes() != mine
    other.replace(file)


def test_writers_do_not_disturb_each_other(cache: Path) -> None:
    """Processes that compile the same profiles at once, from nothing: each has the right programs, and
    nothing unfinished stays."""
    errnos = range(3)
    sections = [
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}],
        }
        for errno in errnos
    ]
    right = [seccomp.compile(section, None).program for section in sections]
    children = []
    for _ in range(8):
        pid = os.fork()
        if not pid:
            same = [seccomp.compile(section, str(cache)).program for section in sections] == right
            os._exit(0 if same else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    assert len(list(cache.iterdir())) == len(errnos)
    assert not [file for file in cache.iterdir() if file.name.startswith(".")]


DAMAGES: list[Callable[[Path], object]] = [
    flip,
    forge,
    link,
    fifo,
    of_another,
    lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(file.read_bytes()[:-8]),
    lambda file: file.write_bytes(file.read_bytes() + b"x"),
    lambda file: file.write_bytes(bytes(1 << 20)),
    lambda file: file.chmod(0o620),
    lambda file: file.chmod(0o602),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_odd_file_is_a_miss_and_replaced(cache: Path, damage: Callable[[Path], object]) -> None:
    right = seccomp.compile(SECTION, str(cache))
    file = entry(cache)
    content = file.read_bytes()
    damage(file)
    again = seccomp.compile(SECTION, str(cache))
    assert (again.program, again.warnings) == (right.program, right.warnings)
    assert file.read_bytes() == content
    assert stat.S_ISREG(file.lstat().st_mode)
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["file", "directory"])
def test_what_belongs_to_someone_else_is_not_believed(cache: Path, compiled: list[int], whose: str) -> None:
    seccomp.compile(SECTION, str(cache))
    os.chown(entry(cache) if whose == "file" else cache, 1234, -1)
    seccomp.compile(SECTION, str(cache))
    assert len(compiled) == 2


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_directory_that_others_may_write_is_not_used(cache: Path, compiled: list[int], mode: int) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    seccomp.compile(SECTION, str(cache))
    assert not list(cache.iterdir())
    assert len(compiled) == 1


def test_a_directory_that_is_a_link_is_not_used(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    (cache.parent / "real").mkdir(mode=0o700)
    cache.symlink_to("real")
    seccomp.compile(SECTION, str(cache))
    assert not list((cache.parent / "real").iterdir())


def test_it_works_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert seccomp.compile(SECTION, str(tmp_path / "file/seccomp")).program


def test_it_does_not_grow_without_end(cache: Path) -> None:
    for errno in range(70):
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
        seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, str(cache))
    assert len(list(cache.iterdir())) == 64


HIT = """
import sys
section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
sys.path[:0] = sys.argv[2:]
from pyoci.host import seccomp
seccomp.compile(section, sys.argv[1] + "/cache")
print(*sys.modules)
"""


def test_a_hit_loads_neither_the_compiler_nor_the_library(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", HIT, tmp_path, *sys.path]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    own = {name for name in loaded if name.startswith("pyoci")}
    assert own == {"pyoci", "pyoci.errors", "pyoci.host", "pyoci.host.seccomp"}
    assert not loaded & {"cffi", "_cffi_backend", "re", "json", "hashlib", "struct", "enum"}
