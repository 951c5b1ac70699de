"""Device rules as the eBPF program that cgroup v2 has in place of lists (BPF_PROG_TYPE_CGROUP_DEVICE)."""

from __future__ import annotations

import os

from pyoci.cgroup import devices, files
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.devices import Rule

KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
ALL = 7

# Registers. The kernel passes struct bpf_cgroup_dev_ctx {u32 access << 16 | kind, major, minor} in r1.
RESULT, CONTEXT, KIND, PENDING, MAJOR, MINOR = 0, 1, 2, 3, 4, 5

LOAD_WORD = 0x61
MOVE, MOVE_REGISTER = 0xB7, 0xBF
AND, SHIFT_RIGHT = 0x57, 0x77
JUMP, JUMP_UNEQUAL, JUMP_IF_ANY = 0x05, 0x55, 0x45
EXIT = 0x95


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn."""
    word = code | to << 8 | source << 12 | (offset & 0xFFFF) << 16 | (value & 0xFFFFFFFF) << 32
    return word.to_bytes(8, "little")


def program(rules: list[Rule]) -> bytes:
    """The program that decides as the last rule that matches does, for each letter of the access asked for.

    From the last rule to the first: PENDING holds the letters that no rule has decided yet. A denial of
    one of them decides all; when none is left, the access is allowed. The first rule for everything ends
    it, and rules before that have no effect.
    """
    code = [
        instruction(LOAD_WORD, KIND, CONTEXT, 0),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8),
        instruction(MOVE_REGISTER, PENDING, KIND),
        instruction(SHIFT_RIGHT, PENDING, value=16),
        instruction(AND, KIND, value=0xFFFF),
    ]
    for rule in reversed(rules):
        if rule.kind == "a":
            return b"".join([*code, *_decide(rule.allow)])
        code += _rule(rule)
    raise ValueError("no rule says what holds for every other device")


def _rule(rule: Rule) -> list[bytes]:
    tests = [(KIND, KINDS[rule.kind])]
    tests += [(MAJOR, rule.major)] if rule.major != devices.ANY else []
    tests += [(MINOR, rule.minor)] if rule.minor != devices.ANY else []
    body = _body(rule.allow, sum(ACCESS[letter] for letter in set(rule.access)))
    beyond = len(tests) + len(body)
    return [
        instruction(JUMP_UNEQUAL, register, offset=beyond - place, value=value)
        for place, (register, value) in enumerate(tests, 1)
    ] + body


def _body(allow: bool, access: int) -> list[bytes]:
    if access == ALL:
        return _decide(allow)
    if allow:
        return [
            instruction(AND, PENDING, value=ALL & ~access),
            instruction(JUMP_UNEQUAL, PENDING, offset=2, value=0),
            *_decide(True),
        ]
    return [
        instruction(JUMP_IF_ANY, PENDING, offset=1, value=access),
        instruction(JUMP, offset=2),
        *_decide(False),
    ]


def _decide(allow: bool) -> list[bytes]:
    return [instruction(MOVE, RESULT, value=int(allow)), instruction(EXIT)]


def attach(path: str, rules: list[Rule], pointer: str) -> None:
    """Puts rules in force for a cgroup, in place of those that it has. Error if the kernel refuses."""
    from pyoci._shim import lib

    # Where everything is allowed no program is needed, and some who may not attach one may have that.
    code = b"" if devices.allow_all(rules) else program(rules)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise files.failure(error, f"opening the cgroup {path}", pointer) from None
    try:
        result: int = lib.shim_set_device_filter(directory, code, len(code))
    finally:
        os.close(directory)
    if result < 0:
        reason = os.strerror(-result).lower()
        raise Error(
            f"the kernel refused the device rules' program for {path}: {reason}",
            pointer=pointer,
            errno=-result,
            hint="attaching one needs CAP_BPF or CAP_SYS_ADMIN",
        )
