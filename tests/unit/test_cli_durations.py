"""Durations as Go's flags take them."""

from __future__ import annotations

import pytest

from pyoci.cli import durations
from pyoci.errors import Error

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5s", 5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-5s", -5 * SECOND),
        ("500ms", SECOND // 2),
        ("1m30s", 90 * SECOND),
        ("1h", 3600 * SECOND),
        ("1h1m1s1ms1us1ns", 3661_001_001_001),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("5.s", 5 * SECOND),
        ("0.1ns", 0),
        ("3\u00b5s", 3000),
        ("3\u03bcs", 3000),
        ("0", 0),
        ("-0", 0),
        ("9223372036854775807ns", (1 << 63) - 1),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert durations.parse(text, "--interval") == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "-", "5", "1.5", "s", ".s", ".", "1..5s", "5 s", " 5s", "5d", "5S", "--5s", "5s-1s", "\u0665s"]
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(Error) as caught:
        durations.parse(text, "--interval")
    assert caught.value.code == "usage"
    assert "--interval" in caught.value.message


def test_one_that_is_too_long() -> None:
    with pytest.raises(Error, match="292 years"):
        durations.parse("9223372036854775808ns", "--interval")
