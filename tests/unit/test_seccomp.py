"""Seccomp profiles: the emitted BPF, run in a simulator, against what config.json says."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyoci.errors import Error
from pyoci.host import seccomp
from pyoci.host.libseccomp import Library
from pyoci.host.seccomp_profile import ACTIONS, ARCHITECTURES, OPERATORS, prologue

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
AUDIT = {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": X86_64,
         "SCMP_ARCH_AARCH64": AARCH64, "SCMP_ARCH_ARM": ARM}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[os.uname().machine]
NARROW = ("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM")
X32 = 0x40000000
KILL, ALLOW, ERRNO = 0, ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_ERRNO"]
LIBRARY = Library(seccomp.find_library()[0])
# Calls that every architecture here numbers directly: none goes through socketcall(2) or ipc(2).
NAMES = ("read", "write", "personality", "openat", "ioctl", "clone", "unshare", "faccessat2", "close_range")
EDGES = (0, 1, 2, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1)


def simulate(program: bytes, audit: int, number: int, args: tuple[int, ...] = ()) -> int:
    """What the kernel's classic BPF machine answers; fails on anything that its checker would refuse."""
    data = struct.pack("=iIQ6Q", number if number < 1 << 31 else number - (1 << 32), audit, 0,
                       *(*args, *[0] * (6 - len(args))))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, counter = 0, 0
    while True:
        op, true, false, k = code[counter]
        counter += 1
        if op == 0x06:  # RET|K
            return k
        if op == 0x20:  # LD|W|ABS
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:  # ALU|AND|K
            accumulator &= k
        elif op == 0x05:  # JMP|JA
            counter += k
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k,
                     0x45: bool(accumulator & k)}[op]
            counter += true if holds else false


def compile_(section: dict[str, Any]) -> seccomp.Filter:
    return seccomp.compile(section, None)


def number(name: str, arch: str) -> int:
    return LIBRARY.number(name, LIBRARY.architecture(arch))


def holds(arg: dict[str, Any], values: tuple[int, ...]) -> bool:
    value, wanted, second = values[arg["index"]], arg["value"], arg.get("valueTwo", 0)
    return {
        "SCMP_CMP_NE": value != wanted, "SCMP_CMP_LT": value < wanted, "SCMP_CMP_LE": value <= wanted,
        "SCMP_CMP_EQ": value == wanted, "SCMP_CMP_GE": value >= wanted, "SCMP_CMP_GT": value > wanted,
        "SCMP_CMP_MASKED_EQ": value & wanted == second & wanted,
    }[arg["op"]]


def matches(rule: dict[str, Any], values: tuple[int, ...]) -> bool:
    """All conditions; any of them where one argument is compared twice."""
    args = rule.get("args", [])
    repeated = len({arg["index"] for arg in args}) < len(args)
    return (any if repeated else all)(holds(arg, values) for arg in args)


def value_of(action: str, errno: int | None) -> int:
    return ACTIONS[action] | ((EPERM if errno is None else errno) if action in WITH_ERRNO else 0)


WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def expected(section: dict[str, Any], arch: str, name: str, values: tuple[int, ...]) -> int:
    """The answer that config.json asks for, for calls that the profile's libseccomp knows."""
    default = value_of(section["defaultAction"], section.get("defaultErrnoRet"))
    if arch != NATIVE and arch not in section["architectures"]:
        return KILL
    named = [number(other, arch) for rule in section["syscalls"] for other in rule["names"]]
    lenient = section["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if not lenient and named and number(name, arch) > max(named):
        return ERRNO | ENOSYS
    for rule in section["syscalls"]:
        if name in rule["names"] and matches(rule, values):
            return value_of(rule["action"], rule.get("errnoRet"))
    return default


arguments = st.builds(
    lambda index, op, value, two: {"index": index, "op": op, "value": value,
                                   **({"valueTwo": two} if op == "SCMP_CMP_MASKED_EQ" else {})},
    st.integers(0, 5), st.sampled_from(sorted(OPERATORS)), st.sampled_from(EDGES), st.sampled_from(EDGES),
)  # fmt: skip
answers = st.sampled_from(
    [("SCMP_ACT_KILL_PROCESS", None), ("SCMP_ACT_KILL", None), ("SCMP_ACT_TRAP", None), ("SCMP_ACT_ERRNO", None),
     ("SCMP_ACT_ERRNO", 38), ("SCMP_ACT_ERRNO", 0), ("SCMP_ACT_TRACE", 7), ("SCMP_ACT_ALLOW", None),
     ("SCMP_ACT_LOG", None)]
)  # fmt: skip


@st.composite
def sections(draw: st.DrawFn) -> dict[str, Any]:
    """Small profiles in which every call has one action, so that the order of rules doesn't matter."""
    default, errno = draw(answers)
    section: dict[str, Any] = {
        "defaultAction": default,
        "architectures": draw(st.lists(st.sampled_from(sorted(AUDIT)), max_size=5)),
        "syscalls": [],
    }
    if errno is not None:
        section["defaultErrnoRet"] = errno
    actions = {name: draw(answers) for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))}
    for name, (action, data) in actions.items():
        for args in draw(st.lists(st.lists(arguments, max_size=3), min_size=1, max_size=2)):
            rule = {"names": [name], "action": action, "args": args}
            section["syscalls"].append(rule if data is None else {**rule, "errnoRet": data})
    return section


def narrowed(section: dict[str, Any]) -> dict[str, Any]:
    """The profile as libseccomp can keep it where registers have 32 bits.

    It compares 32 bits there, x32 included, and up to 2.5.4 it confuses rules for one call that
    compare an argument in different ways: so the first rule of each name, and of that no argument twice.
    """
    rules = {}
    for rule in section["syscalls"]:
        args = {arg["index"]: {key: value & 0xFFFFFFFF if key.startswith("value") else value
                               for key, value in arg.items()} for arg in rule["args"]}
        rules.setdefault(rule["names"][0], {**rule, "args": list(args.values())})
    return {**section, "syscalls": list(rules.values())}


@settings(max_examples=300, deadline=None)
@given(section=sections(), arch=st.sampled_from(sorted(AUDIT)), name=st.sampled_from(NAMES),
       values=st.tuples(*[st.sampled_from(EDGES)] * 6))
def test_the_program_answers_what_the_profile_says(
    section: dict[str, Any], arch: str, name: str, values: tuple[int, ...]
) -> None:
    if arch in NARROW:
        values = tuple(value & 0xFFFFFFFF for value in values)
        section = narrowed(section)
    program = compile_(section).program
    assert len(program) % 8 == 0
    wanted = expected(section, arch, name, values)
    assert simulate(program, AUDIT[arch], number(name, arch), values) == wanted
