"""The project's schemas agree with the specification's own, but for the differences named here.

Each difference says how the specification's schema would have to read to agree, and shows a
document on which the two differ. With all of them applied, the schemas agree on every document.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from jsonschema import Draft4Validator, Draft7Validator, validators
from referencing import Registry
from referencing.jsonschema import DRAFT7

from pyoci.bundle import violations
from support.documents import ENGINE_CONFIGS, FULL, SCHEMAS, SPECIFICATION, inline, mutated, read

pytestmark = pytest.mark.skipif(
    not SPECIFICATION.is_dir(), reason="the specification's schemas are not beside this clone (PYOCI_SPEC)"
)

KINDS = ("config", "state", "features")
STRING, BOOLEAN = {"type": "string"}, {"type": "boolean"}
STRINGS = {"type": "array", "items": STRING}
PATH = {"type": "string", "pattern": "^[^\\u0000]*$"}
ID = {"maximum": 2**32 - 2}
DEVICE = {"major": 1, "minor": 1}


class Difference(NamedTuple):
    """Where the project's schemas say otherwise than the specification's, and why."""

    why: str
    file: str
    place: str  # in that file, names separated by slashes
    change: dict[str, Any]  # keywords to set there; None takes one away
    example: dict[str, Any]  # the part of a document on which the two differ
    valid: bool  # what ours says of it
    kind: str = "config"


def linux(name: str, value: Any) -> dict[str, Any]:
    return {"linux": {name: value}}


def resources(name: str, value: Any) -> dict[str, Any]:
    return linux("resources", {name: value})


def process(name: str, value: Any) -> dict[str, Any]:
    return {"process": {"cwd": "/", name: value}}


LINUX, RESOURCES = "linux/properties", "linux/properties/resources/properties"
PROCESS = "properties/process/properties"
DIFFERENCES = [
    Difference(
        "a path ends at a NUL", "defs.json", "definitions/FilePath", PATH, {"root": {"path": "a\0b"}}, False
    ),
    Difference(
        "cwd is a path", "config-schema.json", f"{PROCESS}/cwd", PATH, {"process": {"cwd": "/\0"}}, False
    ),
    Difference(
        "cgroupsPath is a path",
        "config-linux.json",
        f"{LINUX}/cgroupsPath",
        PATH,
        linux("cgroupsPath", "\0"),
        False,
    ),
    Difference(
        "maskedPaths are paths",
        "config-linux.json",
        f"{LINUX}/maskedPaths",
        {"$ref": None, "type": "array", "items": PATH},
        linux("maskedPaths", ["\0"]),
        False,
    ),
    Difference(
        "readonlyPaths are paths",
        "config-linux.json",
        f"{LINUX}/readonlyPaths",
        {"$ref": None, "type": "array", "items": PATH},
        linux("readonlyPaths", ["\0"]),
        False,
    ),
    Difference(
        "listenerPath is a path",
        "config-linux.json",
        f"{LINUX}/seccomp/properties/listenerPath",
        PATH,
        linux("seccomp", {"defaultAction": "SCMP_ACT_KILL", "listenerPath": "\0"}),
        False,
    ),
    Difference(
        "annotations' names aren't empty (config.md#annotations)",
        "defs.json",
        "definitions/annotations",
        {"$ref": None, "type": "object", "additionalProperties": STRING, "not": {"required": [""]}},
        {"annotations": {"": "x"}},
        False,
    ),
    Difference(
        "a map's values are strings whatever the name: .{1,} leaves out the empty one and line breaks",
        "defs.json",
        "definitions/mapStringString",
        {"patternProperties": None, "additionalProperties": STRING},
        linux("sysctl", {"": 1}),
        False,
    ),
    Difference(
        "4294967295 is no user",
        "defs.json",
        "definitions/UID",
        {"$ref": None, "type": "integer", "minimum": 0, **ID},
        process("user", {"uid": 2**32 - 1}),
        False,
    ),
    Difference(
        "4294967295 is no group",
        "defs.json",
        "definitions/GID",
        {"$ref": None, "type": "integer", "minimum": 0, **ID},
        process("user", {"gid": 2**32 - 1}),
        False,
    ),
    *(
        Difference(
            "4294967295 maps nobody",
            "defs.json",
            f"definitions/IDMapping/properties/{name}",
            {"$ref": None, "type": "integer", "minimum": 0, **ID},
            linux("uidMappings", [{"containerID": 0, "hostID": 0, "size": 1, name: 2**32 - 1}]),
            False,
        )
        for name in ("containerID", "hostID")
    ),
    Difference(
        "a mapping of nothing is refused by the kernel",
        "defs.json",
        "definitions/IDMapping/properties/size",
        {"$ref": None, "type": "integer", "minimum": 1, "maximum": 2**32 - 1},
        linux("uidMappings", [{"containerID": 0, "hostID": 0, "size": 0}]),
        False,
    ),
    Difference(
        "an rlimit that Linux doesn't have is an error (config.md#posix-process)",
        "config-schema.json",
        f"{PROCESS}/rlimits/items/properties/type",
        {
            "pattern": "^RLIMIT_(AS|CORE|CPU|DATA|FSIZE|LOCKS|MEMLOCK|MSGQUEUE|NICE|NOFILE|NPROC|RSS|RTPRIO"
            "|RTTIME|SIGPENDING|STACK)$"
        },
        process("rlimits", [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        False,
    ),
    Difference(
        "the kernel's range of oom_score_adj",
        "config-schema.json",
        f"{PROCESS}/oomScoreAdj",
        {"minimum": -1000, "maximum": 1000},
        process("oomScoreAdj", 1001),
        False,
    ),
    Difference(
        "engines leave the file type's bits in a mode",
        "defs.json",
        "definitions/FileMode",
        {"maximum": 65535},
        linux("devices", [{"type": "c", "path": "/x", "fileMode": 0o20666}]),
        True,
    ),
    Difference(
        "recursive propagation, as every runtime has it",
        "defs-linux.json",
        "definitions/RootfsPropagation",
        {
            "enum": [
                prefix + name for prefix in ("", "r") for name in ("private", "shared", "slave", "unbindable")
            ]
        },
        linux("rootfsPropagation", "rslave"),
        True,
    ),
    Difference(
        "domain is required (config-linux.md#personality)",
        "defs-linux.json",
        "definitions/Personality",
        {"required": ["domain"]},
        linux("personality", {}),
        False,
    ),
    Difference(
        "mode is required (config-linux.md#memory-policy)",
        "config-linux.json",
        f"{LINUX}/memoryPolicy",
        {"required": ["mode"]},
        linux("memoryPolicy", {}),
        False,
    ),
    *(
        Difference(
            "what earlier versions had keeps its type",
            "config-linux.json",
            f"{LINUX}/intelRdt/properties",
            {name: BOOLEAN},
            linux("intelRdt", {name: "x"}),
            False,
        )
        for name in ("enableCMT", "enableMBM")
    ),
    Difference(
        "a second is no nanosecs",
        "defs-linux.json",
        "definitions/TimeOffsets/properties/nanosecs",
        {"$ref": None, "type": "integer", "minimum": 0, "maximum": 10**9 - 1},
        linux("timeOffsets", {"boottime": {"nanosecs": 10**9}}),
        False,
    ),
    Difference(
        "all, character or block (config-linux.md#allowed-device-list)",
        "defs-linux.json",
        "definitions/DeviceCgroup/properties/type",
        {"enum": ["a", "c", "b"]},
        resources("devices", [{"allow": True, "type": "p"}]),
        False,
    ),
    Difference(
        "read, write and mknod (config-linux.md#allowed-device-list)",
        "defs-linux.json",
        "definitions/DeviceCgroup/properties/access",
        {"pattern": "^[rwm]*$"},
        resources("devices", [{"allow": True, "access": "x"}]),
        False,
    ),
    Difference(
        "rate is required (config-linux.md#block-io)",
        "defs-linux.json",
        "definitions/blockIODeviceThrottle",
        {"required": ["rate"]},
        resources("blockIO", {"throttleReadBpsDevice": [DEVICE]}),
        False,
    ),
    *(
        Difference(
            "other platforms' sections are accepted, as pyoci ignores them",
            "config-schema.json",
            f"properties/{name}",
            {"$ref": None, "type": "object"},
            {name: example},
            True,
        )
        for name, example in {
            "solaris": {"milestone": 1},
            "windows": {},
            "vm": {},
            "zos": {"namespaces": 1},
            "freebsd": {"jail": {"vnet": "disable"}},
        }.items()
    ),
    Difference(
        "runtimes' own status",
        "state-schema.json",
        "properties/status",
        {"enum": ["creating", "created", "running", "paused", "stopped"]},
        {"status": "paused"},
        True,
        "state",
    ),
    *(
        Difference(
            "an addition of runc's",
            "state-schema.json",
            "properties",
            {name: STRING},
            {name: 1},
            False,
            "state",
        )
        for name in ("rootfs", "created", "owner")
    ),
    *(
        Difference(
            "the specification's text has it, its schema not yet",
            "features-linux.json",
            "linux/properties/intelRdt/properties",
            {name: BOOLEAN},
            {"linux": {"intelRdt": {name: 1}}},
            False,
            "features",
        )
        for name in ("schemata", "monitoring")
    ),
    Difference(
        "the specification's text has it, its schema not yet",
        "features-linux.json",
        "linux/properties",
        {"memoryPolicy": {"type": "object", "properties": {"modes": STRINGS, "flags": STRINGS}}},
        {"linux": {"memoryPolicy": {"modes": 1}}},
        False,
        "features",
    ),
]
LEAST = {
    "config": {"ociVersion": "1.3.0"},
    "state": {"ociVersion": "1.3.0", "id": "x", "status": "created", "bundle": "/b"},
    "features": {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0"},
}


def applied(differences: list[Difference]) -> dict[str, Any]:
    """The specification's files with these differences."""
    files = {path.name: read(path) for path in SPECIFICATION.glob("*.json")}
    for difference in differences:
        target = files[difference.file]
        for name in difference.place.split("/"):
            target = target[name]
        target.update(copy.deepcopy(difference.change))
        for name in [name for name, value in difference.change.items() if value is None]:
            target.pop(name)
    return files


def whole(files: dict[str, Any], kind: str) -> dict[str, Any]:
    """The schema of one kind of document without references."""
    name = f"{kind}-schema.json"
    return inline(files[name], files[name], files.__getitem__)


def theirs(schema: dict[str, Any], draft: Any = Draft7Validator) -> Any:
    """A validator of the specification's: by default with draft-07's integers, which 1.0 is one of."""
    ours = violations.authority({})
    extended = validators.extend(
        Draft4Validator, {"pattern": ours.VALIDATORS["pattern"]}, type_checker=draft.TYPE_CHECKER
    )
    return extended(schema)


def our_schema(kind: str) -> dict[str, Any]:
    schema = read(SCHEMAS / f"{kind}-schema.json")
    return inline(schema, schema, lambda file: read(SCHEMAS / file))


if SPECIFICATION.is_dir():
    OURS = {kind: violations.authority(our_schema(kind)) for kind in KINDS}
    AGREEING = {kind: theirs(whole(applied(DIFFERENCES), kind)) for kind in KINDS}
    EXAMPLES = sorted(SPECIFICATION.glob("examples/*/*/*.json"))
else:
    OURS, AGREEING, EXAMPLES = {}, {}, []


def example_id(path: Path) -> str:
    return "-".join([*path.parent.parts[-2:], path.stem])


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_draft_07(kind: str) -> None:
    schema = read(SCHEMAS / f"{kind}-schema.json")
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def test_references_between_schemas_resolve_as_files() -> None:
    """As an editor resolves them, which reads the schemas where they are."""
    registry: Any = Registry(
        retrieve=lambda uri: DRAFT7.create_resource(read(SCHEMAS / uri.rpartition("/")[2]))
    )
    for kind in KINDS:
        schema = {"$ref": f"file:///schemas/{kind}-schema.json"}
        validator = Draft7Validator(schema, registry=registry)
        assert validator.is_valid(LEAST[kind])
        assert not validator.is_valid({**LEAST[kind], "linux": {"namespaces": ["none"]}}) or kind == "state"


@pytest.mark.parametrize("path", EXAMPLES, ids=example_id)
def test_examples(path: Path) -> None:
    kind, verdict = path.parent.parts[-2:]
    try:
        document = json.loads(path.read_text())
    except ValueError:
        assert verdict == "bad"
        return
    # its section is another platform's, see the table
    expected = verdict == "good" or path.stem == "freebsd-vnet-disable"
    assert OURS[kind].is_valid(document) == expected


@pytest.mark.parametrize(
    "difference", DIFFERENCES, ids=lambda difference: f"{difference.kind}-{difference.place}"
)
def test_each_difference_is_one(difference: Difference) -> None:
    """Without it the schemas would disagree on its example, and with it they don't."""
    document = {**LEAST[difference.kind], **difference.example}
    others = [other for other in DIFFERENCES if other is not difference]
    assert OURS[difference.kind].is_valid(document) == difference.valid
    assert theirs(whole(applied([]), difference.kind)).is_valid(document) != difference.valid
    assert theirs(whole(applied(others), difference.kind)).is_valid(document) != difference.valid
    assert AGREEING[difference.kind].is_valid(document) == difference.valid


def test_the_difference_between_the_drafts() -> None:
    """1.0 is an integer since draft-06; document.parse makes it one."""
    document = {"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {"uid": 1.0}}}
    assert OURS["config"].is_valid(document)
    assert not theirs(whole(applied(DIFFERENCES), "config"), Draft4Validator).is_valid(document)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_they_agree_on_generated_documents(kind: str, side: str) -> None:
    schema = our_schema(kind) if side == "ours" else whole(applied([]), kind)

    @settings(max_examples=40 if kind == "config" else 20)
    @given(from_schema(schema), st.data())
    def agree(document: Any, data: st.DataObject) -> None:
        assert OURS[kind].is_valid(document) == AGREEING[kind].is_valid(document)
        worse = data.draw(mutated([document]))
        assert OURS[kind].is_valid(worse) == AGREEING[kind].is_valid(worse)

    agree()


@settings(max_examples=150)
@given(mutated([FULL, *map(read, ENGINE_CONFIGS)]))
def test_they_agree_on_mutated_configs(document: Any) -> None:
    assert OURS["config"].is_valid(document) == AGREEING["config"].is_valid(document)
