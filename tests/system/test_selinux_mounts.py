"""Labels where SELinux is: a container's mounts as linux.mountLabel says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import selinux
from support.containers import Bundle, Runtime

pytestmark = selinux.NEEDED
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture(autouse=True, scope="module")
def _policy(tmp_path_factory: pytest.TempPathFactory) -> None:
    selinux.load(tmp_path_factory.mktemp("policy"))


def labels(runtime: Runtime, bundle: Bundle, *places: str) -> list[str]:
    """The labels of directories of a running container."""
    bundle.config["linux"]["mountLabel"] = LABEL
    bundle.config["mounts"].append({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"})
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    root = f"/proc/{runtime.state('box')['pid']}/root"
    return [os.getxattr(root + place, "security.selinux").rstrip(b"\0").decode() for place in places]


def mount_options(runtime: Runtime, place: str) -> str:
    lines = Path(f"/proc/{runtime.state('box')['pid']}/mountinfo").read_text().splitlines()
    return next(line.split(" ")[-1] for line in lines if line.split(" ")[4] == place)


def test_every_filesystem_but_the_kernels_own(runtime: Runtime, bundle: Bundle) -> None:
    found = labels(runtime, bundle, "/dev", "/dev/pts", "/dev/mqueue", "/proc", "/sys")
    assert found[:3] == [LABEL] * 3
    assert LABEL not in found[3:]
    assert f'context="{LABEL}"' in mount_options(runtime, "/dev").split(",mode")[0]
    runtime.ok("delete", "--force", "box")


def test_the_context_that_an_annotation_chooses(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"run.oci.mount_context_type": "rootcontext"}
    assert labels(runtime, bundle, "/dev") == [LABEL]
    assert f'rootcontext="{LABEL}"' in mount_options(runtime, "/dev")
    runtime.ok("delete", "--force", "box")


def test_mounts_that_are_added(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    labels(runtime, bundle)
    (tmp_path / "mounts").write_text('[{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]')
    runtime.ok("mounts", "add", "box", str(tmp_path / "mounts"))
    assert f'context="{LABEL}"' in mount_options(runtime, "/tmp")
    runtime.ok("delete", "--force", "box")


def test_a_label_that_the_policy_doesnt_know(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["mountLabel"] = "a:b:c:s0"
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert """SELinux's policy must know context="a:b:c:s0\"""" in done.stderr
