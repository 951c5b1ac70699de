"""Sizes as people write them: 512M, 1.5g, 64 KiB. Each unit is 1024 of the one before."""

from __future__ import annotations

from pyoci.cli.arguments import usage

_UNITS = "bkmgtp"
_MOST = 2**63 - 1


def size(text: str, what: str) -> int:
    """A size in bytes, rounded down; -1 is itself, the word for no limit.

    As runc takes it (Docker's units.RAMInBytes): a number, perhaps with a fraction; perhaps a blank;
    perhaps a unit of b, k, m, g, t, p in either case, of which all but b may be followed by b or ib.
    """
    if text == "-1":
        return -1
    end = len(text)
    while end and text[end - 1] not in "0123456789.":
        end -= 1
    whole, _, part = text[:end].partition(".")
    power = _power(text[end:])
    digits = whole + part
    if power >= 0 and digits.isascii() and digits.isdecimal() and len(digits) <= 30:
        value: int = int(digits) * 1024**power // 10 ** len(part)
        if value <= _MOST:
            return value
    raise usage(f"invalid value {text!r} for {what}", "it is bytes, or a size like 512M or 1.5GiB, or -1")


def _power(suffix: str) -> int:
    """Which power of 1024 a unit is; -1 if it is none."""
    unit = suffix.removeprefix(" ").lower()
    if unit in ("", "b"):
        return 0
    power = _UNITS.find(unit[0])
    return power if power > 0 and unit[1:] in ("", "b", "ib") else -1


def integer(text: str, least: int, what: str) -> int:
    """A whole number of decimal digits, from `least` up."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 20 and least <= int(text) <= 2**64 - 1:
        return int(text)
    raise usage(f"invalid value {text!r} for {what}", f"it is a number from {least} up")
