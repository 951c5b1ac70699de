"""What is wrong with a JSON document, and where: read again, slowly, once the quick reader refused it."""

from __future__ import annotations

import _json
import re

from pyoci.bundle.document import pointer
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SPACE = re.compile(r"[ \t\n\r]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
WORD = re.compile(r"[-+.\w]+")
STRING_PART = re.compile(r'[^"\\\x00-\x1f]+')
DEPTH = 100  # levels; the quick reader takes some hundreds, a config.json needs ten
DIGITS = 4300  # of sys.get_int_max_str_digits()


def diagnose(data: bytes, name: str, complete: bool) -> None:
    """Raise the Error (invalid-config) that says what is wrong with the document.

    complete says that the quick reader read it to its end and only doubts its strings:
    then nothing may be wrong with it.
    """
    reader = _Reader(_decode(data, name), name)
    reader.read()
    if not complete:
        place = _place(reader.text, reader.deepest)
        raise _error(name, "values were found too deep in others; a few levels would do", *place)


def _error(name: str, message: str, line: int = 1, column: int = 1, pointer: str = "") -> Error:
    return Error(f"{name}:{line}:{column}: {message}", code="invalid-config", pointer=pointer)


def _decode(data: bytes, name: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _error(name, "UTF-16 was found; UTF-8 without a byte order mark would do")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        before = str(data[: error.start], "utf-8")
        found = f"the byte 0x{data[error.start]:02x} was found, which isn't UTF-8 here; UTF-8 would do"
        raise _error(name, found, *_place(before, len(before))) from None
    if text.startswith("\ufeff"):
        raise _error(name, "a byte order mark was found; UTF-8 without it would do")
    return text


def _place(text: str, at: int) -> tuple[int, int]:
    """Line and column of a character, both counted from 1."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


class _Reader:
    """Reads a document without recursion, keeping the path to where it is."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self.deepest = 0  # where a value first was DEPTH levels deep
        self.path: list[str | int] = []  # the name or index of the value in each open container
        self.names: list[set[str] | None] = []  # of each open object; None for an array

    def read(self) -> None:
        """Raise an Error for the first thing that is wrong."""
        self._skip()
        if self.at == len(self.text):
            self._fail("an empty file was found; an object in braces would do")
        while True:
            if self._value("a value"):
                continue
            while self.names and self._closes():
                self._close()
            self._skip()
            if not self.names:
                break
            self._next()
        if self.at < len(self.text):
            self._fail(f"{self._found()} was found after the document's end; nothing more would do")

    def _value(self, wanted: str) -> bool:
        """Read a scalar, or enter a container; true where a further value must follow at once."""
        self._skip()
        if len(self.names) == DEPTH and not self.deepest:
            self.deepest = self.at
        char = self.text[self.at : self.at + 1]
        if char == "{":
            self.at += 1
            self.names.append(set())
            self.path.append("")
            if self._closes():
                return False
            self._key('a name in double quotes or "}"')
            return True
        if char == "[":
            self.at += 1
            self.names.append(None)
            self.path.append(0)
            return not self._closes()
        if char == '"':
            self._string()
        elif found := NUMBER.match(self.text, self.at):
            self._number(found.group())
        else:
            word = WORD.match(self.text, self.at)
            if not word or word.group() not in ("true", "false", "null"):
                self._fail(f"{self._found()} was found; {wanted} would do{self._remark()}")
            self.at = word.end()
        return False

    def _closes(self) -> bool:
        self._skip()
        return self.text[self.at : self.at + 1] == ("]" if self.names[-1] is None else "}")

    def _close(self) -> None:
        self.at += 1
        self.names.pop()
        self.path.pop()

    def _next(self) -> None:
        """Step over a comma, and over the name that follows it in an object."""
        names = self.names[-1]
        if self.text[self.at : self.at + 1] != ",":
            self._fail(f'{self._found()} was found; "," or "{"]" if names is None else "}"}" would do')
        comma = self.at
        self.at += 1
        if self._closes():
            self.at = comma
            self._fail('a "," was found after the last value; none would do')
        last = self.path[-1]
        if isinstance(last, int):
            self.path[-1] = last + 1
        else:
            self._key("a name in double quotes")

    def _key(self, wanted: str) -> None:
        self._skip()
        start = self.at
        if self.text[start : start + 1] != '"':
            self._fail(f"{self._found()} was found; {wanted} would do{self._remark()}")
        self.path.pop()  # a fault of the name is one of the object
        name = self._string()
        names = self.names[-1]
        self.path.append(name)
        if names is not None:
            if name in names:
                self.at = start
                self._fail(f'"{name}" was found twice in this object; one of the two would do', True)
            names.add(name)
        self._skip()
        if self.text[self.at : self.at + 1] != ":":
            self._fail(f'{self._found()} was found; ":" would do')
        self.at += 1

    def _string(self) -> str:
        """The string that begins here."""
        start = self.at
        self.at += 1
        while (char := self.text[self.at : self.at + 1]) != '"':
            if part := STRING_PART.match(self.text, self.at):
                self.at = part.end()
            elif not char:
                self.at = start
                self._fail("a string without a closing quote was found; one with it would do")
            elif char != "\\":
                self._fail(
                    f"the control character U+{ord(char):04X} was found in a string; its escape would do"
                )
            else:
                self._escape()
        self.at += 1
        value, _ = _json.scanstring(self.text, start + 1, True)
        if "\0" in value:
            self.at = start
            self._fail("a string with a NUL character was found; one without would do", True)
        if any("\ud800" <= char <= "\udfff" for char in value):
            self.at = start
            self._fail("half of a surrogate pair was found in a string; both or neither would do", True)
        return str(value)

    def _escape(self) -> None:
        escape = self.text[self.at : self.at + 2]
        if escape == "\\u":
            digits = self.text[self.at + 2 : self.at + 6]
            if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                self._fail("\\u was found without four hexadecimal digits; all four would do")
            self.at += 6
        elif len(escape) == 2 and escape[1] in '"\\/bfnrt':
            self.at += 2
        else:
            self._fail(f'the escape "{escape}" was found; "\\\\" for a backslash would do')

    def _number(self, text: str) -> None:
        word = WORD.match(self.text, self.at)
        if word and word.group() != text:
            self._fail(f"{self._found()} was found; a number as JSON writes it would do")
        if len(text) > DIGITS:
            self._fail(f"a number of {len(text)} characters was found; a shorter one would do")
        if float(text) in (float("inf"), float("-inf")) and not text.lstrip("-").isdigit():
            self._fail(f"the number {text[:40]} was found; a smaller one would do")
        self.at += len(text)

    def _skip(self) -> None:
        space = SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def _found(self) -> str:
        """What stands here, in words."""
        if self.at == len(self.text):
            return "the end of the file"
        word = WORD.match(self.text, self.at)
        found = word.group() if word else self.text[self.at]
        return f'"{found[:40]}"' if found.isprintable() else f"U+{ord(found[0]):04X}"

    def _remark(self) -> str:
        char = self.text[self.at : self.at + 1]
        if char == "'":
            return ": JSON has no single quotes"
        if char in ("/", "#"):
            return ": JSON has no comments"
        return ""

    def _fail(self, message: str, value: bool = False) -> NoReturn:
        """Raise the Error; value says that the fault is a value's and not the syntax's."""
        line, column = _place(self.text, self.at)
        raise _error(self.name, message, line, column, pointer(self.path) if value else "")
