"""linux.mountLabel: which of a container's mounts get it, and how."""

from __future__ import annotations

import pytest

from pyoci.errors import Error
from pyoci.plan.compile import compile_container
from pyoci.plan.situation import CgroupHierarchy, CgroupView, Situation
from pyoci.plan.steps import TABLE

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def options(*mounts: dict, **more: object) -> dict[str, list[str]]:
    """Type of each filesystem that is mounted -> its options, with the steps that label as `labelled`."""
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "mounts": list(mounts),
        "linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}], "mountLabel": LABEL},
        **more,
    }
    situation = Situation()
    situation.cgroups = CgroupView(False, [CgroupHierarchy("memory", ["memory"], "/m/x")])
    found: dict[str, list[str]] = {}
    for step in compile_container(config, situation, bundle="/b", rootfs="/b/rootfs").steps:
        values = dict(zip(TABLE[step.op][2], step.args, strict=True))
        if step.op == "mount_filesystem":
            found[values["type"]] = list(values["options"])
        if step.op == "label_path":
            assert step.pointer == "/linux/mountLabel"
            found["labelled"] = [values["path"], values["value"]]
    return found


def filesystem(kind: str, *given: str) -> dict:
    return {"destination": f"/{kind}", "type": kind, "source": kind, "options": list(given)}


@pytest.mark.parametrize("kind", ["tmpfs", "devpts", "overlay", "ext4", "ramfs"])
def test_filesystems_get_it(kind: str) -> None:
    assert options(filesystem(kind, "nosuid", "x=1"))[kind] == ["x=1", f'context="{LABEL}"']


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup2"])
def test_those_of_the_kernels_dont(kind: str) -> None:
    assert options(filesystem(kind)) == {kind: []}


def test_mqueue_gets_an_attribute() -> None:
    assert options(filesystem("mqueue")) == {"mqueue": [], "labelled": ["/mqueue", LABEL]}


def test_the_holder_of_cgroup_hierarchies_gets_it() -> None:
    found = options(filesystem("cgroup"))
    assert found == {"tmpfs": ["mode=755", f'context="{LABEL}"'], "cgroup": ["memory"]}


def test_a_mounts_own_context_stays() -> None:
    own = 'rootcontext="a:b:c:s0"'
    assert options(filesystem("tmpfs", own))["tmpfs"] == [own]


def test_a_bind_mount_has_its_sources() -> None:
    assert options({"destination": "/x", "source": "/y", "options": ["bind"]}) == {}


@pytest.mark.parametrize("context", ["context", "fscontext", "defcontext", "rootcontext"])
def test_the_kind_of_context(context: str) -> None:
    found = options(filesystem("tmpfs"), annotations={"run.oci.mount_context_type": context})
    assert found["tmpfs"] == [f'{context}="{LABEL}"']


def test_wrong_ones() -> None:
    with pytest.raises(Error, match="no option by which SELinux") as raised:
        options(annotations={"run.oci.mount_context_type": "kontext"})
    assert raised.value.pointer == "/annotations/run.oci.mount_context_type"
    linux = {"namespaces": [{"type": "mount"}], "mountLabel": 'a",size=1'}
    with pytest.raises(Error, match="quotation mark") as raised:
        options(filesystem("tmpfs"), linux=linux)
    assert raised.value.pointer == "/linux/mountLabel"
