"""Sizes on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.cli.quantities import integer, size
from pyoci.errors import Error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("1", 1), ("-1", -1), ("512b", 512), ("512B", 512), ("1k", 1024), ("1K", 1024),
        ("1kb", 1024), ("1KiB", 1024), ("512M", 512 << 20), ("512m", 512 << 20), ("1g", 1 << 30),
        ("1.5G", 3 << 29), ("1.5 GiB", 3 << 29), ("0.5k", 512), (".5k", 512), ("5.k", 5120),
        ("1.0001k", 1024),
        ("2t", 2 << 40), ("1p", 1 << 50), ("007", 7), ("32 MB", 32 << 20), ("1 M", 1 << 20), ("1.9", 1),
        (str(2**63 - 1), 2**63 - 1), ("8191p", 8191 << 50),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert size(text, "--memory") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "M", "-2", "-1M", "1x", "1mm", "1mib5", "1M ", " 1M", "1..5M", "1.2.3M", ".", "1e3",
        "0x10", "1_000", "inf", "nan", "1bb", "1bib", "1ki", "1kbi", "+5", "1  M", str(2**63), "8192p",
        "٣", "1" * 40,
    ],
)  # fmt: skip
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Error, match="for --memory") as caught:
        size(text, "--memory")
    assert caught.value.code == "usage"


@given(st.integers(0, 2**63 - 1))
def test_bytes_are_themselves(value: int) -> None:
    assert size(str(value), "") == value


@given(st.integers(0, 2**12), st.sampled_from("kmgtp"), st.sampled_from(["", "b", "ib"]), st.booleans())
def test_units_are_powers_of_1024(value: int, unit: str, rest: str, upper: bool) -> None:
    text = f"{value}{unit}{rest}"
    assert size(text.upper() if upper else text, "") == value << 10 * (" kmgtp".index(unit))


def test_integers() -> None:
    assert [integer(text, -1, "") for text in ("-1", "0", "18446744073709551615")] == [-1, 0, 2**64 - 1]
    for text in ("-2", "1.5", "5k", "", "--1", "18446744073709551616", "٣"):
        with pytest.raises(Error, match="for --cpu-quota"):
            integer(text, -1, "--cpu-quota")
