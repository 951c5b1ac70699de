"""Encoding a list of steps as the executor reads it (native/executor/plan.h draws the format)."""

from __future__ import annotations

from _struct import Struct

from pyoci.plan.steps import MAGIC, TABLE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyoci.plan.steps import Step

_HEADER = Struct("<6I")
_STEP = Struct("<HHI")
_NUMBER = Struct("<q")
_REFERENCE = Struct("<II")
TRACE = 1


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
        return _REFERENCE.pack(offset, len(data))

    def align(self) -> None:
        if self.end % 4:
            self.add(bytes(4 - self.end % 4))

    def texts(self, values: Sequence[str]) -> bytes:
        references = b"".join([self.text(_bytes(value)) for value in values])
        self.align()
        return _REFERENCE.pack(self.add(references), len(values))

    def numbers(self, values: Sequence[int]) -> bytes:
        self.align()
        data = b"".join([value.to_bytes(4, "little") for value in values])
        return _REFERENCE.pack(self.add(data), len(values))


def _bytes(value: str) -> bytes:
    # Paths that aren't UTF-8 come from the system as surrogates (PEP 383) and go back as bytes.
    return value.encode("utf-8", "surrogateescape")


def encode(steps: Sequence[Step], descriptors: Mapping[str, int], trace: bool = False) -> bytes:
    """The plan as bytes. `descriptors` gives the number behind each name an `fd` argument holds;
    the empty name is no descriptor."""
    words = sum([len(step.args) for step in steps])
    blob = _Blob(_HEADER.size + len(steps) * _STEP.size + words * 8)
    records: list[bytes] = []
    for index, step in enumerate(steps):
        opcode, _, _, types = TABLE[step.op]
        records.append(_STEP.pack(opcode, len(types), index))
        for kind, value in zip(types, step.args, strict=True):
            records.append(_argument(blob, kind, value, descriptors))
    header = _HEADER.pack(MAGIC, VERSION, blob.end, len(steps), TRACE if trace else 0, 0)
    return b"".join([header, *records, *blob.parts])


def _argument(blob: _Blob, kind: str, value: object, descriptors: Mapping[str, int]) -> bytes:
    if kind == "int":
        return _NUMBER.pack(value)
    if kind == "str":
        return blob.text(_bytes(value))  # type: ignore[arg-type]  # the step table gives the type
    if kind == "fd":
        return _NUMBER.pack(descriptors[value] if value else -1)  # type: ignore[index]
    if kind == "strs":
        return blob.texts(value)  # type: ignore[arg-type]
    if kind == "bytes":
        return blob.text(value)  # type: ignore[arg-type]
    return blob.numbers(value)  # type: ignore[arg-type]
