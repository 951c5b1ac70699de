"""The eBPF program for device rules, run in a simulator, against what the rules say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.cgroup import device_filter, devices

KINDS = {"b": 1, "c": 2}
LETTERS = {"m": 1, "r": 2, "w": 4}
ANY = devices.ANY


def simulate(program: bytes, kind: int, major: int, minor: int, access: int) -> int:
    """What the kernel's machine answers. Fails on what its verifier would refuse of such a program."""
    code = [int.from_bytes(program[at : at + 8], "little") for at in range(0, len(program), 8)]
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers: dict[int, int] = {1: -1}
    at = 0
    while True:
        assert 0 <= at < len(code), "it runs out of the program"
        word = code[at]
        operation, to, source = word & 0xFF, word >> 8 & 0xF, word >> 12 & 0xF
        offset = int.from_bytes((word >> 16 & 0xFFFF).to_bytes(2, "little"), "little", signed=True)
        value = int.from_bytes((word >> 32).to_bytes(4, "little"), "little", signed=True) & (1 << 64) - 1
        at += 1
        assert offset >= 0, "a jump backwards"
        if operation == 0x61:
            registers[to] = context[offset]
        elif operation == 0xBF:
            registers[to] = registers[source]
        elif operation == 0xB7:
            registers[to] = value
        elif operation == 0x57:
            registers[to] &= value
        elif operation == 0x77:
            registers[to] >>= value
        elif operation == 0x05:
            at += offset
        elif operation == 0x55:
            at += offset if registers[to] != value else 0
        elif operation == 0x45:
            at += offset if registers[to] & value else 0
        elif operation == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"no such instruction {operation:#x}")


def reachable(program: bytes) -> set[int]:
    """The instructions that some path leads to: the verifier refuses a program with others."""
    code = [program[at : at + 8] for at in range(0, len(program), 8)]
    seen: set[int] = set()
    ways = [0]
    while ways:
        at = ways.pop()
        if at in seen:
            continue
        seen.add(at)
        operation, offset = code[at][0], int.from_bytes(code[at][2:4], "little")
        if operation in (0x05, 0x55, 0x45):
            ways.append(at + 1 + offset)
        if operation not in (0x05, 0x95):
            ways.append(at + 1)
    return seen


def last_match(rules: list[devices.Rule], kind: str, major: int, minor: int, letter: str) -> bool:
    for rule in reversed(rules):
        if rule.kind == "a" or (
            rule.kind == kind
            and rule.major in (ANY, major)
            and rule.minor in (ANY, minor)
            and letter in rule.access
        ):
            return rule.allow
    raise AssertionError("the first rule is for everything")


numbers = st.sampled_from([None, 0, 1, 2])
entries = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["a", "b", "c", "c", "c"]),
            "major": numbers,
            "minor": numbers,
            "access": st.sampled_from(["r", "w", "m", "rw", "wm", "rwm", "rr"]),
        },
    ),
    max_size=6,
)


@given(entries)
def test_an_access_is_allowed_when_each_of_its_letters_is(given_entries: list[dict[str, object]]) -> None:
    rules = devices.rules(given_entries, "")
    program = device_filter.program(rules)
    assert reachable(program) == set(range(len(program) // 8))
    for kind in "bc":
        for major in (0, 1, 2, 3, 136):
            for minor in (0, 1, 2, 3):
                for access in ("r", "w", "m", "rw", "rwm"):
                    expected = all(last_match(rules, kind, major, minor, letter) for letter in access)
                    bits = sum(LETTERS[letter] for letter in access)
                    assert simulate(program, KINDS[kind], major, minor, bits) == expected


@given(entries)
def test_allow_all_is_known(before: list[dict[str, object]]) -> None:
    rules = devices.rules([*before, {"allow": True}, {"allow": True, "type": "c", "major": 7}], "")
    assert devices.allow_all(rules)
    program = device_filter.program(rules)
    for kind in KINDS.values():
        assert all(simulate(program, kind, major, minor, 7) for major in range(3) for minor in range(3))
    denied = {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "m"}
    assert not devices.allow_all(devices.rules([*before, {"allow": True}, denied], ""))


def test_numbers_of_every_size() -> None:
    rules = devices.rules([{"allow": True, "type": "c", "major": 2**32 - 1, "access": "r"}], "")
    assert simulate(device_filter.program(rules), 2, 4095, 0, 2) == 0


def test_rules_that_leave_something_open_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="every other"):
        device_filter.program(devices.rules([], "")[1:])
