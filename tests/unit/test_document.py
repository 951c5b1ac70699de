"""JSON documents: what is read, what is refused and where, and what is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pyoci.bundle import document
from pyoci.errors import Error
from support.documents import REPOSITORY

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


def refusal(data: bytes) -> Error:
    with pytest.raises(Error) as raised:
        document.parse(data, "config.json")
    assert raised.value.code == "invalid-config"
    assert re.match(r"config\.json:\d+:\d+: ", raised.value.message)
    return raised.value


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_what_json_writes_is_read(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert document.parse(f" \n\t{text}\r\n".encode(), "x") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1),
        ("1e3", 1000),
        ("-0.0", 0),
        ("12E-1", 1.2),
        ("1.5", 1.5),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_numbers(text: str, value: float) -> None:
    """Integers stay exact, and are integers however they are written, as JSON Schema has it."""
    found = document.parse(text.encode(), "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("data", "place", "found"),
    [
        (b"", "1:1", "empty file"),
        (b" \n ", "2:2", "empty file"),
        (b"{", "1:2", "the end of the file was found; a name in double quotes"),
        (b'{"a": 1,\n "b"', "2:5", 'the end of the file was found; ":"'),
        (b'{"a":1,}', "1:7", 'a "," was found after the last value'),
        (b'{"a":1,\n}', "1:7", 'a "," was found after the last value'),
        (b"[1,]", "1:3", 'a "," was found after the last value'),
        (b'{"a" 1}', "1:6", '"1" was found; ":" would do'),
        (b'{"a":}', "1:6", '"}" was found; a value would do'),
        (b"{1:2}", "1:2", '"1" was found; a name in double quotes'),
        (b"{'a':1}", "1:2", "JSON has no single quotes"),
        (b'{"a":1 // x\n}', "1:8", '"/" was found; "," or "}" would do'),
        (b'{"a": # x\n1}', "1:7", "JSON has no comments"),
        (b'{\n  "a": 1\n  "b": 2\n}', "3:3", '""" was found; "," or "}" would do'),
        (b'{"a":1}\n{}', "2:1", "after the document's end"),
        (b'{"a":1}}', "1:8", "after the document's end"),
        (b"\xef\xbb\xbf{}", "1:1", "byte order mark"),
        (b"\xff\xfe{\0}\0", "1:1", "UTF-16"),
        (b'{"a":\n "\xff"}', "2:3", "byte 0xff"),
        ('{"é": "'.encode() + b'\xed\xa0\x80"}', "1:8", "byte 0xed"),
        (b'{"a":NaN}', "1:6", '"NaN" was found'),
        (b"[-Infinity]", "1:2", '"-Infinity" was found'),
        (b"[1e999]", "1:2", "1e999 was found; a smaller one"),
        (b"[1" + b"0" * 5000 + b"]", "1:2", "5001 characters"),
        (b"[01]", "1:2", '"01" was found'),
        (b"[.5]", "1:2", '".5" was found'),
        (b"[+1]", "1:2", '"+1" was found'),
        (b"[1.]", "1:2", '"1." was found'),
        (b"[tru]", "1:2", '"tru" was found'),
        (b"[True]", "1:2", '"True" was found'),
        (b'["\\x"]', "1:3", 'the escape "\\x"'),
        (b'["\\u12"]', "1:3", "four hexadecimal digits"),
        (b'["abc]', "1:2", "without a closing quote"),
        (b'["a\nb"]', "1:4", "control character U+000A"),
        (b'["a"\0]', "1:5", "U+0000 was found"),
        ('["é", x]'.encode(), "1:7", '"x" was found'),
        (b"[" * 100000 + b"]" * 100000, "1:101", "too deep"),
        (b'{"a":' * 100000 + b"1" + b"}" * 100000, "1:501", "too deep"),
    ],
)
def test_refusals_say_where(data: bytes, place: str, found: str) -> None:
    error = refusal(data)
    assert error.message.startswith(f"config.json:{place}: ")
    assert found in error.message
    assert error.pointer == ""


@pytest.mark.parametrize(
    ("data", "pointer", "place", "found"),
    [
        (b'{"a": {"b": 1,\n"b": 2}}', "/a/b", "2:1", '"b" was found twice'),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "/a/b", "1:16", '"b" was found twice'),
        (b'{"process": {"args": ["sh", "\\u0000"]}}', "/process/args/1", "1:29", "NUL"),
        (b'{"a/b~c": {"\\u0000": 1}}', "/a~1b~0c", "1:12", "NUL"),
        (b'{"a": 1, "\\ud800": 1}', "", "1:10", "surrogate"),
        (b'{"a/b~c": {"d": "\\u0000"}}', "/a~1b~0c/d", "1:17", "NUL"),
        (b'{"a": ["x", {"b": "\\ud800"}]}', "/a/1/b", "1:19", "surrogate"),
        (b'["\\udc80"]', "/0", "1:2", "surrogate"),
        (b'["\\uDFFF\\uD800"]', "/0", "1:2", "surrogate"),
    ],
)
def test_refusals_of_a_value_have_its_pointer(data: bytes, pointer: str, place: str, found: str) -> None:
    error = refusal(data)
    assert error.message.startswith(f"config.json:{place}: ")
    assert found in error.message
    assert error.pointer == pointer


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b'["\\\\u0000"]', ["\\u0000"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
    ],
)
def test_what_only_looks_like_a_fault(data: bytes, value: Any) -> None:
    assert document.parse(data, "x") == value


def strictly(data: bytes) -> Any:
    """What the library makes of it, with our additional refusals; ValueError for them all."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    def never(text: str) -> None:
        raise ValueError

    def finite(text: str) -> float:
        if float(text) in (float("inf"), float("-inf")):
            raise ValueError
        return float(text)

    value = json.loads(data.decode(), object_pairs_hook=once, parse_constant=never, parse_float=finite)
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    if re.search(r"(?<!\\)(\\\\)*\\u0000", text):
        raise ValueError
    return value


PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"b":', b"1", b"0", b"-", b".", b"e5", b"null", b"tru",
    b"NaN", b" ", b"\n", b"\\u0000", b"\\ud800", b"\\udc00", b"\\", b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf",
    b"//", b"'",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join) | st.binary(max_size=20))
@example(b'{"a":1,"a":1}')
@example(b"1e400")
def test_it_refuses_what_the_library_refuses(data: bytes) -> None:
    """On any bytes: the library's value, or an Error with a place in the file."""
    try:
        expected = strictly(data)
    except ValueError:
        line, column = refusal(data).message.split(":")[1:3]
        lines = data.decode(errors="replace").split("\n")
        assert 1 <= int(line) <= len(lines)
        assert 1 <= int(column) <= len(lines[int(line) - 1]) + 1
    else:
        assert document.parse(data, "x") == expected


@settings(max_examples=150)
@given(VALUES, st.data())
def test_a_document_with_one_character_changed(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, indent=1).encode()
    place = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from(PIECES))
    broken = text[:place] + piece + text[place + data.draw(st.integers(0, 1)) :]
    try:
        expected = strictly(broken)
    except ValueError:
        refusal(broken)
    else:
        assert document.parse(broken, "x") == expected


@given(VALUES | st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written(value: Any) -> None:
    assert document.dump(value) == json.dumps(value, separators=(",", ":"))
    assert document.dump(value, 2) == json.dumps(value, indent=2)
    assert document.dump(value, 2).isascii()


@given(VALUES, st.sampled_from([0, 2]))
def test_what_is_written_is_read(value: Any, indent: int) -> None:
    assert document.parse(document.dump(value, indent).encode(), "x") == value


def test_tuples_are_lists() -> None:
    assert document.dump((1, (2,)), 2) == document.dump([1, [2]], 2)


@pytest.mark.parametrize(
    ("value", "error"), [(object(), TypeError), (b"x", TypeError), (float("nan"), ValueError)]
)
@pytest.mark.parametrize("indent", [0, 2])
def test_what_cannot_be_written(value: object, error: type[Exception], indent: int) -> None:
    with pytest.raises(error):
        document.dump({"a": [value]}, indent)


@given(st.lists(TEXT | st.integers(0, 100)))
def test_pointers(parts: list[str | int]) -> None:
    """RFC 6901, read back."""
    text = document.pointer(parts)
    assume(parts)
    assert [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]] == [
        str(p) for p in parts
    ]


def test_success_needs_no_json() -> None:
    script = (
        "import sys; from pyoci.bundle import document\n"
        "document.dump(document.parse(b'{\"a\": [1, 1.5, null]}', 'x'), 2)\n"
        "print(*[name for name in ('json', 're', 'typing', 'pyoci.bundle.diagnosis') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert result.stdout == b"\n"
