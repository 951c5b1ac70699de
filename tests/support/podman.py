"""podman with all that it keeps in one directory, and the runtime registered as a containers.conf does it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from pyoci.cgroup import layout
from support.containers import SECONDS, finish, reap_orphans
from support.screen import Screen

# Engines' default limits are above this machine's hard ones, which nobody without CAP_SYS_RESOURCE can raise.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=5000:5000"]
[engine]
runtime = "{name}"
runtime_supports_json = ["{name}"]
runtime_supports_nocgroup = ["{name}"]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{directory}/tmp"
[engine.runtimes]
{name} = ["{path}"]
"""
STORAGE_CONF = """\
[storage]
driver = "vfs"
runroot = "{directory}/run"
graphroot = "{directory}/graph"
"""
# Until it has such a signal's handler, a shell as process 1 isn't reached by it; so it says when it is ready.
SERVICE = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done"


class Podman:
    """podman as root. Its containers have no network of their own kind: that takes more than a runtime."""

    def __init__(self, directory: Path, runtime: str) -> None:
        self.directory = directory
        self.path = runtime
        self.runtime = Path(runtime).name
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory)}
        values = {"directory": directory, "name": self.runtime, "path": runtime}
        for variable, text in (
            ("CONTAINERS_CONF", CONTAINERS_CONF),
            ("CONTAINERS_STORAGE_CONF", STORAGE_CONF),
        ):
            file = directory / variable
            file.write_text(text.format(**values))
            self.environment[variable] = str(file)

    def call(self, *args: str, given: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command's status and all it says."""
        return self.finish(["podman", *args], given, **options)

    def finish(
        self, words: list[str], given: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same of a command around podman. Containers' orphans are reaped meanwhile, as by an init."""
        with tempfile.TemporaryFile("w+") as stdin:
            stdin.write(given or "")
            stdin.seek(0)
            process = subprocess.Popen(
                words,
                cwd=self.directory,  # conmon leaves its notice of an oom where it is
                env={**self.environment, **(env or {})},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        return finish(process)

    def ok(self, *args: str, **options: Any) -> str:
        """What a command that must succeed prints."""
        done = self.call(*args, **options)
        assert done.returncode == 0, f"{args}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.call("run", "--rm", "--network", "none", *args, **options)

    def sh(self, script: str, *flags: str, **options: Any) -> str:
        """What a script prints in a container of its own, which must succeed."""
        return self.ok("run", "--rm", "--network", "none", *flags, "box", "/bin/sh", "-c", script, **options)

    def start(self, name: str, *flags: str, script: str = SERVICE, **options: Any) -> str:
        """A container that runs in the background: its id."""
        network = (
            [] if any(flag.startswith(("--network", "--pod")) for flag in flags) else ["--network", "none"]
        )
        words = ["run", "--detach", "--name", name, *network, *flags]
        return self.ok(*words, "box", "/bin/sh", "-c", script, **options).strip()

    def service(self, name: str, *flags: str, script: str = SERVICE) -> str:
        """The same, once it has said that it is ready."""
        container_id = self.start(name, *flags, script=script)
        self.eventually(lambda: "ready" in self.ok("logs", name))
        return container_id

    def screen(self, *args: str, rows: int = 40, columns: int = 100) -> Screen:
        """A command in a terminal of ours."""
        return Screen(["podman", *args], rows, columns, self.environment)

    def inspect(self, name: str, template: str) -> str:
        return self.ok("inspect", "--format", template, name).rstrip("\n")

    def status(self, name: str) -> str:
        return self.inspect(name, "{{.State.Status}}")

    def pid(self, name: str) -> int:
        return int(self.inspect(name, "{{.State.Pid}}"))

    def config(self, name: str) -> dict[str, Any]:
        """What podman has written for the runtime."""
        found = json.loads(Path(self.inspect(name, "{{.OCIConfigPath}}")).read_text())
        assert isinstance(found, dict)
        return found

    def eventually(self, condition: Any) -> None:
        """Wait until a condition holds, which may take long on a busy machine."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def clean(self) -> None:
        """Take away whatever a test has left: its pods, its containers, its volumes, podman's own cgroups."""
        graph = self.directory / "graph"
        if any(path.is_dir() for path in (graph / "vfs-containers").glob("*")):
            self.ok("pod", "rm", "--all", "--force", "--time", "0")
            # Again, if one was needed by another or was just being cleaned up by podman's other process.
            self.eventually(lambda: self.call("rm", "--all", "--force", "--time", "0").returncode == 0)
        if any((graph / "volumes").glob("*")):
            self.ok("volume", "rm", "--all", "--force")
        remove_podmans_own_cgroups()


def remove_podmans_own_cgroups() -> None:
    """podman keeps what is above its containers' cgroups; a user's, with something in it, stays.

    Of pods' it removes those of controllers only. Its monitor ends a moment after its container, and until
    then its cgroup is busy.
    """
    parents = [Path(hierarchy.mount, "libpod_parent") for hierarchy in layout.detect().hierarchies]
    deadline = time.monotonic() + 5
    while any(parent.exists() for parent in parents) and time.monotonic() < deadline:
        for parent in parents:
            for path in (*parent.glob("conmon"), *parent.glob("[0-9a-f]" * 64), parent):
                with contextlib.suppress(OSError):
                    path.rmdir()
        reap_orphans(set())
        time.sleep(0.02)


def unmount_below(directory: Path) -> None:
    for mount in Path("/proc/self/mountinfo").read_text().splitlines():
        if (point := mount.split()[4]).startswith(f"{directory}{os.sep}"):
            subprocess.run(["umount", point], check=True)
