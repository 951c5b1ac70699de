"""From linux.seccomp of config.json to a BPF program, with a prologue for calls newer than the profile."""

from __future__ import annotations

import struct
from errno import EACCES, EDOM, EEXIST, EINVAL, ENOSYS, EOPNOTSUPP, EPERM
from os import strerror

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pyoci.host.libseccomp import Filter, Library

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

# enum scmp_compare of libseccomp
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_ARGUMENTS = 6

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

# linux/audit.h; X32 is libseccomp's own: to the kernel its calls are X86_64's with one more bit.
_AUDIT_X86_64 = 0xC000003E
_TOKEN_X32 = 0x4000003E
_X32_BIT = 0x40000000
_AUDIT_ARM = 0x40000028
# __ARM_NR_BASE: cacheflush, set_tls and the like have a table of their own, far above the others.
_ARM_PRIVATE = 0x0F0000

# linux/bpf_common.h
_LOAD, _JUMP, _JUMP_EQ, _JUMP_GT, _JUMP_GE, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4  # struct seccomp_data
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

_Tables = dict[int, dict[int, int | None]]


def translate(section: Mapping[str, Any], library: Library) -> tuple[bytes, list[str]]:
    """The BPF program of linux.seccomp and what had to be left out.

    Error, with the pointer of the property, for what is wrong or can't be done.
    """
    warnings: list[str] = []
    default_name = section["defaultAction"]
    if default_name == "SCMP_ACT_NOTIFY":
        raise _invalid(
            "defaultAction",
            "SCMP_ACT_NOTIFY can't be the default action: nobody listens yet when the first call is made",
        )
    default = _action(default_name, section.get("defaultErrnoRet"), "defaultAction", "defaultErrnoRet")
    filter_ = library.filter(default)
    architectures = _add_architectures(filter_, library, section.get("architectures") or (), warnings)
    syscalls = section.get("syscalls") or ()
    unknown: list[str] = []
    for index, rule in enumerate(syscalls):
        _add_rule(filter_, library, rule, default, f"syscalls/{index}", unknown)
    if unknown:
        names = ", ".join(repr(name) for name in dict.fromkeys(unknown))
        warnings.append(f"{POINTER}/syscalls: unknown to libseccomp {library.version()}, left out: {names}")
    program = filter_.export()
    if default_name not in _PERMISSIVE and default != ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS:
        named = {name for rule in syscalls for name in rule["names"]}.difference(unknown)
        program = prologue(_largest_numbers(library, architectures, named)) + program
    if len(program) > _MAX_INSTRUCTIONS * 8:
        raise Error(
            f"the seccomp filter needs {len(program) // 8} instructions; the kernel takes "
            f"{_MAX_INSTRUCTIONS}",
            code="not-supported",
            pointer=f"{POINTER}/syscalls",
        )
    return program, warnings


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


def _add_architectures(
    filter_: Filter, library: Library, names: Sequence[str], warnings: list[str]
) -> list[int]:
    """The tokens of the filter's architectures: the native one, then those asked for.

    An architecture that the library can't combine with the native one is left out: no kernel that
    runs here makes such calls, and the filter kills whoever claims to be of an unknown one.
    """
    tokens = [library.native()]
    for index, name in enumerate(names):
        pointer = f"{POINTER}/architectures/{index}"
        if name not in ARCHITECTURES:
            raise _invalid(f"architectures/{index}", f"{name!r} is not a seccomp architecture")
        token = library.architecture(name)
        failure = filter_.add_architecture(token) if token else -EINVAL
        if failure == 0:
            tokens.append(token)
        elif failure in (-EDOM, -EINVAL):
            warnings.append(
                f"{pointer}: {name} is left out: libseccomp {library.version()} can't combine it "
                "with this machine's architecture"
            )
        elif failure != -EEXIST:
            raise Error(f"libseccomp refuses {name}: {strerror(-failure)}", pointer=pointer, errno=-failure)
    return tokens


def _add_rule(
    filter_: Filter, library: Library, rule: Mapping[str, Any], default: int, at: str, unknown: list[str]
) -> None:
    """Add one element of `syscalls` for each of its names; what the default does anyway needs no rule."""
    action = _action(rule["action"], rule.get("errnoRet"), f"{at}/action", f"{at}/errnoRet")
    alternatives = _conditions(rule.get("args") or (), at)
    for position, name in enumerate(rule["names"]):
        if not library.known(name):
            unknown.append(name)
            continue
        if name == "write" and rule["action"] == "SCMP_ACT_NOTIFY":
            raise _invalid(
                f"{at}/names/{position}",
                "SCMP_ACT_NOTIFY can't be used for write, which hands the listener over",
            )
        if action == default:
            continue
        for conditions in alternatives:
            failure = filter_.add_rule(action, name, conditions)
            # EACCES: as the default; EEXIST: the earlier rule of two that meet stays
            if failure not in (0, -EACCES, -EEXIST):
                _refuse(rule["action"], name, failure, at)


def _refuse(action: str, name: str, failure: int, at: str) -> None:
    if failure == -EOPNOTSUPP:
        raise Error(
            f"this kernel lacks {action}",
            code="not-supported",
            pointer=f"{POINTER}/{at}/action",
            errno=-failure,
        )
    raise Error(
        f"libseccomp refuses the rule for {name}: {strerror(-failure)}",
        pointer=f"{POINTER}/{at}",
        errno=-failure,
    )


def _conditions(args: Sequence[Mapping[str, Any]], at: str) -> list[list[tuple[int, int, int, int]]]:
    """The alternatives of which one has to hold, each a list of conditions that have to hold together.

    Conditions on different arguments belong together. Where one argument occurs twice, each
    condition stands alone, as runc and crun read it: libseccomp can't compare an argument twice.
    """
    conditions = []
    for position, arg in enumerate(args):
        here = f"{at}/args/{position}"
        if arg["op"] not in OPERATORS:
            raise _invalid(f"{here}/op", f"{arg['op']!r} is not a seccomp operator")
        if not 0 <= arg["index"] < _ARGUMENTS:
            raise _invalid(f"{here}/index", f"a system call has arguments 0 to 5, not {arg['index']}")
        for key in ("value", "valueTwo"):
            if not 0 <= arg.get(key, 0) < 1 << 64:
                raise _invalid(f"{here}/{key}", f"{arg[key]} is not a number of 64 bits")
        conditions.append((arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)))
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _largest_numbers(library: Library, tokens: Iterable[int], names: Iterable[str]) -> _Tables:
    """Audit architecture -> first number of a table of system calls -> the largest number in the profile.

    None: the profile names nothing of the table, or it never grows: the prologue leaves it alone.
    """
    tables: _Tables = {}
    for token in tokens:
        audit = _AUDIT_X86_64 if token == _TOKEN_X32 else token
        first = _X32_BIT if token == _TOKEN_X32 else 0
        limit = _ARM_PRIVATE if token == _AUDIT_ARM else 1 << 31
        table = tables.setdefault(audit, {})
        numbers = [library.number(name, token) for name in names]
        table[first] = max((number for number in numbers if first <= number < limit), default=None)
        if token == _AUDIT_ARM:
            table[_ARM_PRIVATE] = None
        if audit == _AUDIT_X86_64:
            table.setdefault(_X32_BIT, None)
    return tables


def prologue(tables: _Tables) -> bytes:
    """Instructions to put before a program, answering ENOSYS to calls newer than the profile.

    A profile that denies what it doesn't name would answer EPERM to a system call that was added to
    Linux after the profile was written, and a C library that probes for it would give up instead of
    falling back. System calls are numbered in the order of their appearance. So, before the program:

        load the architecture
        for each architecture A:
            if it isn't A, go to the next one
            load the number of the system call
            for each table of system calls of A, the one with the highest numbers first:
                if the number is in the table:
                    if it is greater than the largest one that the profile names: return ENOSYS
                    go to the program
        the program

    A number that is smaller, known or not, is the program's to decide. x86_64 has two tables (its
    own, and x32's with a bit set), ARM has a second one that is not about the age of things.
    """
    blocks = [
        _block(audit, table)
        for audit, table in tables.items()
        if any(largest is not None for largest in table.values())
    ]
    remaining = sum(len(block) for block in blocks)
    code = [(_LOAD, 0, 0, _OFFSET_ARCH)] if blocks else []
    for block in blocks:
        remaining -= len(block)
        for position, instruction in enumerate(block):
            to_program = len(block) - position - 1 + remaining
            code.append((_JUMP, 0, 0, to_program) if instruction is None else instruction)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _block(audit: int, table: Mapping[int, int | None]) -> list[tuple[int, int, int, int] | None]:
    """The prologue's instructions for one architecture; None stands for the jump to the program."""
    body: list[tuple[int, int, int, int] | None] = [(_LOAD, 0, 0, _OFFSET_NUMBER)]
    for first, largest in sorted(table.items(), reverse=True):
        check: list[tuple[int, int, int, int] | None] = [None]
        if largest is not None:
            check = [(_JUMP_GT, 0, 1, largest), (_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS), None]
        if first:
            body.append((_JUMP_GE, 0, len(check), first))
        body += check
    return [(_JUMP_EQ, 0, len(body), audit), *body]
