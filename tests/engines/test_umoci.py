"""From an image to a container without an engine: umoci unpacks, the runtime runs what it has unpacked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import SECONDS, Runtime, open_to_everyone
from support.screen import Screen

pytestmark = pytest.mark.skipif(not shutil.which("umoci"), reason="umoci isn't installed")

MAP = ["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"]


def umoci(*args: str) -> str:
    """umoci by itself; it keeps nothing but what it is told to write."""
    done = subprocess.run(["umoci", *args], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image(image_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to an image in an OCI layout: busybox in a layer, and a program to run."""
    directory = tmp_path_factory.mktemp("umoci")
    (directory / "files").mkdir()
    subprocess.run(["tar", "-C", directory / "files", "-xf", image_tar], check=True)
    reference = f"{directory}/layout:box"
    umoci("init", "--layout", str(directory / "layout"))
    umoci("new", "--image", reference)
    umoci("insert", "--image", reference, str(directory / "files"), "/")
    umoci(
        "config", "--image", reference, "--config.env", "PATH=/bin", "--config.env", "A=b",
        "--config.entrypoint", "sh", "--config.entrypoint", "-c", "--config.cmd",
        "echo $A; id -u; pwd; exit 7", "--config.workingdir", "/tmp", "--config.volume", "/data",
        "--config.label", "owner=tests",
    )  # fmt: skip
    return reference


@pytest.fixture
def runtime(runtime_path: str, tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path / "state", runtime_path)
    yield runtime
    runtime.call("delete", "--force", "one")


class Unpacked:
    """A bundle as umoci wrote it."""

    def __init__(self, image: str, path: Path, *flags: str) -> None:
        self.path = path
        umoci("unpack", *flags, "--image", image, str(path))

    def config(self) -> dict[str, Any]:
        document = json.loads((self.path / "config.json").read_text())
        assert isinstance(document, dict)
        return document

    def change(self, **process: Any) -> None:
        config = self.config()
        config["process"].update(process)
        (self.path / "config.json").write_text(json.dumps(config))

    def run(self, runtime: Runtime) -> tuple[int, list[str]]:
        """Its status, and what appears on its terminal: umoci's programs have one."""
        screen = Screen(runtime.command("run", "--bundle", str(self.path), "one"))
        status = screen.finish()
        screen.close()
        return status, screen.seen.decode().splitlines()


def test_as_it_was_unpacked(image: str, runtime: Runtime, tmp_path: Path) -> None:
    """Nothing of what umoci generates is changed."""
    unpacked = Unpacked(image, tmp_path / "bundle")
    assert unpacked.run(runtime) == (7, ["b", "0", "/tmp"])


def test_the_images_user_and_volume(image: str, runtime: Runtime, tmp_path: Path) -> None:
    tagged = f"{image}-user"
    umoci("tag", "--image", image, tagged.rpartition(":")[2])
    umoci("config", "--image", tagged, "--config.user", "user", "--config.cmd", "id -u; stat -fc %T /data")
    unpacked = Unpacked(tagged, tmp_path / "bundle")
    assert unpacked.run(runtime) == (0, ["1000", "tmpfs"])


def test_without_a_terminal_from_create_to_delete(image: str, runtime: Runtime, tmp_path: Path) -> None:
    unpacked = Unpacked(image, tmp_path / "bundle")
    unpacked.change(terminal=False, args=["sleep", "1000"])
    runtime.detached("create", "--bundle", str(unpacked.path), "one")
    state = runtime.state("one")
    assert state["annotations"]["owner"] == "tests"
    runtime.ok("start", "one")
    assert runtime.ok("exec", "one", "cat", "/proc/1/cmdline") == "sleep\x001000\x00"
    os.kill(state["pid"], 9)
    os.waitpid(state["pid"], 0)
    runtime.ok("delete", "one")


def test_changed_and_repacked(image: str, runtime: Runtime, tmp_path: Path) -> None:
    """What the container has written is a layer of the new image; what it has removed stays away."""
    unpacked = Unpacked(image, tmp_path / "bundle")
    unpacked.change(args=["sh", "-c", "echo new > /etc/new; rm /etc/passwd; mkdir -m 700 /work"])
    assert unpacked.run(runtime) == (0, [])
    repacked = f"{image}-changed"
    umoci("repack", "--image", repacked, str(unpacked.path))
    again = Unpacked(repacked, tmp_path / "again")
    script = "cat /etc/new; [ ! -e /etc/passwd ] && stat -c %a /work"
    again.change(args=["sh", "-c", script])
    assert again.run(runtime) == (0, ["new", "700"])


def test_mapped_users(image: str, runtime: Runtime, tmp_path: Path) -> None:
    """The files are unpacked as the host's users that the container's are mapped to."""
    unpacked = Unpacked(image, tmp_path / "bundle", *MAP)
    open_to_everyone(unpacked.path)
    assert (unpacked.path / "rootfs/bin").stat().st_uid == 100000
    unpacked.change(
        args=["sh", "-c", "stat -c %u /bin; cat /proc/self/uid_map; touch /new && stat -c %u /new"]
    )
    status, lines = unpacked.run(runtime)
    assert status == 0, lines
    assert [line.split() for line in lines] == [["0"], ["0", "100000", "65536"], ["0"]]
    assert (unpacked.path / "rootfs/new").stat().st_uid == 100000


def test_rootless(image: str, runtime: Runtime, tmp_path: Path) -> None:
    """Whoever unpacks becomes the container's root, and nobody else is mapped."""
    unpacked = Unpacked(image, tmp_path / "bundle", "--rootless")
    config = unpacked.config()
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
    unpacked.change(args=["sh", "-c", "cat /proc/self/uid_map; stat -c %u:%g /bin"])
    status, lines = unpacked.run(runtime)
    assert status == 0, lines
    assert [line.split() for line in lines] == [["0", "0", "1"], ["0:0"]]
