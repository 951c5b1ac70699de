"""The generated validator and jsonschema say the same of every document."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from pyoci.bundle import validator, violations
from pyoci.errors import Error
from support.documents import (
    EDGES,
    ENGINE_CONFIGS,
    FULL,
    REPOSITORY,
    SCHEMAS,
    changed,
    inline,
    mutated,
    places,
    read,
)

SCHEMA = read(SCHEMAS / "config-schema.json")
AUTHORITY = violations.authority(SCHEMA)
DOCUMENTS = [FULL, *map(read, ENGINE_CONFIGS)]
GENERATED = from_schema(inline(SCHEMA, SCHEMA))


def agree(document: Any) -> bool:
    """Assert that both say the same, unknown properties included; whether it is valid."""
    valid, unknown = validator.verdict(validator.config, document)
    assert valid == AUTHORITY.is_valid(document)
    if valid:
        assert unknown == bool(violations.unknown_properties(document, "", ""))
    return valid


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", SCHEMAS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_made_from_these_schemas(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCHEMAS / "generate.py", tmp_path], check=True)
    assert (tmp_path / "validator.py").read_text() == Path(validator.__file__).read_text()
    for schema in SCHEMAS.glob("*-schema.json"):
        assert (tmp_path / "schemas" / schema.name).read_text() == schema.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=["full", *(path.stem for path in ENGINE_CONFIGS)])
def test_real_documents_are_valid(document: dict[str, Any]) -> None:
    assert agree(document)
    assert not violations.unknown_properties(document, "", "")


def sections() -> list[dict[str, Any]]:
    """The full config in small configs of one property each: there are thousands of changes to try."""
    linux = [{"ociVersion": "1.3.0", "linux": {name: value}} for name, value in FULL["linux"].items()]
    return [{"ociVersion": "1.3.0", name: value} for name, value in FULL.items() if name != "linux"] + linux


@pytest.mark.parametrize(
    "section", sections(), ids=lambda section: str(list(section.get("linux", section))[-1])
)
def test_every_value_replaced_or_removed(section: dict[str, Any]) -> None:
    """Each property's type is checked, and each required one required."""
    values = (None, True, -1, 2**64, 1.5, "\0", [], {})
    refused = 0
    for path in places(section):
        refused += not agree(changed(section, path, "remove", None))
        for value in values:
            refused += not agree(changed(section, path, "replace", value))
    assert refused > len(places(section)) * len(values) / 2


@settings(max_examples=40)
@given(GENERATED)
def test_generated_documents_are_valid(document: Any) -> None:
    assert agree(document)


@settings(max_examples=150)
@given(mutated(DOCUMENTS))
def test_mutated_documents(document: Any) -> None:
    agree(document)


@settings(max_examples=40)
@given(GENERATED.flatmap(lambda document: mutated([document])))
def test_mutated_generated_documents(document: Any) -> None:
    agree(document)


@settings(max_examples=100)
@given(
    st.recursive(st.sampled_from(EDGES), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_value(document: Any) -> None:
    agree(document)


@pytest.mark.parametrize("definition", ["process", "resources"])
def test_a_part_alone(definition: str) -> None:
    authority = violations.authority(SCHEMA, definition)
    part = FULL["process"] if definition == "process" else FULL["linux"]["resources"]
    check = getattr(validator, definition)
    assert validator.verdict(check, part) == (True, False)
    for value in EDGES:
        for path in places(part)[:5]:
            document = changed(part, path, "replace", value)
            assert validator.verdict(check, document)[0] == authority.is_valid(document)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 3},
        {"type": "string", "pattern": "^unheard of$"},
        {"type": "integer"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "properties": {}, "minProperties": 1},
        {"anyOf": []},
    ],
    ids=lambda schema: max(schema, key=len),
)
def test_the_generator_refuses_what_it_does_not_know(schema: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="doesn't know how to check"):
        generator().check(schema)


def test_a_yes_imports_nothing_heavy() -> None:
    script = (
        "import sys; from pyoci.bundle import document, schema, rules\n"
        f"config = document.parse(open({str(ENGINE_CONFIGS[0])!r}, 'rb').read(), 'config.json')\n"
        "assert schema.check(config) == rules.check(config) == []\n"
        "print(*sorted(name for name in sys.modules if name.startswith('pyoci.') or name in"
        " ('json', 're', 'typing', 'jsonschema', 'collections.abc', 'enum', 'functools')))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    modules = (
        "pyoci.bundle",
        *(f"pyoci.bundle.{name}" for name in ("document", "rules", "schema", "validator")),
    )
    assert result.stdout.split() == list(modules)


def test_without_jsonschema_a_no_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyoci.bundle import schema

    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(Error, match="jsonschema") as raised:
        schema.check({})
    assert raised.value.code == "invalid-config"
