"""The executor's verification of plans: what is wrong is refused, whatever it is, before anything runs."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_driver import OPERATIONS, TABLE, Step, build, encode, step

HEADER, RECORD = 24, 8
NAMES = st.sampled_from(sorted(TABLE))
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
VALUES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "fd": st.integers(-1, 2**31 - 1),
    "str": TEXTS,
    "bytes": st.binary(max_size=40),
    "strs": st.lists(TEXTS, max_size=4),
    "ids": st.lists(st.integers(0, 2**32 - 1), max_size=4),
}


@st.composite
def plans(draw: st.DrawFn) -> list[Step]:
    """Any steps with any arguments; `execute` only at the end."""
    chosen = draw(st.lists(NAMES.filter(lambda name: name != "execute"), max_size=6))
    if draw(st.booleans()):
        chosen.append("execute")
    return [
        Step(name, {key: draw(VALUES[kind]) for key, kind in TABLE[name]["args"].items()}) for name in chosen
    ]


def check(inputs: list[bytes]) -> list[str]:
    """What the verification says of each, from the sanitised build, which faults on any wrong read."""
    stream = b"".join(struct.pack("<I", len(data)) + data for data in inputs)
    done = subprocess.run(
        [build("fuzz")], input=stream, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@given(plans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_encoded_plan_is_accepted(steps: list[Step], trace: bool) -> None:
    assert check([encode(steps, trace)]) == ["accepted"]


@given(plans(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_changed_plans_are_refused_or_safe_to_read(steps: list[Step], chance: random.Random) -> None:
    plan = encode(steps)
    assert len(check([mutate(plan, chance) for _ in range(200)])) == 200


def mutate(plan: bytes, chance: random.Random) -> bytes:
    """The plan with a few bytes, words or its length changed; the size in the header mostly kept right."""
    data = bytearray(plan)
    for _ in range(chance.randint(1, 4)):
        kind = chance.randrange(4)
        if kind == 0 and data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        elif kind == 1 and len(data) >= 4:
            at = chance.randrange(len(data) // 4) * 4
            value = chance.choice([0, 1, len(data), len(data) - 1, 2**31, 2**32 - 1, chance.randrange(2**32)])
            data[at : at + 4] = struct.pack("<I", value)
        elif kind == 2:
            del data[chance.randrange(len(data) + 1) :]
        else:
            data += bytes(chance.randrange(9))
    if len(data) >= HEADER and chance.random() < 0.8:
        data[8:12] = struct.pack("<I", len(data))
    return bytes(data)


def test_each_truncation_is_refused() -> None:
    plan = encode(
        [
            step("hostname", name="box"),
            step("groups", gids=[1, 2]),
            step("execute", argv=["/bin/true"], env=["A=1"], home_of=-1),
        ]
    )
    truncated = []
    for length in range(len(plan)):
        data = bytearray(plan[:length])
        if length >= HEADER:
            data[8:12] = struct.pack("<I", length)
        truncated.append(bytes(data))
    assert "accepted" not in check(truncated)


HOSTNAME = encode([step("hostname", name="box")])
TEXT_OFFSET, TEXT_LENGTH = HEADER + RECORD, HEADER + RECORD + 4
GROUPS = encode([step("groups", gids=[1, 2])])


@pytest.mark.parametrize(
    ("plan", "at", "word", "says"),
    [
        (HOSTNAME, 0, 1, "this isn't a plan"),
        (HOSTNAME, 4, 99, "the plan is of another version"),
        (HOSTNAME, 8, 3, "the plan's size is wrong"),
        (HOSTNAME, 12, 2, "the plan ends within a step"),
        (HOSTNAME, 16, 2, "the plan has unknown flags"),
        (HOSTNAME, 20, 1, "the plan has unknown flags"),
        (HOSTNAME, HEADER, len(OPERATIONS) | 1 << 16, "a step is unknown"),
        (HOSTNAME, HEADER, OPERATIONS["hostname"] | 2 << 16, "a step has the wrong number of arguments"),
        (HOSTNAME, TEXT_OFFSET, 0, "a text lies outside of the plan"),
        (HOSTNAME, TEXT_OFFSET, 2**32 - 1, "a text lies outside of the plan"),
        (HOSTNAME, TEXT_LENGTH, 2**32 - 1, "a text lies outside of the plan"),
        (HOSTNAME, TEXT_LENGTH, 4, "a text lies outside of the plan"),
        (HOSTNAME, TEXT_LENGTH, 2, "a text doesn't end in NUL"),
        (GROUPS, TEXT_LENGTH, 3, "a list lies outside of the plan"),
        (GROUPS, TEXT_LENGTH, 2**30 + 1, "a list lies outside of the plan"),
        (GROUPS, TEXT_OFFSET, HEADER + RECORD + 9, "a list isn't aligned"),
        (encode([step("gate", listener=5)]), TEXT_LENGTH, 1, "a descriptor is out of range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_word_is_named(plan: bytes, at: int, word: int, says: str) -> None:
    data = bytearray(plan)
    data[at : at + 4] = struct.pack("<I", word)
    assert check([bytes(data)]) == [says]


def test_a_text_has_no_nul_in_it() -> None:
    assert check([encode([Step("hostname", {"name": b"a\0b"})])]) == ["a text has a NUL in it"]
    assert check([encode([step("find_program", name="a", search=["b\0c"])])]) == ["a text has a NUL in it"]


def test_nothing_follows_execute() -> None:
    plan = encode([step("execute", argv=["a"], home_of=-1), step("umask", mask=0)])
    assert check([plan]) == ["a step follows `execute`"]


def test_the_verification_needs_nothing_else() -> None:
    """plan.c alone makes the fuzz program: it calls into no other file of the executor."""
    sources = Path(__file__).resolve().parents[2] / "native/executor"
    assert 'include "report.h"' not in (sources / "plan.c").read_text()
