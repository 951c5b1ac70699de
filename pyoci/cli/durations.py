"""Durations as Go writes them: 5s, 1m30s, 1.5h, 500ms (the grammar of time.ParseDuration)."""

from __future__ import annotations

from pyoci.cli.arguments import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.errors import Error

# In nanoseconds. The first letter of µs may be the micro sign or a Greek mu.
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DIGITS = "0123456789"
_MOST = (1 << 63) - 1


def parse(text: str, what: str) -> int:
    """Nanoseconds, rounded towards zero. Error (usage) names the flag `what`."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    total = 0
    if rest != "0":
        if not rest:
            raise _wrong(text, what)
        while rest:
            whole, rest = _digits(rest)
            part = ""
            if rest[:1] == ".":
                part, rest = _digits(rest[1:])
            length = next((at for at, one in enumerate(rest) if one in _DIGITS or one == "."), len(rest))
            unit, rest = _UNITS.get(rest[:length]), rest[length:]
            if unit is None or not whole + part:
                raise _wrong(text, what)
            total += int(whole + part) * unit // 10 ** len(part)
    if total > _MOST:
        raise usage(f"invalid value {text!r} for {what}", "it is longer than 292 years")
    return -total if text[:1] == "-" else total


def _digits(text: str) -> tuple[str, str]:
    """The digits at the beginning, and what follows them."""
    rest = text.lstrip(_DIGITS)
    return text[: len(text) - len(rest)], rest


def _wrong(text: str, what: str) -> Error:
    return usage(f"invalid value {text!r} for {what}", "it is a duration like 5s, 500ms or 1m30s")
