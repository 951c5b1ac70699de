"""Encoding a list of steps as the executor reads it (native/executor/plan.h draws the format)."""

from __future__ import annotations

from pyoci.plan.steps import MAGIC, TABLE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyoci.plan.steps import Step

_HEADER_SIZE = 24
_STEP_SIZE = 8
TRACE = 1


def _words(*values: int) -> bytes:
    """Unsigned 32-bit numbers. (The struct module would cost each command a shared library.)"""
    return b"".join([value.to_bytes(4, "little") for value in values])


class _Blob:
    """The texts and lists behind the steps; equal texts are stored once."""

    def __init__(self, start: int) -> None:
        self.parts: list[bytes] = []
        self.end = start
        self.known: dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        offset = self.end
        self.parts.append(data)
        self.end += len(data)
        return offset

    def text(self, data: bytes) -> bytes:
        offset = self.known.get(data)
        if offset is None:
            offset = self.known[data] = self.add(data + b"\0")
        return _words(offset, len(data))

    def align(self) -> None:
        if self.end % 4:
            self.add(bytes(4 - self.end % 4))

    def texts(self, values: Sequence[str]) -> bytes:
        references = b"".join([self.text(_bytes(value)) for value in values])
        self.align()
        return _words(self.add(references), len(values))

    def numbers(self, values: Sequence[int]) -> bytes:
        self.align()
        return _words(self.add(_words(*values)), len(values))


def _bytes(value: str) -> bytes:
    # Paths that aren't UTF-8 come from the system as surrogates (PEP 383) and go back as bytes.
    return value.encode("utf-8", "surrogateescape")


def encode(steps: Sequence[Step], descriptors: Mapping[str, int], trace: bool = False) -> bytes:
    """The plan as bytes. `descriptors` gives the number behind each name an `fd` argument holds;
    the empty name is no descriptor."""
    words = sum([len(step.args) for step in steps])
    blob = _Blob(_HEADER_SIZE + len(steps) * _STEP_SIZE + words * 8)
    records: list[bytes] = []
    for index, step in enumerate(steps):
        opcode, _, _, types = TABLE[step.op]
        records.append(_words(opcode | len(types) << 16, index))
        for kind, value in zip(types, step.args, strict=True):
            records.append(_argument(blob, kind, value, descriptors))
    header = _words(MAGIC, VERSION, blob.end, len(steps), TRACE if trace else 0, 0)
    return b"".join([header, *records, *blob.parts])


def _argument(blob: _Blob, kind: str, value: Any, descriptors: Mapping[str, int]) -> bytes:
    """One argument's word; the step table says of what type the value is."""
    if kind == "fd":
        kind, value = "int", descriptors[value] if value else -1
    if kind == "int":
        word: bytes = value.to_bytes(8, "little", signed=True)
        return word
    if kind == "str":
        return blob.text(_bytes(value))
    if kind == "bytes":
        return blob.text(value)
    return blob.texts(value) if kind == "strs" else blob.numbers(value)
