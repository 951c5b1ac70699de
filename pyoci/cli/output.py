"""What goes to standard output: text, JSON and tables."""

from __future__ import annotations

import os

from pyoci.bundle.document import dump
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class ReaderGone(Exception):
    """Standard output is a pipe that nobody reads any more."""


def write(text: str) -> None:
    """Write to standard output. Raises ReaderGone, or Error when it can't be written to."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise Error(
            f"can't write to standard output: {os.strerror(error.errno or 0).lower()}", errno=error.errno or 0
        ) from None


def write_json(value: object, indent: int = 0) -> None:
    """Write a value as JSON and end the line."""
    write(dump(value, indent) + "\n")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of aligned columns: at least 12 wide, 3 blanks apart, as runc's."""
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n"
        for row in rows
    )
