"""What is said of a document that a schema forbids."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings

from pyoci.bundle import schema
from pyoci.errors import Error
from support.documents import ENGINE_CONFIGS, FULL, mutated, read

MINIMAL = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"]}}


def messages(config: Any) -> list[str]:
    """One line for each violation."""
    with pytest.raises(Error) as raised:
        schema.check(config)
    assert raised.value.code == "invalid-config"
    lines = str(raised.value).split("\n")
    assert lines[0].startswith(
        f"{raised.value.pointer}: " if raised.value.pointer else "the whole document: "
    )
    return lines


def linux(**properties: Any) -> dict[str, Any]:
    return {**MINIMAL, "linux": properties}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "the whole document: an empty list was found; an object would do"),
        ({**MINIMAL, "ociVersion": None}, "/ociVersion: null was found; a string would do"),
        ({"root": {"path": "x"}}, "/ociVersion: nothing was found, and this property is required"),
        (
            {**MINIMAL, "process": {"cwd": "/", "args": "sh"}},
            '/process/args: the string "sh" was found; a list of strings would do',
        ),
        (
            {**MINIMAL, "process": {"cwd": "/", "args": [1]}},
            "/process/args/0: 1 was found; a string would do",
        ),
        (
            {**MINIMAL, "process": {"cwd": "/", "terminal": 1}},
            "/process/terminal: 1 was found; true or false would do",
        ),
        (
            {**MINIMAL, "process": {"cwd": "/", "user": {"uid": -1}}},
            "/process/user/uid: -1 was found; an integer from 0 to 4294967294 would do",
        ),
        (
            {**MINIMAL, "process": {"cwd": "/", "user": {"uid": {}}}},
            "/process/user/uid: an empty object was found; an integer from 0 to 4294967294 would do",
        ),
        (
            {**MINIMAL, "hooks": {"poststop": [{"path": "/x", "timeout": 0}]}},
            "/hooks/poststop/0/timeout: 0 was found; an integer of at least 1 would do",
        ),
        (
            linux(namespaces=[{"type": "networks"}]),
            '/linux/namespaces/0/type: the string "networks" was found; did you mean network?',
        ),
        (
            linux(personality={"domain": 5}),
            "/linux/personality/domain: 5 was found; one of LINUX, LINUX32 would do",
        ),
        (
            linux(resources={"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}),
            '/linux/resources/hugepageLimits/0/pageSize: the string "2mb" was found;'
            " a size like 64KB, 2MB or 1GB would do",
        ),
        (
            linux(
                seccomp={
                    "defaultAction": "SCMP_ACT_KILL",
                    "syscalls": [{"names": [], "action": "SCMP_ACT_KILL"}],
                }
            ),
            "/linux/seccomp/syscalls/0/names: an empty list was found; a list of at least 1 would do",
        ),
        (
            {**MINIMAL, "annotations": {"": "x"}},
            '/annotations: the name "" was found; one of at least one character',
        ),
        ({**MINIMAL, "annotations": {"a/b~": 1}}, "/annotations/a~1b~0: 1 was found; a string would do"),
        ({**MINIMAL, "hostname": ["x" * 9, 2]}, "/hostname: a list of 2 was found; a string would do"),
    ],
)
def test_one_violation(config: Any, message: str) -> None:
    (line,) = messages(config)
    assert line.startswith(message)


def test_long_values_are_shortened() -> None:
    (line,) = messages(linux(rootfsPropagation="x" * 5000))
    assert len(line) < 250
    assert "…" in line


def test_all_violations_nearest_first() -> None:
    config = copy.deepcopy(MINIMAL)
    del config["ociVersion"]
    config["linux"] = {"namespaces": [{"type": "x"}, {}]}
    config["hostname"] = 1
    config["process"] = {"args": [1]}
    pointers = [line.split(": ")[0] for line in messages(config)]
    assert sorted(pointers) == [
        "/hostname", "/linux/namespaces/0/type", "/linux/namespaces/1/type", "/ociVersion", "/process/args/0",
        "/process/cwd",
    ]  # fmt: skip
    assert [pointer.count("/") for pointer in pointers] == sorted(pointer.count("/") for pointer in pointers)


@settings(max_examples=80)
@given(mutated([FULL, *map(read, ENGINE_CONFIGS)]))
def test_every_refusal_names_values_that_are_there(document: Any) -> None:
    """Each line's pointer leads to a value, or to a name missing in an object."""
    try:
        schema.check(document)
    except Error as error:
        for line in str(error).split("\n"):
            place = line.split(": ")[0].removeprefix("the whole document")
            value = document
            for part in place.split("/")[1:]:
                part = part.replace("~1", "/").replace("~0", "~")
                if isinstance(value, dict) and part not in value:
                    assert line.endswith("nothing was found, and this property is required")
                    break
                value = value[int(part)] if isinstance(value, list) else value[part]


def test_a_process_alone_has_the_prefix_it_is_given() -> None:
    assert schema.check_process({"cwd": "/"}) == []
    with pytest.raises(Error) as raised:
        schema.check_process({"cwd": 1, "user": []}, "/process")
    assert raised.value.pointer == "/process/cwd"
    with pytest.raises(Error) as raised:
        schema.check_process([])
    assert str(raised.value) == "the whole document: an empty list was found; an object would do"
    assert schema.check_process({"cwd": "/", "arg": []}, "/process")[0].startswith("/process/arg: ")


def test_resources_alone() -> None:
    assert schema.check_resources(FULL["linux"]["resources"]) == []
    with pytest.raises(Error) as raised:
        schema.check_resources({"pids": {}}, "/linux/resources")
    assert raised.value.pointer == "/linux/resources/pids/limit"


@pytest.mark.parametrize(
    ("config", "pointer", "meant"),
    [
        ({**MINIMAL, "process": {"cwd": "/", "argz": []}}, "/process/argz", "args"),
        ({**MINIMAL, "Root": {}}, "/Root", ""),  # root is there too
        ({**MINIMAL, "mounts": [{"destination": "/x", "Source": ""}]}, "/mounts/0/Source", "source"),
        (linux(cgroupspath="x"), "/linux/cgroupspath", "cgroupsPath"),
        (linux(netDevices={"eth0": {"x/y": 1}}), "/linux/netDevices/eth0/x~1y", ""),
        (linux(timeOffsets={"realtime": {}}), "/linux/timeOffsets/realtime", ""),
    ],
)
def test_unknown_properties_are_warned_of(config: dict[str, Any], pointer: str, meant: str) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    assert schema.check(config) == [f"{pointer}: this property is unknown and ignored{hint}"]


def test_maps_and_other_platforms_have_no_unknown_properties() -> None:
    config = {**MINIMAL, "annotations": {"x": "y"}, "windows": {"x": 1}, "linux": {"sysctl": {"x": "y"}}}
    assert schema.check(config) == []
