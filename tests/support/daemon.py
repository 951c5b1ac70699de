"""An engine's daemon with all of its state in one directory, and its client.

It runs in a mount namespace of its own: its shims' sockets are in /run/containerd whatever it is told. The
namespace outlives it, and so do its containers when it is killed.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.cgroups import eventually, remove_named
from support.containers import SECONDS
from support.mounts import KeptMounts


class Daemon(abc.ABC):
    """directory    where all of its state is
    runtime      the path of the runtime under test, which is also called `runc` on `path`
    parent       the cgroup of its containers, below each hierarchy's root
    environment  of the daemon and of its client
    """

    environment: dict[str, str]

    def __init__(self, runtime: str, prefix: str, files: Mapping[str, str] | None = None) -> None:
        """prefix  of the directory's name
        files   what it finds in the place of the host's, by path
        """
        # Not below pytest's directory: a Unix socket's path has at most 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self.directory.chmod(0o711)  # a container's root that isn't the host's has to come here
        self.runtime = runtime
        self.parent = self.directory.name
        self.mounts = KeptMounts("/run/containerd", files=files or {})
        (self.directory / "bin").mkdir()
        (self.directory / "bin/runc").symlink_to(runtime)
        self.path = f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.daemon: subprocess.Popen[bytes] | None = None

    def tests(self, name: str) -> bool:
        """Whether that is the runtime: each has words of its own for what went wrong."""
        return os.path.basename(self.runtime) == name

    def launch(self, *command: str) -> None:
        """Start the daemon by this command and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
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

    def stop(self) -> None:
        """As the service manager would: the containers go on."""
        assert self.daemon
        self.daemon.terminate()
        self.daemon.wait(SECONDS)

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove the containers that there still are."""

    def close(self) -> None:
        """End the containers, then the daemon, and remove all there was of it."""
        lives = self.daemon is not None and self.daemon.poll() is None
        try:
            if lives:
                self.clear()
        finally:
            if lives:
                self.stop()
            for pid in adopted(str(self.directory)):  # only if something went wrong
                os.kill(pid, signal.SIGKILL)
            self.mounts.close()
            remove_named(self.parent)
            shutil.rmtree(self.directory)

    @abc.abstractmethod
    def command(self, *args: str) -> list[str]:
        """The client's command line."""

    def call(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Have the client do something; the output is captured, a failure isn't raised."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(*args),
            env={**self.environment, **options.pop("env", {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            pass_fds=self.mounts.descriptors,
            **options,
        )

    def ok(self, *args: str, **options: Any) -> str:
        """The output of what must succeed."""
        done = self.call(*args, **options)
        assert done.returncode == 0, f"{args}: status {done.returncode}: {done.stderr}\n{self.complaints()}"
        return done.stdout


def adopted(word: str) -> list[int]:
    """Our children with the word in their command line: shims leave the daemon when they start."""
    return [pid for pid in descendants(os.getpid()) if word in command_line(pid)]


def command_line(pid: int) -> str:
    """Its words, each with a NUL at its end."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it has gone
        return ""


def descendants(pid: int) -> list[int]:
    """A process's children, theirs, and so on."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found
