"""Every property of the specification that is about files, and the tests that show it.

The table is held against schemas/config-schema.json: a property without a test, or a test that is no
more, fails.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.documents import SCHEMAS

TESTS = Path(__file__).resolve().parents[1]
# The parts of config.json that are about files; {} stands for an entry of an array
SUBJECTS = (
    "/root",
    "/mounts",
    "/linux/devices",
    "/linux/maskedPaths",
    "/linux/readonlyPaths",
    "/linux/rootfsPropagation",
    "/linux/mountLabel",
)
SHOWN = {
    "/root/path": ("system/test_rootfs.py::test_the_root_may_be_named_in_any_way",
                   "system/test_rootfs.py::test_a_root_that_is_none"),
    "/root/readonly": ("system/test_rootfs.py::test_a_read_only_root",
                       "system/test_rootfs.py::test_the_root_is_writable_otherwise"),
    "/mounts/{}/destination": ("system/test_executor_mounts.py::test_targets_are_made_with_their_modes",
                               "system/test_attacks.py::test_attack"),
    "/mounts/{}/source": ("system/test_executor_mounts.py::test_binding",
                          "system/test_executor_mounts.py::test_what_cant_be_bound"),
    "/mounts/{}/type": ("system/test_executor_mounts.py::test_the_root_is_all_there_is",),
    "/mounts/{}/options": ("system/test_executor_mounts.py::test_mount_options_reach_mount_and_superblock",
                           "system/test_rootfs.py::test_a_mounts_own_propagation_stays"),
    "/mounts/{}/uidMappings": ("system/test_idmap.py::test_owners",),
    "/mounts/{}/gidMappings": ("system/test_idmap.py::test_owners",),
    "/linux/devices/{}/type": ("system/test_devices.py::test_devices",),
    "/linux/devices/{}/path": ("system/test_devices.py::test_devices",
                               "system/test_devices.py::test_an_asked_one_instead_of_a_default",
                               "system/test_devices.py::test_something_else_is_there"),
    "/linux/devices/{}/major": ("system/test_devices.py::test_devices",
                                "system/test_devices.py::test_a_device_that_the_host_hasnt"),
    "/linux/devices/{}/minor": ("system/test_devices.py::test_devices",
                                "system/test_devices.py::test_a_device_that_the_host_hasnt"),
    "/linux/devices/{}/fileMode": ("system/test_devices.py::test_devices",
                                   "system/test_devices.py::test_in_a_user_namespace_a_device_is_the_hosts"),
    "/linux/devices/{}/uid": ("system/test_devices.py::test_devices",
                              "system/test_devices.py::test_in_a_user_namespace_a_device_is_the_hosts"),
    "/linux/devices/{}/gid": ("system/test_devices.py::test_devices",
                              "system/test_devices.py::test_in_a_user_namespace_a_device_is_the_hosts"),
    "/linux/maskedPaths/{}": ("system/test_masks.py::test_what_is_masked_is_empty_and_stays_so",
                              "system/test_masks.py::test_a_link_is_masked_itself"),
    "/linux/readonlyPaths/{}": ("system/test_masks.py::test_read_only_paths",),
    "/linux/rootfsPropagation": ("system/test_rootfs.py::test_propagation",),
    "/linux/mountLabel": ("unit/test_labels.py::test_filesystems_get_it",
                          "system/test_selinux_mounts.py::test_every_filesystem_but_the_kernels_own"),
}  # fmt: skip


def properties(schema: dict[str, Any], place: str) -> Iterator[str]:
    """The leaves beneath a place of the schema."""
    if reference := schema.get("$ref"):
        schema = SCHEMA["definitions"][reference.rpartition("/")[2]] | schema
    if "properties" in schema:
        for name, value in schema["properties"].items():
            yield from properties(value, f"{place}/{name}")
    elif schema.get("type") == "array" and _is_within(place):
        yield from properties(schema["items"], f"{place}/{{}}")
    else:
        yield place


def _is_within(place: str) -> bool:
    """Of arrays, options and mappings are a property as a whole."""
    return place in SUBJECTS


SCHEMA = json.loads((SCHEMAS / "config-schema.json").read_text())
ALL = [place for place in properties(SCHEMA, "") if place.startswith(SUBJECTS)]


def test_every_property_is_shown() -> None:
    assert set(SHOWN) == set(ALL)


@pytest.mark.parametrize("test", sorted({test for tests in SHOWN.values() for test in tests}))
def test_the_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    functions = [
        node.name for node in ast.parse((TESTS / path).read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    assert name in functions
