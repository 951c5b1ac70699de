"""JSON as configs and state files have it: read strictly, with line and column in errors, and written.

Only the C accelerator is used: importing json costs 4 ms, and only an error needs it.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

WHITESPACE = " \t\n\r"
WIDTH = 60  # characters of a value in a message


def pointer(parts: list[str | int]) -> str:
    """The JSON pointer (RFC 6901) of these names and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def quote(text: str) -> str:
    """The text in double quotes for a message: on one line, and cut if it is long."""
    return _json.encode_basestring(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")


def read_file(path: str, what: str) -> bytes:
    """All of a file that the caller has named. Error (not-found) says what it was to be."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        from os import strerror

        from pyoci.errors import Error

        raise Error(
            f"can't read {what} {path}: {strerror(error.errno or 0).lower()}",
            code="not-found",
            errno=error.errno or 0,
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that occurs twice: readers differ in which of the two they believe."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(pairs)
    return value


def _number(text: str) -> int | float:
    """1.0 and 1e3 are integers in JSON Schema, so they shall be for everyone behind it."""
    value = float(text)
    if value.is_integer():
        return int(value)
    if value - value != 0:  # 1e999: infinity has no place in JSON
        raise ValueError(text)
    return value


def _constant(text: str) -> float:
    raise ValueError(text)


class _Context:
    """The attributes that the accelerator reads from a json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = staticmethod(_number)
    parse_int = int
    parse_constant = staticmethod(_constant)


def _unknown(value: object) -> None:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_scan: Any = _json.make_scanner(_Context)  # type: ignore[arg-type]  # it takes anything with these attributes
_compact = _json.make_encoder(
    None, _unknown, _json.encode_basestring_ascii, None, ":", ",", False, False, False
)


def parse(data: bytes, name: str) -> Any:
    """The value of a JSON document.

    Stricter than RFC 8259 where its readers disagree: no byte order mark, no repeated names,
    no NUL and no lone surrogate in a string, since no path or argument can hold one.
    Error (invalid-config): "NAME:LINE:COLUMN: what was found, what would do".
    """
    value: Any = None
    try:
        text = str(data, "utf-8").strip(WHITESPACE)
        value, end = _scan(text, 0)
        complete = end == len(text)
    except (ValueError, StopIteration, RecursionError, SystemError):
        complete = False  # SystemError: the accelerator raises an error of json.decoder's, not imported here
    if not complete or b"\\u0000" in data or b"\\ud" in data or b"\\uD" in data:
        from pyoci.bundle.diagnosis import diagnose

        diagnose(data, name, complete)
    return value


def dump(value: object, indent: int = 0) -> str:
    """JSON text in ASCII, on one line, or with an indent in the shape of Go's json.MarshalIndent.

    TypeError for what JSON can't say, ValueError for NaN and the infinities.
    """
    if indent:
        return "".join(_pretty(value, indent, "\n"))
    return "".join(_compact(value, 0))


def _pretty(value: object, indent: int, newline: str) -> Iterator[str]:
    if value and isinstance(value, dict):
        inner = newline + " " * indent
        opening = "{"
        for name, item in value.items():
            yield f"{opening}{inner}{_json.encode_basestring_ascii(name)}: "
            yield from _pretty(item, indent, inner)
            opening = ","
        yield newline + "}"
    elif value and isinstance(value, (list, tuple)):
        inner = newline + " " * indent
        opening = "["
        for item in value:
            yield opening + inner
            yield from _pretty(item, indent, inner)
            opening = ","
        yield newline + "]"
    else:
        yield from _compact(value, 0)
