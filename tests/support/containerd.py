"""containerd with all of its state in one directory, and ctr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.containers import SECONDS
from support.daemon import Daemon
from support.docker import MISSING

PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
IMAGE = "localhost/box:latest"
CONFIGURATION = """
version = 2
root = "{directory}/root"
state = "{directory}/state"

[grpc]
address = "{directory}/sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/cni"
conf_dir = "{directory}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""
REGISTRATION = """default_runtime_name = "missing"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
BinaryName = "{runtime}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.missing]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.missing.options]
BinaryName = "{missing}"
"""


def missing() -> str:
    """The programs that aren't there."""
    return ", ".join(name for name in PROGRAMS if not shutil.which(name))


class Containerd(Daemon):
    """A daemon whose CRI plugin knows the given runtime by the name `tested`, as a RuntimeClass's handler.
    Other lines than REGISTRATION's may make it known otherwise."""

    def __init__(self, runtime: str, registration: str | None = None) -> None:
        super().__init__(runtime, "cd-")
        configuration = CONFIGURATION.format(directory=self.directory, image=IMAGE)
        if registration is None:
            registration = REGISTRATION.format(runtime=runtime, missing=MISSING)
        (self.directory / "config.toml").write_text(configuration + registration)
        (self.directory / "cni").mkdir()
        # ctr run --uidmap forgets its --runc-binary.
        self.environment = {**os.environ, "PATH": self.path}
        self.address = f"{self.directory}/sock"
        self.layer = Path()  # the image's only one

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.launch("containerd", "--config", f"{self.directory}/config.toml")

    def import_image(self, layer: Path) -> None:
        """A root filesystem as the image that is named IMAGE, in both namespaces that are used."""
        self.layer = layer
        archive = docker_archive(layer, self.directory / "image.tar")
        for namespace in ("default", "k8s.io"):
            self.ok(
                "--namespace",
                namespace,
                "images",
                "import",
                "--snapshotter",
                "native",
                "--no-unpack",
                archive,
            )

    def kill(self) -> None:
        """The daemon, at once: the containers and their shims go on."""
        assert self.daemon
        self.daemon.kill()
        self.daemon.wait(SECONDS)

    def clear(self) -> None:
        for name in self.ok("tasks", "list", "--quiet").split():
            self.ok("tasks", "delete", "--force", name)

    def command(self, *args: str) -> list[str]:
        """ctr, where the daemon's mounts are: it speaks to the shims, too."""
        return self.mounts.command("ctr", "--address", self.address, *args)

    def run_command(self, name: str, *options: str, command: tuple[str, ...]) -> list[str]:
        """ctr's arguments that make a container with the runtime and run it."""
        chosen = ("--runc-binary", self.runtime, "--snapshotter", "native")
        group = ("--cgroup", f"/{self.parent}/{name}", "--fifo-dir", f"{self.directory}/fifos")
        return ["run", *chosen, *group, *options, IMAGE, name, *command]

    def run(self, name: str, *options: str, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        """A container that is gone afterwards."""
        return self.call(*self.run_command(name, "--rm", *options, command=command))

    @contextlib.contextmanager
    def task(self, name: str, *options: str, command: tuple[str, ...] = ("sleep", "300")) -> Iterator[int]:
        """A container that runs in the background; its process."""
        # It keeps ctr's output: a pipe would have no end.
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                self.command(*self.run_command(name, "--detach", "--null-io", *options, command=command)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=SECONDS,
                pass_fds=self.mounts.descriptors,
            )
            errors.seek(0)
            assert done.returncode == 0, errors.read()
        try:
            yield self.tasks()[name][0]
        finally:
            self.call("tasks", "delete", "--force", name)
            self.call("containers", "delete", name)

    def tasks(self) -> dict[str, tuple[int, str]]:
        """Each task's process and state, as ctr lists them."""
        lines = [line.split() for line in self.ok("tasks", "list").splitlines()[1:]]
        return {name: (int(pid), state) for name, pid, state in lines}


def docker_archive(layer: Path, archive: Path) -> str:
    """An image as `docker save` writes it, of one layer that is a root filesystem."""
    import hashlib

    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["/bin/sleep", "300"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as file:
        file.add(layer, "layer.tar")
        for name, document in (("config.json", config), ("manifest.json", manifest)):
            content = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return str(archive)
