"""A whole `pyoci run` on kernels without the newer mount calls shows the container what it shows on others.

strace stands for such a kernel: to the runtime and to all it starts it answers these calls with ENOSYS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace isn't installed")

MOUNT_API = ("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr")
KERNELS = {
    "5.1": (*MOUNT_API, "openat2"),
    "5.11": ("mount_setattr",),
    "without open_tree": ("open_tree",),
    "without fsopen": ("fsopen",),
    "without openat2": ("openat2",),
}
# What the container tells of itself: its mounts, and some of the files in them, without their times.
FILES = "/filled /filled/* /bound /bound/* /proc/kcore /masked /masked/* /shm /tmp/file /dev/*"
SCRIPT = f"cat /proc/self/mountinfo /bound/file /filled/file; stat -c '%n %A %u:%g %t:%T' {FILES}; true"


def run(runtime: Runtime, bundle: Bundle, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = runtime.command("run", "--bundle", str(bundle.save()), "box")
    if missing:
        inject = f"inject={','.join(missing)}:error=ENOSYS"
        command = ["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", inject, *command]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def view(output: str) -> list[str]:
    """The output with what differs from run to run taken out: numbers of mounts, devices and peer groups."""
    lines = []
    for line in output.splitlines():
        if " - " in line:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            tags = [re.sub(r":\d+", "", tag) for tag in fields[6:]]
            line = " ".join([fields[3], fields[4], fields[5], *tags, "-", after])
        lines.append(line)
    return lines


def bind(source: Path | str, to: str, *options: str) -> dict[str, Any]:
    return {"destination": to, "type": "bind", "source": str(source), "options": ["bind", *options]}


def ordinary(bundle: Bundle) -> None:
    """What nearly every container has."""
    bundle.config["mounts"].append(bind(bundle.path / "data", "/bound", "ro", "nosuid"))


def full(bundle: Bundle) -> None:
    """All that can be had without the new calls."""
    ordinary(bundle)
    bundle.config["mounts"] += [
        bind(bundle.path / "data/file", "/tmp/file", "rbind", "noexec", "private"),
        {"destination": "/filled", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]},
        {"destination": "/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "nodev", "noatime", "mode=1770", "size=64k", "shared"]},
        {"destination": "/shm", "options": ["remount", "noexec"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]},
    ]  # fmt: skip
    linux = bundle.config["linux"]
    linux["maskedPaths"] += ["/masked", "/proc/bus", "/proc/timer_list", "/bin/cat.old"]
    linux["readonlyPaths"] += ["/etc", "/bound"]
    linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640}]
    linux["rootfsPropagation"] = "slave"
    bundle.config["root"]["readonly"] = True


def user_namespace(bundle: Bundle) -> None:
    """The runtime itself opens the sources of binds."""
    ordinary(bundle)
    bundle.in_user_namespace()
    bundle.config["linux"]["maskedPaths"] += ["/masked", "/proc/bus"]


def full_user_namespace(bundle: Bundle) -> None:
    """The same where devices are binds of the host's; the image is that of the container's root."""
    full(bundle)
    bundle.in_user_namespace()
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)


@pytest.fixture
def full_bundle(bundle: Bundle) -> Bundle:
    for name in ("filled/below", "masked", "bound", "shm"):
        (bundle.rootfs / name).mkdir(parents=True)
    (bundle.rootfs / "filled/file").write_text("of the image")
    (bundle.rootfs / "filled").chmod(0o751)
    (bundle.rootfs / "bin/cat.old").write_text("an old one")
    (bundle.path / "data").mkdir()
    (bundle.path / "data/file").write_text("of the host\n")
    return bundle.shell(f"({SCRIPT}) 2>&1")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [ordinary, full, user_namespace, full_user_namespace])
def test_the_container_is_the_same(
    runtime: Runtime, full_bundle: Bundle, shape: Callable[[Bundle], None], kernel: str
) -> None:
    shape(full_bundle)
    expected = run(runtime, full_bundle)
    assert expected.returncode == 0, expected.stderr
    assert "of the host" in expected.stdout
    assert "/dev/null crw-rw-rw- " in expected.stdout
    found = run(runtime, full_bundle, KERNELS[kernel])
    assert (found.returncode, found.stderr) == (0, expected.stderr)  # of devices that are the host's
    assert view(found.stdout) == view(expected.stdout)


MAPPING = [{"containerID": 0, "hostID": 100000, "size": 10}]
# What only the new calls can do -> the option's pointer, and the kernel that has them.
NEEDS = {
    "rro": ({"options": ["rbind", "rro"]}, "/mounts/4/options", "Linux 5.12"),
    "idmap": (
        {"options": ["rbind"], "uidMappings": MAPPING, "gidMappings": MAPPING},
        "/mounts/4/uidMappings",
        "Linux 5.12",
    ),
}


@pytest.mark.parametrize("kernel", ["5.1", "5.11"])
@pytest.mark.parametrize("name", NEEDS)
def test_what_it_cant_have_names_the_kernel_that_can(
    runtime: Runtime, full_bundle: Bundle, name: str, kernel: str
) -> None:
    properties, pointer, version = NEEDS[name]
    full_bundle.config["mounts"].append({**bind(full_bundle.path / "data", "/bound"), **properties})
    done = run(runtime, full_bundle, KERNELS[kernel])
    assert done.returncode == 1
    assert f"pyoci run: {pointer}" in done.stderr
    assert version in done.stderr
