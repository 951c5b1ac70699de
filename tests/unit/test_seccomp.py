"""Seccomp profiles: the emitted BPF, run in a simulator, against what config.json says."""

from __future__ import annotations

import base64
import itertools
import json
import os
import struct
import subprocess
import sys
from errno import EINVAL, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoci.errors import Error
from pyoci.host import seccomp
from pyoci.host.libseccomp import Library
from pyoci.host.seccomp_profile import ARCHITECTURES
from tests.support.bpf import check, simulate
from tests.support.seccomp_profiles import (
    ACTIONS,
    ALLOW,
    ARM,
    AUDIT,
    EDGES,
    ERRNO,
    FAMILY,
    KILL,
    NAMES,
    NATIVE,
    X86,
    X86_64,
    expected,
    number,
    sections,
    value_of,
)  # fmt: skip


def compile_(section: dict[str, Any]) -> seccomp.Filter:
    return seccomp.compile(section, None)


@settings(max_examples=500, deadline=None)
@given(
    section=sections(),
    values=st.lists(st.tuples(*[st.sampled_from(EDGES)] * 6), min_size=4, max_size=4),
)
def test_the_program_answers_what_the_profile_says(
    section: dict[str, Any], values: list[tuple[int, ...]]
) -> None:
    program = compile_(section).program
    check(program)
    for arch in AUDIT:
        for name in NAMES:
            for one in values:
                wanted = expected(section, arch, name, one)
                assert simulate(program, AUDIT[arch], number(name, arch), one) == wanted, (arch, name, one)


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def deny(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", **more}


def answer(section: dict[str, Any], name: str, *values: int, arch: str = NATIVE) -> int:
    return simulate(compile_(section).program, AUDIT[arch], number(name, arch), values)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_action(name: str) -> None:
    rule = {"names": ["openat"], "action": name}
    section = profile(rule, default="SCMP_ACT_LOG", listenerPath="/run/agent")
    assert answer(section, "openat") == value_of(name, None)
    assert answer(section, "ioctl") == ACTIONS["SCMP_ACT_LOG"]


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - FAMILY.keys()))
def test_architectures_that_cannot_occur_here_need_no_word(name: str) -> None:
    section = profile(deny("openat"))
    assert compile_({**section, "architectures": [name]}).program == compile_(section).program


@pytest.mark.skipif("SCMP_ARCH_X86" not in FAMILY, reason="only i386 has calls that stand for others")
def test_socketcall_and_ipc_follow_the_calls_they_stand_for() -> None:
    condition = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 16}]
    denying = profile(
        deny("bind"), deny("connect", args=condition), deny("shmget"), architectures=["SCMP_ARCH_X86"]
    )
    program = compile_(denying).program
    found = [
        simulate(program, X86, number, (which,))
        for number, which in ((102, 2), (102, 3), (117, 23), (102, 1))
    ]
    assert found == [ERRNO | EPERM] * 3 + [ALLOW]
    permitting = {**denying, "defaultAction": "SCMP_ACT_KILL"}
    for rule in permitting["syscalls"]:
        rule["action"] = "SCMP_ACT_ALLOW"
    program = compile_(permitting).program
    found = [
        simulate(program, X86, number, (which,))
        for number, which in ((102, 2), (102, 3), (117, 23), (102, 1))
    ]
    assert found == [ALLOW, KILL, ALLOW, KILL]


@pytest.mark.skipif("SCMP_ARCH_X32" not in FAMILY, reason="only x86_64 has two tables of calls")
def test_a_call_that_a_tracer_skips_is_not_killed() -> None:
    assert simulate(compile_(profile(deny("read"))).program, X86_64, 0xFFFFFFFF) == ALLOW
    denying = profile({"names": ["read"], "action": "SCMP_ACT_ALLOW"}, default="SCMP_ACT_KILL")
    assert simulate(compile_(denying).program, X86_64, 0xFFFFFFFF) == ERRNO | ENOSYS


def test_one_argument_compared_twice_means_any_of_the_conditions() -> None:
    """As runc and crun: that doesn't end with the argument that occurs twice."""
    args = [
        {"index": index, "op": "SCMP_CMP_EQ", "value": value} for index, value in ((0, 1), (0, 2), (1, 5))
    ]
    section = profile(deny("ioctl", args=args))
    for values in ((1, 0), (2, 0), (9, 5)):
        assert answer(section, "ioctl", *values) == ERRNO | EPERM
    assert answer(section, "ioctl", 9, 9) == ALLOW


def test_of_several_rules_for_a_call() -> None:
    """One without conditions decides, wherever it is; the first of its like, as in libseccomp."""
    one = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]
    assert answer(profile(deny("ioctl", errnoRet=5), deny("ioctl", errnoRet=7)), "ioctl") == ERRNO | 5
    assert (
        answer(profile(deny("ioctl", errnoRet=5, args=one), deny("ioctl", errnoRet=7)), "ioctl", 1)
        == ERRNO | 7
    )
    two = [{"index": 1, "op": "SCMP_CMP_EQ", "value": 1}]
    meeting = profile(deny("ioctl", errnoRet=5, args=one), deny("ioctl", errnoRet=7, args=two))
    assert [answer(meeting, "ioctl", *args) for args in ((1, 1), (0, 1))] == [ERRNO | 5, ERRNO | 7]


def test_two_answers_under_the_same_conditions_are_an_error() -> None:
    """As in runc and crun, in whatever order the conditions are; answering as the default is no rule."""
    one, two = ({"index": index, "op": "SCMP_CMP_EQ", "value": 1} for index in (0, 1))
    first = deny("openat", "ioctl", errnoRet=5, args=[one, two])
    with pytest.raises(Error, match="ioctl is answered differently by /linux/seccomp/syscalls/0") as caught:
        compile_(profile(first, deny("ioctl", errnoRet=7, args=[two, one])))
    assert (caught.value.pointer, caught.value.code) == ("/linux/seccomp/syscalls/1", "invalid-config")
    for other in (
        deny("ioctl", errnoRet=5, args=[two, one]),
        deny("mkdirat", errnoRet=7, args=[one, two]),
        {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [one, two]},
    ):
        assert answer(profile(first, other), "ioctl", 1, 1) == ERRNO | 5


def test_rules_that_libseccomp_does_not_get_to_the_end_of() -> None:
    def arg(index: int, op: str, value: int) -> dict[str, Any]:
        return {"index": index, "op": f"SCMP_CMP_{op}", "value": value}

    section = profile(
        deny("ioctl", args=[arg(2, "GT", 0), arg(5, "LT", 2)]),
        deny("ioctl", args=[arg(0, "LE", 3), arg(5, "GE", 2)]),
        deny("ioctl", args=[arg(5, "NE", 0), arg(2, "GT", 0)]),
    )
    for values in itertools.product(range(5), repeat=3):
        args = (values[0], 0, values[1], 0, 0, values[2])
        assert answer(section, "ioctl", *args) == expected(section, NATIVE, "ioctl", args)


def test_unknown_names_are_left_out_with_one_warning() -> None:
    section = profile(deny("nosuch", "openat"), deny("nosuch", "nor\0this", "üß"))
    filter_ = compile_(section)
    assert simulate(filter_.program, AUDIT[NATIVE], number("openat", NATIVE)) == ERRNO | EPERM
    (warning,) = filter_.warnings
    assert warning.startswith("/linux/seccomp/syscalls: ")
    assert warning.endswith("'nosuch', 'nor\\x00this', 'üß'")


def test_an_unknown_name_is_an_error_where_that_is_asked_for() -> None:
    section = profile(deny("openat"), deny("ioctl", "nosuch"))
    with pytest.raises(Error, match="'nosuch' is a system call that libseccomp") as caught:
        seccomp.compile(section, None, strict=True)
    assert caught.value.pointer == "/linux/seccomp/syscalls/1/names/1"
    del section["syscalls"][1]["names"][1]
    assert seccomp.compile(section, None, strict=True).warnings == []


RETURN_ALLOW = struct.pack("=HBBI", 0x06, 0, 0, ALLOW)


def with_program(program: bytes | str) -> dict[str, Any]:
    text = program if isinstance(program, str) else base64.b64encode(program).decode()
    return {"annotations": {seccomp.RAW: text}}


def test_a_program_in_an_annotation_stands_for_the_section(tmp_path: Path) -> None:
    alone = seccomp.of_config(with_program(RETURN_ALLOW), str(tmp_path))
    assert alone
    assert (alone.program, alone.flags, alone.pointer, alone.warnings) == (
        RETURN_ALLOW, seccomp.FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], f"/annotations/{seccomp.RAW}", []
    )  # fmt: skip
    section = profile({"names": ["read"], "action": "SCMP_ACT_NOTIFY"}, flags=[], listenerPath="/run/agent")
    both = seccomp.of_config({**with_program(RETURN_ALLOW), "linux": {"seccomp": section}}, str(tmp_path))
    assert both
    assert (both.program, both.listener) == (RETURN_ALLOW, False)
    assert "in the place of /linux/seccomp" in both.warnings[0]
    assert seccomp.of_config({"annotations": {"other": "x"}, "linux": {}}, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("%%%%", "it isn't base64"),
        ("BgAA", "3 bytes were found"),
        ("", "0 bytes were found"),
        ("ü", "it isn't base64"),
        (RETURN_ALLOW + b"x", "9 bytes were found"),
        (RETURN_ALLOW * 4097, "4097 instructions were found"),
    ],
)
def test_an_annotation_that_is_no_program(tmp_path: Path, program: bytes | str, said: str) -> None:
    with pytest.raises(Error, match=said) as caught:
        seccomp.of_config(with_program(program), str(tmp_path))
    assert (caught.value.pointer, caught.value.code) == (f"/annotations/{seccomp.RAW}", "invalid-config")


NEWEST = "faccessat2"
LARGEST = number(NEWEST, NATIVE)


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"])
def test_calls_newer_than_a_denying_profile_do_not_exist(default: str) -> None:
    section = profile(
        {"names": ["openat", NEWEST], "action": "SCMP_ACT_ALLOW"}, default=f"SCMP_ACT_{default}"
    )
    program = compile_(section).program
    assert simulate(program, AUDIT[NATIVE], LARGEST) == ALLOW
    assert simulate(program, AUDIT[NATIVE], LARGEST + 1) == ERRNO | ENOSYS
    assert simulate(program, AUDIT[NATIVE], LARGEST - 1) == value_of(f"SCMP_ACT_{default}", None)
    assert simulate(program, ARM, 1) == KILL


@pytest.mark.parametrize("default", ["ALLOW", "LOG", "TRACE"])
def test_calls_newer_than_a_permissive_profile_are_made(default: str) -> None:
    section = profile(deny(NEWEST, errnoRet=5), default=f"SCMP_ACT_{default}")
    program = compile_(section).program
    assert simulate(program, AUDIT[NATIVE], LARGEST + 1) == value_of(f"SCMP_ACT_{default}", None)


@pytest.mark.skipif("SCMP_ARCH_X32" not in FAMILY, reason="x32 belongs to x86_64")
def test_x32_is_another_table_of_calls() -> None:
    rule = {"names": ["openat"], "action": "SCMP_ACT_ALLOW"}
    with_x32 = profile(rule, default="SCMP_ACT_ERRNO", architectures=["SCMP_ARCH_X32"])
    assert answer(with_x32, "openat", arch="SCMP_ARCH_X32") == ALLOW
    assert answer(with_x32, "faccessat2", arch="SCMP_ARCH_X32") == ERRNO | ENOSYS
    assert answer(with_x32, "faccessat2") == ERRNO | ENOSYS
    assert answer(profile(rule, default="SCMP_ACT_ERRNO"), "openat", arch="SCMP_ARCH_X32") == KILL


def test_arm_s_private_calls_are_no_measure_of_a_profile_s_age(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"names": ["read", "cacheflush", "set_tls"], "action": "SCMP_ACT_ALLOW"}
    section = profile(rule, default="SCMP_ACT_ERRNO", architectures=["SCMP_ARCH_ARM"])
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "aarch64")))
    program = compile_(section).program
    assert simulate(program, ARM, 3) == ALLOW
    assert simulate(program, ARM, 439) == ERRNO | ENOSYS
    assert simulate(program, ARM, 0xF0002) == ALLOW
    assert simulate(program, ARM, 0xF0003) == ERRNO | EPERM


WRONG = [
    (profile(default="SCMP_ACT_NOTIFY"), "/defaultAction"),
    (profile(default="SCMP_ACT_NONE"), "/defaultAction"),
    (profile(defaultErrnoRet=1), "/defaultErrnoRet"),
    (profile(deny("read", errnoRet=4096)), "/syscalls/0/errnoRet"),
    (profile({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}), "/syscalls/0/errnoRet"),
    (profile({"names": ["read"], "action": "SCMP_ACT_NO"}), "/syscalls/0/action"),
    (profile(deny("read", args=[{"index": 0, "op": "SCMP_CMP_IS", "value": 1}])), "/syscalls/0/args/0/op"),
    (profile(deny("read", args=[{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}])), "/syscalls/0/args/0/index"),
    (
        profile(deny("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1 << 64}])),
        "/syscalls/0/args/0/value",
    ),
    (profile(architectures=[NATIVE, "SCMP_ARCH_Z80"]), "/architectures/1"),
    (profile(flags=["SECCOMP_FILTER_FLAG_NONE"]), "/flags/0"),
    (profile({"names": ["read"], "action": "SCMP_ACT_NOTIFY"}), "/listenerPath"),
    (
        profile({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}, listenerPath="/run/x"),
        "/syscalls/0/names/1",
    ),
]


@pytest.mark.parametrize(("section", "pointer"), WRONG, ids=[pointer for _, pointer in WRONG])
def test_what_is_wrong_is_named(section: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Error) as caught:
        compile_(section)
    assert (caught.value.pointer, caught.value.code) == (f"/linux/seccomp{pointer}", "invalid-config")


@pytest.mark.parametrize(
    ("flags", "notifies", "value"),
    [
        (None, False, 4),
        ([], False, 0),
        (["TSYNC", "LOG"], False, 3),
        (["SPEC_ALLOW", "WAIT_KILLABLE_RECV"], False, 4),
        (["WAIT_KILLABLE_RECV"], True, 32 | 8),
        (["TSYNC"], True, 8),
        (None, True, 4 | 8),
    ],
)
def test_flags(flags: list[str] | None, notifies: bool, value: int) -> None:
    action = "SCMP_ACT_NOTIFY" if notifies else "SCMP_ACT_LOG"
    section = profile({"names": ["openat"], "action": action}, listenerPath="/run/agent")
    if flags is not None:
        section["flags"] = [f"SECCOMP_FILTER_FLAG_{name}" for name in flags]
    filter_ = compile_(section)
    assert (filter_.flags, filter_.listener) == (value, notifies)


def test_without_the_library_the_error_names_it() -> None:
    with pytest.raises(Error, match="libseccomp2") as caught:
        Library("/nonexistent/libseccomp.so.2")
    assert caught.value.code == "not-supported"


PODMAN = Path("/usr/share/containers/seccomp.json")


def as_written_by_the_engine(capabilities: set[str]) -> dict[str, Any]:
    """Podman's default profile with its conditions on architecture and capabilities resolved."""
    source = json.loads(PODMAN.read_text())
    machine = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64"}[NATIVE]
    section = {key: source[key] for key in ("defaultAction", "defaultErrnoRet")}
    families = {family["architecture"]: family["subArchitectures"] for family in source["archMap"]}
    section["architectures"] = [NATIVE, *families[NATIVE]]
    section["syscalls"] = []
    for rule in source["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if (
            machine in includes.get("arches", [machine])
            and capabilities.issuperset(includes.get("caps", ()))
            and capabilities.isdisjoint(excludes.get("caps", ()))
        ):
            kept = {
                key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key) is not None
            }
            section["syscalls"].append(kept)
    return section


@pytest.mark.skipif(
    not PODMAN.exists(), reason="the package golang-github-containers-common is not installed"
)
def test_the_default_profile_of_podman() -> None:
    plain, mighty = (
        as_written_by_the_engine(set()),
        as_written_by_the_engine({"CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"}),
    )
    for name in ("read", "openat", "execve", "clone3", "futex", "wait4"):
        assert answer(plain, name) == ALLOW
    assert answer(plain, "bpf") == answer(plain, "sethostname") == ERRNO | EPERM
    assert answer(mighty, "bpf") == answer(mighty, "sethostname") == ALLOW
    assert answer(plain, "kexec_load") == ERRNO | EPERM
    assert answer(plain, "personality", 8) == ALLOW
    assert answer(plain, "personality", 5) == ERRNO | ENOSYS
    netlink, audit = 16, 9
    assert answer(plain, "socket", netlink, 3, audit) == ERRNO | EINVAL
    assert answer(mighty, "socket", netlink, 3, audit) == ALLOW
    for values in ((netlink, 3, 0), (2, 1, 0), (2, 1, audit)):
        assert answer(plain, "socket", *values) == ALLOW
    assert simulate(compile_(plain).program, AUDIT[NATIVE], 2000) == ERRNO | ENOSYS


LOAD = """
import ctypes, os, sys
program, flags = open(sys.argv[1], "rb").read(), int(sys.argv[2])
class Fprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(number, 1, flags, ctypes.byref(Fprog(len(program) // 8, program))) == 0
answers = []
for call in sys.argv[3:]:
    ctypes.set_errno(0)
    libc.syscall(*map(int, call.split(",")))
    answers.append(ctypes.get_errno())
print(*answers)
"""


def test_the_kernel_takes_the_program_and_obeys(tmp_path: Path) -> None:
    args = [{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 0xF0, "valueTwo": 0x30}]
    section = profile(deny("getpgid", errnoRet=77), deny("dup3", errnoRet=78, args=args))
    filter_ = compile_(section)
    (tmp_path / "program").write_bytes(filter_.program)
    calls = [
        f"{number('getpgid', NATIVE)},0",
        *(f"{number('dup3', NATIVE)},-1,{value},0" for value in (0x3F, 0x4F)),
    ]
    command = [sys.executable, "-c", LOAD, tmp_path / "program", str(filter_.flags), *calls]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["77", "78", "9"]
