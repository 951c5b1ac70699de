"""containerd with all of its state in one directory, and ctr.

It runs in a mount namespace of its own: its shims' sockets are in /run/containerd whatever it is told.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.cgroups import eventually, remove_named
from support.containers import SECONDS
from support.docker import MISSING, adopted
from support.mounts import KeptMounts

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


class Containerd:
    """A daemon whose CRI plugin knows the given runtime by the name `tested`, as a RuntimeClass's handler.
    Other lines than REGISTRATION's may make it known otherwise."""

    def __init__(self, runtime: str, registration: str | None = None) -> None:
        # Not below pytest's directory: a Unix socket's path has at most 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="cd-"))
        self.runtime = runtime
        self.mounts = KeptMounts("/run/containerd")
        self.parent = self.directory.name  # of the containers' cgroups
        configuration = CONFIGURATION.format(directory=self.directory, image=IMAGE)
        if registration is None:
            registration = REGISTRATION.format(runtime=runtime, missing=MISSING)
        (self.directory / "config.toml").write_text(configuration + registration)
        for name in ("cni", "bin"):
            (self.directory / name).mkdir()
        (self.directory / "bin/runc").symlink_to(
            runtime
        )  # for ctr run --uidmap, which forgets its --runc-binary
        self.directory.chmod(0o711)  # a container's root that isn't the host's has to come here
        self.address = f"{self.directory}/sock"
        self.layer = Path()  # the image's only one
        self.daemon: subprocess.Popen[bytes] | None = None

    def tests(self, name: str) -> bool:
        """Whether that is the runtime: each has words of its own for what went wrong."""
        return os.path.basename(self.runtime) == name

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.daemon = subprocess.Popen(
                self.mounts.command("containerd", "--config", f"{self.directory}/config.toml"),
                env={**os.environ, "PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.mounts.descriptors,
            )
        daemon = self.daemon

        def answers() -> bool:
            assert daemon.poll() is None, (self.directory / "log").read_text()[-2000:]
            return self.call("version").returncode == 0

        eventually(answers)

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

    def close(self) -> None:
        """End what is left, then the daemon, and remove all there was of it."""
        lives = self.daemon is not None and self.daemon.poll() is None
        try:
            for name in self.ok("tasks", "list", "--quiet").split() if lives else ():
                self.ok("tasks", "delete", "--force", name)
        finally:
            if self.daemon and lives:
                self.daemon.terminate()
                self.daemon.wait(SECONDS)
            for pid in adopted(str(self.directory)):  # only if something went wrong
                os.kill(pid, signal.SIGKILL)
            self.mounts.close()
            remove_named(self.parent)
            shutil.rmtree(self.directory)

    def command(self, *args: str) -> list[str]:
        """ctr, where the daemon's mounts are: it speaks to the shims, too."""
        return self.mounts.command("ctr", "--address", self.address, *args)

    def call(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Have ctr do something; the output is captured, a failure isn't raised."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(*args),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            pass_fds=self.mounts.descriptors,
            **options,
        )

    def ok(self, *args: str, **options: Any) -> str:
        """The output of what must succeed."""
        done = self.call(*args, **options)
        assert done.returncode == 0, f"ctr {args}: status {done.returncode}: {done.stderr}"
        return done.stdout

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
