"""dockerd with all of its state in one directory, and its client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator

from support.containers import SECONDS
from support.daemon import Daemon, command_line, descendants

DAEMON = "/usr/sbin/dockerd"
CLIENT = "/usr/bin/docker"
MISSING = "/nonexistent/runtime"  # of another runtime, which shows that a container gets the one it names
FIRST_USER = 300000  # on the host, of containers whose users are mapped
# Docker's defaults are above this machine's hard limits, which nobody without CAP_SYS_RESOURCE can raise.
LIMITS = ["--default-ulimit", "nofile=1000:1000", "--oom-score-adjust", "0"]


def missing() -> str:
    """The daemon's and the client's programs that aren't there."""
    return ", ".join(path for path in (DAEMON, CLIENT) if not os.access(path, os.X_OK))


class Docker(Daemon):
    """A daemon whose default runtime is the given one, which it knows by the name `tested`, too."""

    def __init__(self, runtime: str, remapped: bool = False) -> None:
        """remapped: containers get a user namespace, whose users are nobody's subordinate ones."""
        subordinate = f"nobody:{FIRST_USER}:65536\n"
        files = {"/etc/subuid": subordinate, "/etc/subgid": subordinate}  # both by the user's name
        super().__init__(runtime, "dk-", files if remapped else {})
        self.flags = ["--userns-remap", "nobody:nogroup"] if remapped else []
        (self.directory / "daemon.json").write_text(
            json.dumps(
                {
                    "runtimes": {"tested": {"path": runtime}, "missing": {"path": MISSING}},
                    "default-runtime": "tested",
                }
            )
        )
        self.environment = {
            "PATH": self.path,  # BuildKit knows no name but runc
            "HOME": str(self.directory),
            # A dockerd that ends soon after its start has containerd write down where it is.
            "TMPDIR": str(self.directory),
            "DOCKER_HOST": f"unix://{self.directory}/sock",
        }

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
        self.launch(*command)

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

    def command(self, *args: str) -> list[str]:
        return [CLIENT, *args]

    def clear(self) -> None:
        if ids := self.ok("ps", "--all", "--quiet").split():
            self.ok("rm", "--force", "--volumes", *ids)

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


def running(program: str, word: str) -> list[int]:
    """The processes of a program with the word in their command line."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if word in command_line(pid) and _program(pid) == os.path.realpath(program)]


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
