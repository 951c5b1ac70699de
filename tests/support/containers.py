"""The runtime under test and the bundles it is given."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PYOCI = os.environ.get("PYOCI", str(REPOSITORY / ".venv/bin/pyoci"))
SECONDS = 60

CONFIG: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin:/usr/bin"],
        "cwd": "/",
        "capabilities": {
            kind: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for kind in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}


class Bundle:
    """A bundle in a directory of the test's, with busybox as its root filesystem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = copy.deepcopy(CONFIG)
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", self.rootfs / "bin/busybox")
        for applet in (
            "sh",
            "true",
            "false",
            "sleep",
            "cat",
            "id",
            "ls",
            "echo",
            "mount",
            "stat",
            "touch",
            "grep",
            "hostname",
        ):
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        (self.rootfs / "etc/passwd").write_text(
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
        )

    def args(self, *args: str) -> Bundle:
        self.config["process"]["args"] = list(args)
        return self

    def shell(self, script: str) -> Bundle:
        return self.args("sh", "-c", script)

    def in_user_namespace(self) -> Bundle:
        """With a new one, whose users are nobody special on the host."""
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.config["linux"].update(uidMappings=mapping, gidMappings=mapping)
        self.config["linux"]["namespaces"].append({"type": "user"})
        open_to_everyone(self.path)  # the container's root has to come here
        return self

    def save(self) -> Path:
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self.path


def open_to_everyone(path: Path) -> None:
    """Let every user of the host come to a directory. Rights are only added: /tmp keeps its own."""
    for directory in (path, *path.parents):
        mode = directory.stat().st_mode
        if mode & 0o055 != 0o055:
            directory.chmod(mode & 0o7777 | 0o055)


def reap_orphans(own: set[int]) -> None:
    """Reap our ended children but those: they are waited for by whoever started them."""
    for task in Path("/proc/self/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            if pid not in own:
                with contextlib.suppress(ChildProcessError):  # another thread was quicker
                    os.waitpid(pid, os.WNOHANG)


def finish(
    process: subprocess.Popen[str], given: str | None = None, own: Iterable[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Wait for a process and all that it says; `given` is written to its stdin.

    Orphans of containers are reaped meanwhile, as an engine would: the first process of a pid
    namespace ends only when every other one has been (pid_namespaces(7)). `own` are pids of children that
    the test itself waits for.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            out, error = process.communicate(given, timeout=0.1)
            return subprocess.CompletedProcess(process.args, process.returncode, out, error)
        except subprocess.TimeoutExpired:
            given = None  # what was begun goes on by itself
            reap_orphans({process.pid, *own})
            if time.monotonic() > deadline:
                process.kill()
                raise


class Runtime:
    """pyoci with a state directory of the test's."""

    def __init__(self, root: Path, program: str = PYOCI) -> None:
        self.program = program
        self.root = root

    def command(self, *args: str) -> list[str]:
        return [self.program, "--root", str(self.root), *args]

    def call(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command; stdout and stderr are captured, a failure isn't raised. Orphans are reaped."""
        own = options.pop("own", set())  # pids of children that the test itself waits for
        options.setdefault("stdin", subprocess.DEVNULL)
        given = options.pop("input", None)
        if given is not None:
            options["stdin"] = subprocess.PIPE
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return finish(subprocess.Popen(self.command(*args), text=True, **options), given, own)

    def ok(self, *args: str, **options: Any) -> str:
        """Run a command that must succeed; its stdout."""
        done = self.call(*args, **options)
        assert done.returncode == 0, f"{args}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def detached(self, *args: str) -> None:
        """A command whose container goes on afterwards: it keeps the descriptors it inherits, so
        none of them may be a pipe that somebody reads to its end."""
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                self.command(*args),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=SECONDS,
                check=False,
            )
            errors.seek(0)
            assert done.returncode == 0, errors.read()

    def create(self, bundle: Bundle, container_id: str, *flags: str) -> None:
        self.detached("create", "--bundle", str(bundle.save()), *flags, container_id)

    def state(self, container_id: str) -> dict[str, Any]:
        described = json.loads(self.ok("state", container_id))
        assert isinstance(described, dict)
        return described


class Sleeper:
    """A container that does nothing but sleep, to be looked at from outside."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.process: dict[str, Any] = bundle.config["process"]
        self.linux: dict[str, Any] = bundle.config["linux"]

    def create(self, *flags: str) -> int:
        """Create it; its process as the host numbers it."""
        self.runtime.create(self.bundle.args("sleep", "300"), "box", *flags)
        pid: int = self.runtime.state("box")["pid"]
        return pid

    def pid(self, *flags: str) -> int:
        """Create and start it; its process as the host numbers it."""
        pid = self.create(*flags)
        self.runtime.ok("start", "box")
        return pid

    def refused(self) -> str:
        """What create says to this configuration, which it mustn't accept."""
        done = self.runtime.call("create", "--bundle", str(self.bundle.args("sleep", "300").save()), "box")
        assert done.returncode == 1
        return done.stderr


def labels_of_exec(sleeper: Sleeper, directory: Path, flag: str, key: str, other: str) -> list[str]:
    """The LSM's labels of further processes, as the kernel tells the host: by words, by a --process file, and
    by both again where they name another label, with this flag and this property."""
    found = []
    arguments = ["sleep", "300"]
    process = {"cwd": "/", "args": arguments}
    for named in (False, True):
        path = directory / f"process-{named}.json"
        path.write_text(json.dumps({**process, key: other} if named else process))
        words = ["box", *arguments]
        for program in ([flag, other, *words] if named else words, ["--process", str(path), "box"]):
            pid_file = directory / "pid"
            sleeper.runtime.detached("exec", "-d", "--pid-file", str(pid_file), *program)
            label = Path(f"/proc/{int(pid_file.read_text())}/attr/current").read_text()
            found.append(label.rstrip("\0\n"))
    return found


def status(pid: int) -> dict[str, list[str]]:
    """The words behind each name in /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
