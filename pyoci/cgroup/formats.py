"""The formats in which cgroup files and /proc/pressure tell numbers (cgroup-v2.rst, "Format"; psi.rst)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = (1 << 64) - 1
"""What "max" is told as: the largest number that takes 64 bits."""


def number(text: str) -> int:
    """A single value; "max" is UNLIMITED, nothing at all is 0."""
    return UNLIMITED if text == "max" else int(text or "0")


def flat(text: str) -> dict[str, int]:
    """Lines like `anon 4096`."""
    pairs = (line.split() for line in text.split("\n"))
    return {pair[0]: number(pair[1]) for pair in pairs if len(pair) == 2}


def nested(text: str) -> dict[str, dict[str, int]]:
    """Lines like `8:0 rbytes=1 wbytes=0`. What isn't key=number is left out."""
    found = {}
    for line in text.split("\n"):
        name, _, rest = line.partition(" ")
        pairs = (word.partition("=")[::2] for word in rest.split())
        values = {key: number(value) for key, value in pairs if value.isdecimal() or value == "max"}
        if name and values:
            found[name] = values
    return found


def ids(text: str) -> list[int]:
    """A list of CPUs or memory nodes, like `0-2,5`."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def pressure(text: str) -> dict[str, dict[str, Any]]:
    """Lines like `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`: shares in percent, a total in µs."""
    found: dict[str, dict[str, Any]] = {}
    for line in filter(None, text.split("\n")):
        kind, *words = line.split()
        pairs = (word.partition("=")[::2] for word in words)
        found[kind] = {key: int(value) if key == "total" else float(value) for key, value in pairs}
    return found


def non_zero(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is 0 or empty."""
    return {name: value for name, value in values.items() if value}
