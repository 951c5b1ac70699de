"""A classic BPF program for seccomp(2): which architecture, which system call, which arguments, what answer.

    load the architecture
    for each architecture: if it is this one
        load the number, and find its range in a binary tree of all 2^32 numbers
        a range has one answer, or the alternatives of a single call, tried in their order
    kill whoever is of another architecture

The tree keeps programs small, and quick to load: the kernel runs a new one once for every system
call, to know in advance those that are always allowed.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBERS = 1 << 32  # a system call's number is compared as an unsigned one

# linux/bpf_common.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP, _EQUAL, _GREATER, _AT_LEAST = 0x05, 0x15, 0x25, 0x35
_FARTHEST = 255  # a conditional jump's offset is a byte
# struct seccomp_data
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

# Targets of conditional jumps while an alternative isn't put together yet.
_NEXT, _HOLDS, _FAILS = 0, -1, -2

# An operator -> the one that holds when it doesn't.
_OPPOSITES = {"SCMP_CMP_NE": "SCMP_CMP_EQ", "SCMP_CMP_LT": "SCMP_CMP_GE", "SCMP_CMP_LE": "SCMP_CMP_GT"}

Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k


class Condition:
    """A comparison of argument `index` with `value`; of its bits in `value` with `second` for MASKED_EQ."""

    __slots__ = ("index", "operator", "second", "value")

    def __init__(self, index: int, operator: str, value: int, second: int = 0) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.second = second

    def _all(self) -> tuple[int, str, int, int]:
        return self.index, self.operator, self.value, self.second

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())


# Conditions that have to hold together, and the answer then.
Alternative = tuple[tuple[Condition, ...], int]


class Architecture:
    """How the calls of one architecture are answered.

    audit   AUDIT_ARCH_*, linux/audit.h
    wide    its registers have 64 bits; else only the low half of an argument and of a value count
    ranges  first number -> the answer to all calls from it up to the next; that of 0 has to be there
    calls   number -> alternatives; where none holds, the answer of the number's range
    """

    __slots__ = ("audit", "calls", "ranges", "wide")

    def __init__(
        self, audit: int, wide: bool, ranges: Mapping[int, int], calls: Mapping[int, Sequence[Alternative]]
    ) -> None:
        self.audit = audit
        self.wide = wide
        self.ranges = ranges
        self.calls = calls

    def leaves(self) -> list[tuple[int, list[Instruction]]]:
        """(first number, instructions) for each range of numbers that are answered alike, ascending."""
        answers = sorted(self.ranges.items())
        starts = {*self.ranges, *self.calls, *(number + 1 for number in self.calls)}
        leaves: list[tuple[int, list[Instruction]]] = []
        for start in sorted(start for start in starts if start < NUMBERS):
            while len(answers) > 1 and answers[1][0] <= start:
                answers.pop(0)
            code = _alternatives(self.calls.get(start, ()), answers[0][1], self.wide)
            if not leaves or leaves[-1][1] != code:
                leaves.append((start, code))
        return leaves


def assemble(architectures: Sequence[Architecture], foreign: int) -> bytes:
    """The program: struct sock_filter after struct sock_filter, 8 bytes each, in native byte order.

    foreign  the answer to callers of any other architecture
    """
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture in architectures:
        block = [(_LOAD, 0, 0, _NUMBER), *_tree(architecture.leaves())]
        code += _unless(_EQUAL, architecture.audit, block)
    code.append((_RETURN, 0, 0, foreign))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _unless(operation: int, k: int, block: Sequence[Instruction]) -> list[Instruction]:
    """A block that is skipped unless the accumulator compares so with k."""
    if len(block) <= _FARTHEST:
        return [(operation, 0, len(block), k), *block]
    return [(operation, 1, 0, k), (_JUMP, 0, 0, len(block)), *block]


def _tree(leaves: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search for the last leaf that doesn't begin after the accumulator."""
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    upper = _tree(leaves[middle:])
    return [*_unless(_AT_LEAST, leaves[middle][0], upper), *_tree(leaves[:middle])]


def _alternatives(alternatives: Sequence[Alternative], otherwise: int, wide: bool) -> list[Instruction]:
    """The answer of the first alternative that holds."""
    code: list[Instruction] = []
    for conditions, answer in alternatives:
        body: list[Instruction] = []
        for condition in conditions:
            body += _comparison(condition, wide)
        code += _link([*body, (_RETURN, 0, 0, answer)], _FAILS, len(body) + 1)
        if not conditions:
            return code
    return [*code, (_RETURN, 0, 0, otherwise)]


def _link(code: Sequence[Instruction], target: int, place: int) -> list[Instruction]:
    """The instructions with jumps to `target` made to lead to a place, counted from the first of them."""

    def offset(jump: int, at: int) -> int:
        return place - at - 1 if jump == target else jump

    return [(op, offset(true, at), offset(false, at), k) for at, (op, true, false, k) in enumerate(code)]


def _comparison(condition: Condition, wide: bool) -> list[Instruction]:
    """Instructions that end behind themselves where the condition holds, and at _FAILS where it doesn't."""
    positive = _OPPOSITES.get(condition.operator)
    yes, no = (_FAILS, _HOLDS) if positive else (_HOLDS, _FAILS)
    operator = positive or condition.operator
    # seccomp_data has arguments of 64 bits, of which little-endian machines have the low half first.
    low, high = _ARGUMENTS + 8 * condition.index, _ARGUMENTS + 8 * condition.index + 4
    code: list[Instruction] = []
    if operator == "SCMP_CMP_MASKED_EQ":
        wanted = condition.second & condition.value
        if wide:
            code = [
                (_LOAD, 0, 0, high),
                (_AND, 0, 0, condition.value >> 32),
                (_EQUAL, _NEXT, no, wanted >> 32),
            ]
        code += [(_LOAD, 0, 0, low), (_AND, 0, 0, _low(condition.value)), (_EQUAL, yes, no, _low(wanted))]
    else:
        if wide:
            upper = condition.value >> 32
            code = [(_LOAD, 0, 0, high), (_EQUAL, _NEXT, no, upper)]
            if operator != "SCMP_CMP_EQ":
                code.insert(1, (_GREATER, yes, _NEXT, upper))
        last = {"SCMP_CMP_EQ": _EQUAL, "SCMP_CMP_GT": _GREATER, "SCMP_CMP_GE": _AT_LEAST}[operator]
        code += [(_LOAD, 0, 0, low), (last, yes, no, _low(condition.value))]
    return _link(code, _HOLDS, len(code))


def _low(value: int) -> int:
    return value & 0xFFFFFFFF
