"""Says what in a document its schema forbids: every violation, in words and with its JSON pointer."""

from __future__ import annotations

import difflib
import json
import os
import re

from pyoci.bundle.document import WIDTH, pointer, quote
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")
KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
}
PATTERNS = {
    "^[^\\u0000]*$": "a path without a NUL character",
    "^MB:[^\\n]*$": 'one line that begins with "MB:"',
    "^[1-9][0-9]*[KMG]B$": "a size like 64KB, 2MB or 1GB",
    "^[0-9, -]*$": "a list of CPUs like 0-3,7",
    "^[rwm]*$": "letters of rwm",
}


def problem(violations: list[tuple[str, str]]) -> Error:
    """One Error for violations (pointer, message): a line of text for each, the nearest to the root first."""
    ordered = sorted(violations, key=lambda violation: violation[0].count("/"))
    lines = [f"{where or 'the whole document'}: {text}" for where, text in ordered]
    first = ordered[0][0]
    if first:  # Error puts its own pointer before its message
        lines[0] = ordered[0][1]
    return Error("\n".join(lines), code="invalid-config", pointer=first)


def explain(value: Any, definition: str, prefix: str) -> None:
    """Raise an Error with every violation; return if jsonschema finds none, since its word is final."""
    schema = load_schema()
    try:
        validator = authority(schema, definition)
    except ImportError:
        raise Error(
            "the document doesn't conform to pyoci/bundle/schemas/config-schema.json",
            code="invalid-config",
            pointer=prefix,
            hint="with the Python package jsonschema installed every violation is named",
        ) from None
    found = [
        (prefix + pointer([*error.absolute_path, *below]), text)
        for error in validator.iter_errors(value)
        for below, text in _describe(error)
    ]
    if found:
        raise problem(found)


def load_schema(name: str = "config-schema.json") -> dict[str, Any]:
    with open(os.path.join(SCHEMAS, name), encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
    return schema


def authority(schema: dict[str, Any], definition: str = "") -> Any:
    """A jsonschema validator of the schema, or of one of its definitions.

    Its $ is ECMA 262's, as JSON Schema says: Python's own also matches before a final newline.
    """
    from jsonschema import Draft7Validator, ValidationError, validators

    def match(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, "string") and not re.search(pattern.replace("$", r"\Z"), value):
            yield ValidationError(f"{value!r} does not match {pattern!r}")

    if definition:
        schema = {"$ref": f"#/definitions/{definition}", "definitions": schema["definitions"]}
    extended = validators.extend(Draft7Validator, {"pattern": match})  # type: ignore[no-untyped-call]  # its stubs
    return extended(schema)


def _describe(error: Any) -> Iterator[tuple[list[str], str]]:
    """What below the error's own place is wrong, and how, for one of jsonschema's errors."""
    keyword, bound, value, schema = error.validator, error.validator_value, error.instance, error.schema
    if keyword == "required":
        # jsonschema makes one error for each missing name, and only its text says which
        name = next(name for name in bound if error.message.startswith(repr(name)))
        yield [name], "nothing was found, and this property is required"
    elif keyword == "enum":
        near = difflib.get_close_matches(value, bound, 1, 0.75) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]}?" if near else f"; one of {', '.join(bound)} would do"
        yield [], f"{_show(value)} was found{hint}"
    elif keyword == "pattern":
        yield [], f"{_show(value)} was found; {PATTERNS[bound]} would do"
    elif keyword == "minItems":
        yield [], f"{_show(value)} was found; a list of at least {bound} would do"
    elif keyword == "minLength":
        yield [], 'the name "" was found; one of at least one character would do'
    else:  # type, minimum, maximum
        yield [], f"{_show(value)} was found; {_wanted(schema)} would do"


def _wanted(schema: dict[str, Any]) -> str:
    kind = KINDS[schema["type"]]
    if "maximum" in schema:
        return f"{kind} from {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{kind} of at least {schema['minimum']}"
    if schema.get("items", {}).get("type") == "string":
        return "a list of strings"
    return kind


def _show(value: Any) -> str:
    """A value in words, none of them long."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    return json.dumps(value)[:WIDTH]


def unknown_properties(value: Any, definition: str, prefix: str) -> list[str]:
    """A warning for each property that the schema doesn't name."""
    document = load_schema()
    definitions = document["definitions"]
    schema = definitions[definition] if definition else document
    return [
        f"{prefix}{where}: this property is unknown and ignored{hint}"
        for where, hint in _unknown(value, schema, definitions, [])
    ]


def _unknown(
    value: Any, schema: dict[str, Any], definitions: dict[str, Any], path: list[str | int]
) -> Iterator[tuple[str, str]]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/definitions/")]
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema["items"], definitions, [*path, index])
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, item in value.items():
            below = known.get(name, others)
            if below is not None:
                yield from _unknown(item, below, definitions, [*path, name])
            elif known:
                folded = {other.lower(): other for other in known if other not in value}
                near = difflib.get_close_matches(name.lower(), folded, 1, 0.75)
                yield pointer([*path, name]), f"; did you mean {folded[near[0]]}?" if near else ""
