#!/usr/bin/env python3
"""Writes pyoci/bundle/validator.py from the schemas, and puts the schemas beside it as package data.

    python schemas/generate.py [DIRECTORY]

DIRECTORY is the package's, pyoci/bundle beside this directory if not given. The build calls this.
Only the part of draft-07 that the schemas use is known here; anything else is refused.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ANNOTATIONS = {"$schema", "title", "description", "definitions"}
PATTERNS = {
    "^[^\\u0000]*$": "path",
    "^MB:[^\\n]*$": "bandwidth",
    "^[1-9][0-9]*[KMG]B$": "page_size",
    "^[0-9, -]*$": 'only("0123456789, -")',
    "^[rwm]*$": 'only("rwm")',
}


def snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def refuse(schema: dict[str, Any]) -> str:
    raise SystemExit(f"schemas/generate.py doesn't know how to check {schema}")


def check(schema: dict[str, Any], indent: str = "") -> str:
    """The expression that makes a schema's check."""
    keywords = set(schema) - ANNOTATIONS
    if keywords == {"$ref"}:
        return snake(schema["$ref"].removeprefix("#/definitions/"))
    if keywords == {"enum"}:
        inner = f",\n{indent}    ".join(json.dumps(value) for value in schema["enum"])
        return f"choice(\n{indent}    {inner},\n{indent})"
    kind = schema.get("type")
    keywords.discard("type")
    if kind == "boolean" and not keywords:
        return "boolean"
    if kind == "string":
        return check_string(schema, keywords)
    if kind == "integer" and keywords == {"minimum", "maximum"}:
        return f"integer({schema['minimum']}, {schema['maximum']})"
    if kind == "integer" and keywords == {"minimum"}:
        return f"at_least({schema['minimum']})"
    if kind == "array" and keywords <= {"items", "minItems"}:
        return check_array(schema, indent)
    if kind == "object":
        return check_object(schema, keywords, indent)
    return refuse(schema)


def check_string(schema: dict[str, Any], keywords: set[str]) -> str:
    if not keywords:
        return "string"
    if keywords == {"pattern"} and schema["pattern"] in PATTERNS:
        return PATTERNS[schema["pattern"]]
    return refuse(schema)


def check_array(schema: dict[str, Any], indent: str) -> str:
    least = schema.get("minItems", 0)
    if schema["items"] == {"type": "string"} and not least:
        return "strings"
    item = check(schema["items"], indent)
    return f"array({item}, {least})" if least else f"array({item})"


def check_object(schema: dict[str, Any], keywords: set[str], indent: str) -> str:
    if not keywords:
        return "anything"
    if keywords <= {"additionalProperties", "propertyNames"} and "additionalProperties" in schema:
        item = check(schema["additionalProperties"], indent)
        names = schema.get("propertyNames")
        if names is None:
            return f"members({item})"
        return f"members({item}, False)" if names == {"minLength": 1} else refuse(schema)
    if keywords <= {"required", "properties"} and "properties" in schema:
        deeper = indent + "    "
        required = ", ".join(json.dumps(name) for name in schema.get("required", ()))
        required += "," if len(schema.get("required", ())) == 1 else ""
        properties = "".join(
            f"{deeper}    {json.dumps(name)}: {check(value, deeper + '    ')},\n"
            for name, value in schema["properties"].items()
        )
        return f"record(\n{deeper}({required}),\n{deeper}{{\n{properties}{deeper}}},\n{indent})"
    return refuse(schema)


def references(schema: Any) -> list[str]:
    """The definitions that a schema refers to."""
    if isinstance(schema, list):
        return [name for item in schema for name in references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].removeprefix("#/definitions/")] if "$ref" in schema else []
    return own + [name for item in schema.values() for name in references(item)]


def generate(schema: dict[str, Any]) -> str:
    """The validator's source: every definition after those that it refers to."""
    definitions = schema["definitions"]
    parts: dict[str, str] = {}

    def define(name: str) -> None:
        if name not in parts:
            for other in references(definitions[name]):
                define(other)
            expression = check(definitions[name])
            parts[name] = "" if expression == snake(name) else f"{snake(name)} = {expression}\n"

    for name in definitions:
        define(name)
    body = "".join(parts.values())
    return f"{(HERE / 'checks.py').read_text()}\n\n{body}config = {check(schema)}\n"


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "pyoci" / "bundle"
    (target / "schemas").mkdir(parents=True, exist_ok=True)
    for source in sorted(HERE.glob("*-schema.json")):
        (target / "schemas" / source.name).write_bytes(source.read_bytes())
    schema = json.loads((HERE / "config-schema.json").read_text())
    (target / "validator.py").write_text(generate(schema))


if __name__ == "__main__":
    main()
