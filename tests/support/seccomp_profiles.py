"""Seccomp profiles at random, and what the specification says that they answer.

The reference is written from config-linux.md#seccomp, seccomp(2) and seccomp_rule_add(3); of pyoci it
takes nothing but the numbers of system calls, libseccomp's.
"""

from __future__ import annotations

import json
import os
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from pyoci.host import seccomp
from pyoci.host.libseccomp import Library

# What engines wrote for a container without options: podman 4.3, Docker 20.10.
ENGINES = {
    name: json.loads((Path(__file__).parents[1] / f"unit/engine_configs/{file}.json").read_text())
    for name, file in (("podman", "podman-default"), ("docker", "docker"))
}
# The calls that podman allows without conditions.
ALLOWED: list[str] = [
    name
    for rule in ENGINES["podman"]["linux"]["seccomp"]["syscalls"]
    if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
    for name in rule["names"]
]

# SECCOMP_RET_*, linux/seccomp.h
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
OPERATORS = tuple(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
# AUDIT_ARCH_*, linux/audit.h
X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
FAMILIES = {
    "x86_64": {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": X86_64},
    "aarch64": {"SCMP_ARCH_AARCH64": AARCH64, "SCMP_ARCH_ARM": ARM},
}
FAMILY = FAMILIES[os.uname().machine]
NATIVE = next(iter(FAMILY))
# name -> libseccomp's token
TOKENS = FAMILIES["x86_64"] | FAMILIES["aarch64"] | {"SCMP_ARCH_X32": 0x4000003E}
AUDIT = FAMILIES["x86_64"] | FAMILIES["aarch64"]
NARROW = ("SCMP_ARCH_X86", "SCMP_ARCH_ARM")
KILL, ALLOW, ERRNO = (ACTIONS[f"SCMP_ACT_{name}"] for name in ("KILL", "ALLOW", "ERRNO"))
LIBRARY = Library(seccomp.find_library()[0])
NAMES = (
    "read", "write", "personality", "openat", "ioctl", "clone", "unshare", "faccessat2", "close_range",
    "socket", "shmget",
)  # fmt: skip
I386 = {"socket": 359, "shmget": 395}  # which are pseudo numbers to libseccomp
EDGES = (0, 1, 2, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1)


def number(name: str, arch: str) -> int:
    return I386[name] if arch == "SCMP_ARCH_X86" and name in I386 else LIBRARY.number(name, TOKENS[arch])


def holds(arg: dict[str, Any], values: tuple[int, ...]) -> bool:
    value, wanted, second = values[arg["index"]], arg["value"], arg.get("valueTwo", 0)
    return {
        "SCMP_CMP_NE": value != wanted,
        "SCMP_CMP_LT": value < wanted,
        "SCMP_CMP_LE": value <= wanted,
        "SCMP_CMP_EQ": value == wanted,
        "SCMP_CMP_GE": value >= wanted,
        "SCMP_CMP_GT": value > wanted,
        "SCMP_CMP_MASKED_EQ": value & wanted == second & wanted,
    }[arg["op"]]


def matches(rule: dict[str, Any], values: tuple[int, ...]) -> bool:
    """All conditions; any of them where one argument is compared twice."""
    args = rule.get("args", [])
    repeated = len({arg["index"] for arg in args}) < len(args)
    return (any if repeated else all)(holds(arg, values) for arg in args)


def value_of(action: str, errno: int | None) -> int:
    return ACTIONS[action] | ((EPERM if errno is None else errno) if action in WITH_ERRNO else 0)


def expected(section: dict[str, Any], arch: str, name: str, values: tuple[int, ...]) -> int:
    """The answer that config.json asks for, to a call that libseccomp knows."""
    default = value_of(section["defaultAction"], section.get("defaultErrnoRet"))
    if arch not in FAMILY or (arch != NATIVE and arch not in section.get("architectures", ())):
        return KILL
    if arch in NARROW:
        values = tuple(value & 0xFFFFFFFF for value in values)
    named = [number(other, arch) for rule in section["syscalls"] for other in rule["names"]]
    lenient = section["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if not lenient and named and number(name, arch) > max(named):
        return ERRNO | ENOSYS
    counting = [rule for rule in section["syscalls"] if name in rule["names"] if answer_of(rule) != default]
    for rule in [rule for rule in counting if not rule.get("args")] + counting:
        if matches(rule if arch not in NARROW else narrowed(rule), values):
            return answer_of(rule)
    return default


def answer_of(rule: dict[str, Any]) -> int:
    return value_of(rule["action"], rule.get("errnoRet"))


def narrowed(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule with numbers of the width of the registers."""
    args = [
        {key: value & 0xFFFFFFFF if key in ("value", "valueTwo") else value for key, value in arg.items()}
        for arg in rule.get("args", ())
    ]
    return {**rule, "args": args}


def consistent(section: dict[str, Any]) -> bool:
    """Whether no call has two answers under the same conditions, which is refused."""
    default = value_of(section["defaultAction"], section.get("defaultErrnoRet"))
    seen: dict[tuple[str, frozenset[tuple[int, ...]]], int] = {}
    for rule in section["syscalls"]:
        args = rule.get("args", [])
        keys = [
            (arg["index"], OPERATORS.index(arg["op"]), arg["value"], arg.get("valueTwo", 0)) for arg in args
        ]
        repeated = len({arg["index"] for arg in args}) < len(args)
        for group in [[key] for key in keys] if repeated else [keys] if keys else []:
            for name in rule["names"]:
                answer = answer_of(rule)
                if answer != default and seen.setdefault((name, frozenset(group)), answer) != answer:
                    return False
    return True


arguments = st.builds(
    lambda index, op, value, two: {"index": index, "op": op, "value": value,
                                   **({"valueTwo": two} if op == "SCMP_CMP_MASKED_EQ" else {})},
    st.integers(0, 5), st.sampled_from(sorted(OPERATORS)), st.sampled_from(EDGES), st.sampled_from(EDGES),
)  # fmt: skip
answers = st.sampled_from(
    [("SCMP_ACT_KILL_PROCESS", None), ("SCMP_ACT_KILL", None), ("SCMP_ACT_TRAP", None),
     ("SCMP_ACT_ERRNO", None),
     ("SCMP_ACT_ERRNO", 38), ("SCMP_ACT_ERRNO", 0), ("SCMP_ACT_TRACE", 7), ("SCMP_ACT_ALLOW", None),
     ("SCMP_ACT_LOG", None)]
)  # fmt: skip


rules = st.builds(
    lambda names, answer, args: {
        "names": names,
        "action": answer[0],
        "args": args,
        **({} if answer[1] is None else {"errnoRet": answer[1]}),
    },
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=3),
    answers,
    st.lists(arguments, max_size=3),
)


@st.composite
def sections(draw: st.DrawFn) -> dict[str, Any]:
    """linux.seccomp with a few rules for a few names."""
    default, errno = draw(answers)
    section: dict[str, Any] = {
        "defaultAction": default,
        "architectures": draw(st.lists(st.sampled_from(sorted(AUDIT)), max_size=5)),
        "syscalls": draw(st.lists(rules, max_size=6)),
    }
    if errno is not None:
        section["defaultErrnoRet"] = errno
    assume(consistent(section))
    return section
