"""dockerd with all of its state in one directory, and its client.

The daemon runs in a mount namespace of its own, since its containerd keeps the shims' sockets in
/run/containerd whatever it is told. The namespace outlives the daemon: its shims go on when it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from support.cgroups import eventually, remove_named
from support.containers import SECONDS
from support.mounts import KeptMounts

DAEMON = "/usr/sbin/dockerd"
CLIENT = "/usr/bin/docker"
MISSING = "/nonexistent/runtime"  # of another runtime, which shows that a container gets the one it names
FIRST_USER = 300000  # on the host, of containers whose users are mapped
# Docker's defaults are above this machine's hard limits, which nobody without CAP_SYS_RESOURCE can raise.
LIMITS = ["--default-ulimit", "nofile=1000:1000", "--oom-score-adjust", "0"]


def missing() -> str:
    """The daemon's and the client's programs that aren't there."""
    return ", ".join(path for path in (DAEMON, CLIENT) if not os.access(path, os.X_OK))


class Docker:
    """A daemon whose default runtime is the given one, which it knows by the name `tested`, too."""

    def __init__(self, runtime: str, remapped: bool = False) -> None:
        """remapped: containers get a user namespace, whose users are nobody's subordinate ones."""
        # Not below pytest's directory: a Unix socket's path has at most 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="dk-"))
        self.runtime = runtime
        subordinate = f"nobody:{FIRST_USER}:65536\n"
        files = {"/etc/subuid": subordinate, "/etc/subgid": subordinate}  # both by the user's name
        self.mounts = KeptMounts("/run/containerd", files=files if remapped else {})
        self.flags = ["--userns-remap", "nobody:nogroup"] if remapped else []
        self.parent = self.directory.name  # of the containers' cgroups
        self.directory.chmod(0o711)  # a container's root that isn't the host's has to come here
        (self.directory / "bin").mkdir()
        (self.directory / "bin/runc").symlink_to(runtime)  # BuildKit knows no other name
        (self.directory / "daemon.json").write_text(
            json.dumps(
                {
                    "runtimes": {"tested": {"path": runtime}, "missing": {"path": MISSING}},
                    "default-runtime": "tested",
                }
            )
        )
        self.environment = {
            "PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            # A dockerd that ends soon after its start has containerd write down where it is.
            "TMPDIR": str(self.directory),
            "DOCKER_HOST": f"unix://{self.directory}/sock",
        }
        self.daemon: subprocess.Popen[bytes] | None = None

    def tests(self, name: str) -> bool:
        """Whether that is the runtime: each has words of its own for what went wrong."""
        return os.path.basename(self.runtime) == name

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        directory = self.directory
        command = [
            DAEMON, "--config-file", f"{directory}/daemon.json", "--host", f"unix://{directory}/sock",
            "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec",
            "--pidfile", f"{directory}/pid", "--storage-driver", "vfs", "--live-restore",
            "--bridge", "none", "--iptables=false", "--ip6tables=false",
            "--cgroup-parent", f"/{self.parent}", *LIMITS, *self.flags,
        ]  # fmt: skip
        with (directory / "log").open("ab") as log:
            self.daemon = subprocess.Popen(
                self.mounts.command(*command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.mounts.descriptors,
            )
        daemon = self.daemon

        def answers() -> bool:
            assert daemon.poll() is None, self.complaints()
            return self.call("version").returncode == 0

        eventually(answers)

    def complaints(self) -> str:
        """What the daemon has said of what went wrong."""
        lines = (self.directory / "log").read_text().splitlines()
        return "\n".join(line for line in lines if "level=info" not in line)

    def kill(self) -> None:
        """The daemon and its containerd, at once and both: the containers and their shims go on."""
        assert self.daemon
        pids = [self.daemon.pid, *descendants(self.daemon.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.daemon.wait(SECONDS)
        for pid in pids[1:]:
            with contextlib.suppress(ChildProcessError):  # only those of whom we are the next of kin
                os.waitpid(pid, 0)

    def stop(self) -> None:
        """As the service manager would: with --live-restore the containers go on."""
        assert self.daemon
        self.daemon.terminate()
        self.daemon.wait(SECONDS)

    def close(self) -> None:
        """End the containers, then the daemon, and remove all there was of it."""
        lives = self.daemon is not None and self.daemon.poll() is None
        try:
            if lives and (ids := self.ok("ps", "--all", "--quiet").split()):
                self.ok("rm", "--force", "--volumes", *ids)
        finally:
            if lives:
                self.stop()
            for pid in adopted(str(self.directory)):  # only if something went wrong
                os.kill(pid, signal.SIGKILL)
            self.mounts.close()
            remove_named(self.parent)
            shutil.rmtree(self.directory)

    def command(self, *args: str) -> list[str]:
        return [CLIENT, *args]

    def call(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Have the client do something; the output is captured, a failure isn't raised."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        environment = {**self.environment, **options.pop("env", {})}
        return subprocess.run(
            self.command(*args), env=environment, capture_output=True, text=True, timeout=SECONDS, **options
        )

    def ok(self, *args: str, **options: Any) -> str:
        """The output of what must succeed."""
        done = self.call(*args, **options)
        assert done.returncode == 0, f"docker {args}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A container that is gone afterwards."""
        return self.call("run", "--rm", *args)

    def shell(self, script: str, *options: str) -> str:
        """What a script in a container of its own says; it must succeed."""
        return self.ok("run", "--rm", *options, "box", "/bin/sh", "-c", script)

    def inspect(self, name: str, template: str) -> str:
        return self.ok("inspect", "--format", template, name).rstrip("\n")

    @contextlib.contextmanager
    def service(self, *options: str, command: Iterable[str] = ("/bin/sleep", "300")) -> Iterator[str]:
        """A container that runs in the background; its id."""
        container = self.ok("run", "--detach", *options, "box", *command).strip()
        try:
            yield container
        finally:
            self.call("rm", "--force", "--volumes", container)


def adopted(word: str) -> list[int]:
    """Our children with the word in their command line: shims leave the daemon when they start."""
    return [pid for pid in descendants(os.getpid()) if word in _command_line(pid)]


def running(program: str, word: str) -> list[int]:
    """The processes of a program with the word in their command line."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if word in _command_line(pid) and _program(pid) == os.path.realpath(program)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it has gone
        return ""


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """A process's children, theirs, and so on."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found
