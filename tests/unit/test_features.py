"""The features document: valid, and true of the code it describes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT7

from pyoci.bundle import schema
from pyoci.bundle.template import document as template
from pyoci.cgroup import layout, manager
from pyoci.errors import Error
from pyoci.host import features, seccomp
from pyoci.plan import mount_options
from pyoci.plan.compile import compile_container
from pyoci.plan.situation import Situation
from tests.support.documents import SCHEMAS, SPECIFICATION, read

DOCUMENT = features.document()
LINUX = DOCUMENT["linux"]


def compiles(change: dict[str, Any]) -> bool:
    """Whether the template with these properties of `linux` becomes a plan."""
    config = template(False)
    config["linux"].update(change)
    schema.check(config)
    try:
        compile_container(config, Situation(), bundle="/bundle", rootfs="/bundle/rootfs")
    except Error as error:
        assert error.code == "not-supported"
        return False
    return True


@pytest.mark.parametrize("directory", [SCHEMAS, SPECIFICATION], ids=["ours", "specification"])
def test_it_is_valid(directory: Path) -> None:
    if not directory.exists():
        pytest.skip("the specification's schemas are not beside this tree")
    schemas = {path.name: read(path) for path in directory.glob("*.json")}
    resources = [(name, DRAFT7.create_resource(content)) for name, content in schemas.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    jsonschema.Draft7Validator(schemas["features-schema.json"], registry=registry).validate(DOCUMENT)


@pytest.mark.parametrize("name", LINUX["namespaces"])
def test_a_namespace_it_names_can_be_asked_for(name: str) -> None:
    kinds = {"mount", "pid", name}
    change = {"namespaces": [{"type": kind} for kind in sorted(kinds)]}
    if name == "user":
        change["uidMappings"] = change["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert compiles(change)


def test_mount_options_are_honoured_and_never_data() -> None:
    assert len(DOCUMENT["mountOptions"]) > 60
    for name in DOCUMENT["mountOptions"]:
        assert not mount_options.parse([name]).data


def test_what_it_denies_is_refused_and_what_it_claims_is_not() -> None:
    assert compiles({"intelRdt": {"closID": "x"}}) == LINUX["intelRdt"]["enabled"]
    assert compiles({"netDevices": {"eth0": {}}}) == LINUX["netDevices"]["enabled"]
    for mode in LINUX["memoryPolicy"]["modes"]:
        assert compiles(
            {"memoryPolicy": {"mode": mode, "nodes": "0", "flags": LINUX["memoryPolicy"]["flags"]}}
        )
    idmap = {"destination": "/x", "source": "/x", "type": "none", "options": ["bind"],
             "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
             "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}  # fmt: skip
    config = {**template(False), "mounts": [idmap]}
    try:
        compile_container(config, Situation(), bundle="/bundle", rootfs="/bundle/rootfs")
    except Error as error:
        assert error.code == "not-supported"
        assert not LINUX["mountExtensions"]["idmap"]["enabled"]
    else:
        assert LINUX["mountExtensions"]["idmap"]["enabled"]


def test_the_systemd_driver() -> None:
    """It gets as far as asking systemd, where there is one."""
    assert LINUX["cgroup"]["systemd"]
    assert "org.systemd.property." in DOCUMENT["potentiallyUnsafeConfigAnnotations"]
    try:
        manager.new(layout.detect(), "a.slice:b:c", "id", "systemd")
    except Error as error:
        assert (error.code, "can't reach systemd" in error.message) == ("not-found", True)


def test_supported_flags_are_the_kernel_s() -> None:
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    wanted = {"SECCOMP_FILTER_FLAG_TSYNC"}
    wanted |= {"SECCOMP_FILTER_FLAG_LOG"} if version >= (4, 14) else set()
    wanted |= {"SECCOMP_FILTER_FLAG_SPEC_ALLOW"} if version >= (4, 17) else set()
    wanted |= {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"} if version >= (5, 19) else set()
    assert set(LINUX["seccomp"]["supportedFlags"]) == wanted
    assert set(LINUX["seccomp"]["knownFlags"]) == seccomp.FLAGS.keys()


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
def test_it_claims_all_that_an_older_runc_does() -> None:
    """But for two options that go to the filesystem, whose they are."""
    theirs = json.loads(subprocess.run(["runc", "features"], check=True, capture_output=True).stdout)
    missing = set(theirs["mountOptions"]) - set(DOCUMENT["mountOptions"])
    assert missing <= {"acl", "noacl"}
    assert set(theirs["hooks"]) <= set(DOCUMENT["hooks"])
    for key in ("namespaces", "capabilities"):
        assert set(theirs["linux"][key]) <= set(LINUX[key])
    for key in ("actions", "operators", "archs"):
        assert set(theirs["linux"]["seccomp"][key]) <= set(LINUX["seccomp"][key])
