"""From linux.seccomp of config.json to a BPF program: names to numbers, rules to answers.

libseccomp only knows the numbers here. Its own programs answer wrongly, and its compiler may not
end, where several rules for a call compare the same argument in different ways (2.5.4 does both).
"""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM

from pyoci.errors import Error
from pyoci.host.seccomp_program import NUMBERS, Architecture, Condition, assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pyoci.host.libseccomp import Library
    from pyoci.host.seccomp_program import Alternative

POINTER = "/linux/seccomp"

# SECCOMP_RET_* of seccomp(2); the low 16 bits are data
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
# The actions that carry a number, and the largest: the kernel clips errnos at MAX_ERRNO.
_LARGEST_DATA = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}
# Default actions that let a program go on, or leave it to a tracer who can do better than ENOSYS.
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

ARCHITECTURES = (
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
)

# linux/audit.h; to the kernel x32's calls are x86_64's with one more bit, X32 is libseccomp's token.
_X86_64, _X86, _AARCH64, _ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
_X32, _X32_BIT = 0x4000003E, 0x40000000
# __ARM_NR_BASE: cacheflush, set_tls and the like have a table of their own, far above the others.
_ARM_PRIVATE = 0x0F0000

# uname(2)'s machine -> the architectures whose calls its kernel can see, its own first.
# Of any other there can be no caller, so the program needs no word about it.
_FAMILIES = {
    "x86_64": {"SCMP_ARCH_X86_64": _X86_64, "SCMP_ARCH_X86": _X86, "SCMP_ARCH_X32": _X32},
    "aarch64": {"SCMP_ARCH_AARCH64": _AARCH64, "SCMP_ARCH_ARM": _ARM},
}

# i386 has two calls that stand for many, chosen by the first argument: socketcall(2), ipc(2). Since
# Linux 4.3 and 5.1 most of those have a number of their own, too, which libseccomp doesn't tell.
# name -> (the one, the first argument, its own number or -1), linux/net.h, linux/ipc.h, syscall_32.tbl
_SOCKETCALL, _IPC = 102, 117
_MULTIPLEXED = {
    "socket": (_SOCKETCALL, 1, 359),
    "bind": (_SOCKETCALL, 2, 361),
    "connect": (_SOCKETCALL, 3, 362),
    "listen": (_SOCKETCALL, 4, 363),
    "accept": (_SOCKETCALL, 5, -1),
    "getsockname": (_SOCKETCALL, 6, 367),
    "getpeername": (_SOCKETCALL, 7, 368),
    "socketpair": (_SOCKETCALL, 8, 360),
    "send": (_SOCKETCALL, 9, -1),
    "recv": (_SOCKETCALL, 10, -1),
    "sendto": (_SOCKETCALL, 11, 369),
    "recvfrom": (_SOCKETCALL, 12, 371),
    "shutdown": (_SOCKETCALL, 13, 373),
    "setsockopt": (_SOCKETCALL, 14, 366),
    "getsockopt": (_SOCKETCALL, 15, 365),
    "sendmsg": (_SOCKETCALL, 16, 370),
    "recvmsg": (_SOCKETCALL, 17, 372),
    "accept4": (_SOCKETCALL, 18, 364),
    "recvmmsg": (_SOCKETCALL, 19, 337),
    "sendmmsg": (_SOCKETCALL, 20, 345),
    "semop": (_IPC, 1, -1),
    "semget": (_IPC, 2, 393),
    "semctl": (_IPC, 3, 394),
    "semtimedop": (_IPC, 4, -1),
    "msgsnd": (_IPC, 11, 400),
    "msgrcv": (_IPC, 12, 401),
    "msgget": (_IPC, 13, 399),
    "msgctl": (_IPC, 14, 402),
    "shmat": (_IPC, 21, 397),
    "shmdt": (_IPC, 22, 398),
    "shmget": (_IPC, 23, 395),
    "shmctl": (_IPC, 24, 396),
}

_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


class _Rule:
    """One element of `syscalls`: where it stands, its answer, the alternatives of conditions for it,
    known names."""

    __slots__ = ("action", "alternatives", "names", "place")

    def __init__(
        self, place: str, action: int, alternatives: list[tuple[Condition, ...]], names: list[str]
    ) -> None:
        self.place = place
        self.action = action
        self.alternatives = alternatives
        self.names = names


def translate(section: Mapping[str, Any], library: Library, strict: bool = False) -> tuple[bytes, list[str]]:
    """The BPF program of linux.seccomp and what had to be left out.

    Of the rules for a call one without conditions decides, else the first that holds; rules that
    answer what the default answers don't count; different answers under the same conditions are an
    error. Error, with the pointer of the property, for what is wrong or can't be done.

    strict  a name that the library doesn't know is an error, too
    """
    default_name = section["defaultAction"]
    if default_name == "SCMP_ACT_NOTIFY":
        raise _invalid(
            "defaultAction",
            "SCMP_ACT_NOTIFY can't be the default action: nobody listens yet when the first call is made",
        )
    default = _action(default_name, section.get("defaultErrnoRet"), "defaultAction", "defaultErrnoRet")
    unknown: list[str] = []
    rules = [
        _rule(rule, f"syscalls/{index}", library, unknown)
        for index, rule in enumerate(section.get("syscalls") or ())
    ]
    warnings = []
    if unknown and strict:
        raise _unknown(section["syscalls"], unknown[0], library)
    if unknown:
        names = ", ".join(repr(name) for name in dict.fromkeys(unknown))
        warnings.append(f"{POINTER}/syscalls: unknown to libseccomp {library.version()}, left out: {names}")
    _check_consistent([rule for rule in rules if rule.action != default])
    newer = default if default_name in _PERMISSIVE else ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS
    profile = _Profile(rules, default, newer, library)
    tokens = _tokens(section.get("architectures") or ())
    architectures = [profile.architecture(token, _X32 in tokens) for token in tokens if token != _X32]
    program = assemble(architectures, ACTIONS["SCMP_ACT_KILL"])
    if len(program) > _MAX_INSTRUCTIONS * 8:
        raise Error(
            f"{len(program) // 8} instructions of seccomp filter; the kernel takes {_MAX_INSTRUCTIONS}",
            code="not-supported",
            pointer=f"{POINTER}/syscalls",
        )
    return program, warnings


def _check_consistent(rules: Iterable[_Rule]) -> None:
    """Error for a call with two answers under the same conditions: whichever held, one rule would be
    in vain. Without conditions, libseccomp and so everyone has the first hold, silently."""
    seen: dict[tuple[str, tuple[Condition, ...]], _Rule] = {}
    for rule in rules:
        for conditions in filter(None, rule.alternatives):
            for name in rule.names:
                earlier = seen.setdefault((name, conditions), rule)
                if earlier.action != rule.action:
                    raise _invalid(
                        rule.place,
                        f"{name} is answered differently by {POINTER}/{earlier.place}, under the same"
                        " conditions",
                    )


def _unknown(rules: Sequence[Mapping[str, Any]], name: str, library: Library) -> Error:
    at = next(
        f"syscalls/{index}/names/{rule['names'].index(name)}"
        for index, rule in enumerate(rules)
        if name in rule["names"]
    )
    return _invalid(at, f"{name!r} is a system call that libseccomp {library.version()} doesn't know")


def _invalid(at: str, message: str) -> Error:
    return Error(message, code="invalid-config", pointer=f"{POINTER}/{at}")


def _action(name: str, data: int | None, name_at: str, data_at: str) -> int:
    """The action with its errno, EPERM when none is given; an errno that it can't carry is an error."""
    if name not in ACTIONS:
        raise _invalid(name_at, f"{name!r} is not a seccomp action")
    largest = _LARGEST_DATA.get(name)
    if largest is None:
        if data is not None:
            raise _invalid(data_at, f"{name} can't return an errno")
        return ACTIONS[name]
    if data is None:
        data = EPERM
    if not 0 <= data <= largest:
        raise _invalid(data_at, f"{data} is beyond the largest errno of {name}, {largest}")
    return ACTIONS[name] | data


def _tokens(names: Iterable[str]) -> list[int]:
    """The architectures to write the program for: the native one, then those asked for."""
    machine = os.uname().machine
    if machine not in _FAMILIES:
        raise Error(f"seccomp on {machine} isn't supported", code="not-supported", pointer=POINTER)
    family = _FAMILIES[machine]
    tokens = [next(iter(family.values()))]
    for index, name in enumerate(names):
        if name not in ARCHITECTURES:
            raise _invalid(f"architectures/{index}", f"{name!r} is not a seccomp architecture")
        if name in family and family[name] not in tokens:
            tokens.append(family[name])
    return tokens


def _rule(rule: Mapping[str, Any], at: str, library: Library, unknown: list[str]) -> _Rule:
    action = _action(rule["action"], rule.get("errnoRet"), f"{at}/action", f"{at}/errnoRet")
    if rule["action"] == "SCMP_ACT_NOTIFY" and "write" in rule["names"]:
        raise _invalid(
            f"{at}/names/{rule['names'].index('write')}",
            "SCMP_ACT_NOTIFY can't be used for write, which engines may hand the listener over with",
        )
    names: list[str] = []
    for name in rule["names"]:
        (names if library.known(name) else unknown).append(name)
    return _Rule(at, action, _alternatives(rule.get("args") or (), at), names)


def _alternatives(args: Sequence[Mapping[str, Any]], at: str) -> list[tuple[Condition, ...]]:
    """The alternatives of which one has to hold, each a list of conditions that have to hold together.

    Conditions on different arguments belong together. Where one argument occurs twice, each
    condition stands alone: profiles are written for runc and crun, which read it so.
    """
    conditions = []
    for position, arg in enumerate(args):
        here = f"{at}/args/{position}"
        if arg["op"] not in OPERATORS:
            raise _invalid(f"{here}/op", f"{arg['op']!r} is not a seccomp operator")
        if not 0 <= arg["index"] < 6:
            raise _invalid(f"{here}/index", f"a system call has arguments 0 to 5, not {arg['index']}")
        for key in ("value", "valueTwo"):
            if not 0 <= arg.get(key, 0) < 1 << 64:
                raise _invalid(f"{here}/{key}", f"{arg[key]} is not a number of 64 bits")
        second = arg.get("valueTwo", 0) if arg["op"] == "SCMP_CMP_MASKED_EQ" else 0
        conditions.append(Condition(arg["index"], arg["op"], arg["value"], second))
    if len({condition.index for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(sorted(conditions, key=lambda condition: condition.index))]


class _Profile:
    """The rules, the default answer, and that to calls newer than the profile."""

    __slots__ = ("_default", "_library", "_newer", "_rules")

    def __init__(self, rules: Sequence[_Rule], default: int, newer: int, library: Library) -> None:
        self._rules = rules
        self._default = default
        self._newer = newer
        self._library = library

    def architecture(self, token: int, with_x32: bool) -> Architecture:
        """The rules for one architecture, x32's calls with x86_64's."""
        calls: dict[int, list[Alternative]] = {}
        ranges = self._table(token, 0, calls)
        if token == _X86_64:
            ranges[_X32_BIT] = ACTIONS["SCMP_ACT_KILL"]
            if with_x32:
                ranges |= self._table(_X32, _X32_BIT, calls)
            # A tracer that wants a call skipped makes it -1: no reason to kill.
            ranges[NUMBERS - 1] = self._newer
        if token == _ARM:
            ranges[_ARM_PRIVATE] = self._default
        if token == _X86:
            self._add_multiplexed(calls)
        for number, alternatives in calls.items():
            calls[number] = [one for one in alternatives if not one[0]][:1] or alternatives
        return Architecture(token, token in (_X86_64, _AARCH64), ranges, calls)

    def _table(self, token: int, first: int, calls: dict[int, list[Alternative]]) -> dict[int, int]:
        """Add the rules for a table of system calls to `calls`; the answers to the rest of the table.

        A profile that denies what it doesn't name would answer EPERM to a system call that was added
        to Linux after the profile was written, and a C library that probes for it would give up
        instead of falling back. System calls are numbered in the order of their appearance: so, as
        in runc, those above the largest number that the profile names don't exist, ENOSYS.
        """
        largest = -1
        for rule in self._rules:
            for name in rule.names:
                number = self._number(name, token)
                if number < 0:
                    continue
                if token != _ARM or number < _ARM_PRIVATE:
                    largest = max(largest, number)
                if rule.action != self._default:
                    calls.setdefault(number, []).extend((one, rule.action) for one in rule.alternatives)
        return {first: self._default} if largest < 0 else {first: self._default, largest + 1: self._newer}

    def _number(self, name: str, token: int) -> int:
        if token == _X86 and name in _MULTIPLEXED:
            return _MULTIPLEXED[name][2]
        return self._library.number(name, token)

    def _add_multiplexed(self, calls: dict[int, list[Alternative]]) -> None:
        """The rules for what socketcall and ipc stand for.

        Their own arguments are in memory, where a filter can't see them: a rule with conditions is
        taken to hold where it denies more than the default does, and not where it permits more.
        """
        for rule in self._rules:
            conditional = rule.alternatives != [()]
            if rule.action == self._default or (conditional and _rank(rule.action) > _rank(self._default)):
                continue
            for name in rule.names:
                if name in _MULTIPLEXED:
                    number, which, _ = _MULTIPLEXED[name]
                    condition = Condition(0, "SCMP_CMP_EQ", which)
                    calls.setdefault(number, []).append(((condition,), rule.action))


def _rank(action: int) -> int:
    """How much an action permits: the kernel's own order, in which KILL_PROCESS is the smallest."""
    return action - (1 << 32) if action & 1 << 31 else action & 0xFFFF0000
