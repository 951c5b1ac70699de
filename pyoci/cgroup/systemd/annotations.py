"""Annotations `org.systemd.property.NAME`: further properties of the unit, in GVariant's text format.

The engines' convention (runc's): the value is written as `gdbus` takes it - true, 5, uint64 5, 'text',
['a', 'b'], @as [] -, and NAME may end in Sec where the property's own name ends in USec.
"""

from __future__ import annotations

from pyoci.bundle.document import pointer
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.systemd.bus import Property

PREFIX = "org.systemd.property."
# What pyoci sets itself: the container wouldn't be in the unit, or another's processes would.
OURS = ("PIDs", "Slice", "Delegate", "ControlGroup")
_INTEGERS = {
    "byte": ("y", 0, 2**8 - 1), "int16": ("n", -(2**15), 2**15 - 1), "uint16": ("q", 0, 2**16 - 1),
    "int32": ("i", -(2**31), 2**31 - 1), "uint32": ("u", 0, 2**32 - 1),
    "int64": ("x", -(2**63), 2**63 - 1), "uint64": ("t", 0, 2**64 - 1),
}  # fmt: skip
_BY_SIGNATURE = {signature: (signature, low, high) for signature, low, high in _INTEGERS.values()}


def properties(annotations: dict[str, str]) -> list[Property]:
    """The properties that annotations ask for. Error names the annotation that can't be one."""
    found = []
    for name, text in annotations.items():
        if name.startswith(PREFIX):
            found.append(_property(name, name.removeprefix(PREFIX), text))
    return found


def _property(annotation: str, name: str, text: str) -> Property:
    if not (name.isascii() and name.isalpha() and name[0].isupper()):
        wrong = f"{name!r} is no name of a unit's property"
        raise _refused(annotation, wrong, "it is letters only, such as TimeoutStopSec")
    if name in OURS:
        raise _refused(annotation, f"{name} is pyoci's to set", "remove the annotation")
    try:
        signature, value = parse(text)
    except ValueError as error:
        raise _refused(
            annotation, f"{text!r} is no value in GVariant's text format: {error}",
            "write true, 5, uint64 5, 'text' or ['a', 'b']",
        ) from None  # fmt: skip
    if name.endswith("Sec") and not name.endswith("USec"):
        if signature not in (*_BY_SIGNATURE, "d") or value < 0:
            wrong = f"{text!r} is no number of seconds"
            raise _refused(annotation, wrong, "write a number that isn't negative")
        return f"{name.removesuffix('Sec')}USec", ("t", round(value * 1_000_000))
    return name, (signature, value)


def _refused(annotation: str, message: str, hint: str) -> Error:
    return Error(message, code="invalid-config", pointer=pointer(["annotations", annotation]), hint=hint)


def parse(text: str) -> tuple[str, Any]:
    """A value in GVariant's text format as (D-Bus signature, value). ValueError says what is wrong.

    Of the format: booleans, numbers, strings and arrays of these, with types given by name (`uint64 5`)
    or by signature (`@as []`).
    """
    reader = _Reader(text)
    result = reader.value("")
    reader.skip()
    if reader.rest:
        raise ValueError(f"{reader.rest!r} is left over")
    return result


class _Reader:
    """What of the text is still to be read."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def skip(self) -> None:
        self.rest = self.rest.lstrip(" \t\n")

    def take(self, start: str) -> bool:
        self.skip()
        if not self.rest.startswith(start):
            return False
        self.rest = self.rest[len(start) :]
        return True

    def word(self) -> str:
        self.skip()
        end = 0
        while end < len(self.rest) and (self.rest[end].isalnum() or self.rest[end] in "+-._"):
            end += 1
        word, self.rest = self.rest[:end], self.rest[end:]
        return word

    def value(self, wanted: str) -> tuple[str, Any]:
        """One value; `wanted` is the signature that it must have, "" for any."""
        if self.take("@"):
            given = self.word()
            if given not in (*_BY_SIGNATURE, "b", "d", "s", "o", "g") and not _is_array(given):
                raise ValueError(f"{given!r} is no type that is supported here")
            return self.value(given)
        self.skip()
        if self.rest[:1] in ("'", '"'):
            return _as(wanted, ("s", "o", "g"), "s"), self._string()
        if self.take("["):
            return self._array(wanted)
        return self._scalar(wanted)

    def _scalar(self, wanted: str) -> tuple[str, Any]:
        word = self.word()
        if word in ("true", "false"):
            return _as(wanted, ("b",), "b"), word == "true"
        if word in _INTEGERS:
            return self.value(_as(wanted, (_INTEGERS[word][0],), _INTEGERS[word][0]))
        if word in ("string", "objectpath", "signature", "boolean", "double"):
            name = {"objectpath": "o", "signature": "g"}.get(word, word[0])
            return self.value(_as(wanted, (name,), name))
        if not word:
            raise ValueError(f"there is no value at {self.rest!r}" if self.rest else "there is no value")
        if wanted == "d" or (not wanted and "." in word):
            return "d", float(word)
        signature, low, high = _BY_SIGNATURE[_as(wanted, tuple(_BY_SIGNATURE), "i")]
        if not _is_integer(word):
            raise ValueError(f"{word!r} is no integer")
        number = int(word, 0)
        if not low <= number <= high:
            raise ValueError(f"{word} isn't between {low} and {high}")
        return signature, number

    def _array(self, wanted: str) -> tuple[str, list[Any]]:
        inner = _as(wanted, (wanted,), "a")[1:] if wanted else ""
        if wanted and not wanted.startswith("a"):
            raise ValueError("there is an array where it can't be")
        items: list[Any] = []
        while not self.take("]"):
            if items and not self.take(","):
                raise ValueError("a comma or ] is missing in an array")
            inner, item = self.value(inner)
            items.append(item)
        if not inner:
            raise ValueError("an empty array needs its type, such as @as []")
        return f"a{inner}", items

    def _string(self) -> str:
        quote, self.rest = self.rest[0], self.rest[1:]
        result: list[str] = []
        while self.rest:
            letter, self.rest = self.rest[0], self.rest[1:]
            if letter == quote:
                return "".join(result)
            if letter == "\\":
                letter, self.rest = _ESCAPES.get(self.rest[:1], self.rest[:1]), self.rest[1:]
            result.append(letter)
        raise ValueError(f"the closing {quote} is missing")


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _is_array(signature: str) -> bool:
    inner = signature.lstrip("a")
    return signature.startswith("a") and inner in (*_BY_SIGNATURE, "b", "d", "s", "o", "g")


def _is_integer(word: str) -> bool:
    try:
        int(word, 0)
    except ValueError:
        return False
    return True


def _as(wanted: str, possible: tuple[str, ...], otherwise: str) -> str:
    """The signature of what was met: the wanted one if it can be that."""
    if not wanted:
        return otherwise
    if wanted not in possible:
        raise ValueError(f"it isn't of the type {wanted!r}")
    return wanted
