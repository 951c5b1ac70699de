"""The document of `pyoci spec`: valid, and runc's but for the differences named here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyoci.bundle import rules, schema
from pyoci.bundle.template import document
from pyoci.plan.compile import compile_container
from pyoci.plan.situation import Situation

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/config-schema.json").read_text())

# JSON pointer -> why ours isn't runc's
DIFFERENCES = {
    "/ociVersion": "each names the version it implements",
    "/hostname": "each names itself",
    "/process/capabilities/ambient": "older runc: without inheritable ones they do nothing, capabilities(7)",
    "/process/capabilities/inheritable": "older runc: inheritable capabilities are a risk (CVE-2022-29162)",
    "/linux/maskedPaths": "ours also hides interrupt counts and power use, side channels both, as engines do",
    "/linux/namespaces": "runc makes a cgroup namespace only on cgroup v2 alone: a path tells of the host",
}


def differences(ours: Any, theirs: Any, at: str = "") -> set[str]:
    """The pointers at which two documents differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {where for key in ours.keys() | theirs.keys()
                for where in differences(ours.get(key), theirs.get(key), f"{at}/{key}")}  # fmt: skip
    return set() if ours == theirs else {at}


@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_valid(rootless: bool) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(document(rootless))
    assert rules.check(document(rootless)) == []


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_it_is_what_runc_writes_but_for_named_differences(flags: list[str], tmp_path: Path) -> None:
    subprocess.run(["runc", "spec", *flags, "--bundle", tmp_path], check=True)
    ours, theirs = document(bool(flags)), json.loads((tmp_path / "config.json").read_text())
    assert differences(ours, theirs) <= DIFFERENCES.keys()
    assert set(ours["linux"]["maskedPaths"]) > set(theirs["linux"]["maskedPaths"])


@pytest.mark.parametrize("rootless", [False, True])
def test_the_cgroup_is_not_seen_by_its_name_on_the_host(rootless: bool) -> None:
    assert {"type": "cgroup"} in document(rootless)["linux"]["namespaces"]


def test_no_capability_is_inheritable() -> None:
    assert "inheritable" not in document(False)["process"]["capabilities"]


def test_the_rootless_one_is_for_the_caller() -> None:
    linux = document(True)["linux"]
    assert [entry["type"] for entry in linux["namespaces"]].count("user") == 1
    assert (linux["uidMappings"][0]["hostID"], linux["gidMappings"][0]["hostID"]) == (
        os.geteuid(),
        os.getegid(),
    )
    assert "resources" not in linux


@pytest.mark.parametrize("rootless", [False, True])
def test_it_leads_to_no_warning(rootless: bool) -> None:
    config = document(rootless)
    situation = Situation()
    assert [*schema.check(config), *rules.check(config)] == []
    compile_container(config, situation, bundle="/bundle", rootfs="/bundle/rootfs")
    assert situation.warnings == []
