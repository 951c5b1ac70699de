"""A user without any rights, who exists only in a mount namespace of the test's: /etc stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.containers import PYOCI, Bundle, Runtime, open_to_everyone
from support.mounts import own_mounts

UID = GID = 61000  # nobody else's, and between those that distributions give to people and to services
NAME = "nobodys-test"
FIRST, COUNT = 300000, 65536  # what newuidmap and newgidmap let him map
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class User:
    """uid, gid     his
    home         his, with nothing in it
    runtime_dir  what a login would give him as XDG_RUNTIME_DIR
    environment  all of what he starts something with
    """

    def __init__(self, directory: Path, uid: int = UID, gid: int = GID) -> None:
        self.uid, self.gid = uid, gid
        self.home, self.runtime_dir = directory / "home", directory / "run"
        for path in (self.home, self.runtime_dir):
            path.mkdir(mode=0o700)
            self.give(path)
        self.environment = {"PATH": PATH, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime_dir)}

    def give(self, path: Path) -> Path:
        """Makes a file, or a directory with all that is in it, his."""
        for one in (path, *path.rglob("*")):
            os.chown(one, self.uid, self.gid, follow_symlinks=False)
        return path

    def command(self, *words: str) -> list[str]:
        """A command as him: with his ids and no group beside, without a capability, his environment alone."""
        identity = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups", "--inh-caps=-all"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return [
            "setpriv",
            *identity,
            "env",
            "--ignore-environment",
            "--chdir",
            str(self.home),
            *variables,
            *words,
        ]

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, **options)


class RootlessRuntime(Runtime):
    """A runtime as the user calls it, who leaves the state directory to it. `place` goes before the command:
    what root does first, such as going into a cgroup."""

    def __init__(self, user: User, program: str = PYOCI) -> None:
        super().__init__(user.runtime_dir / Path(program).name, program)
        self.user = user
        self.place: list[str] = []

    def command(self, *args: str) -> list[str]:
        return [*self.place, *self.user.command(self.program, *args)]


class RootlessBundle(Bundle):
    """A bundle of the user's, with what `pyoci spec --rootless` writes, as him."""

    def __init__(self, user: User) -> None:
        super().__init__(user.home / "bundle")
        self.user = user
        user.give(self.path)
        written = user.call(PYOCI, "spec", "--rootless", "--bundle", str(self.path))
        assert written.returncode == 0, written.stderr
        self.config = json.loads((self.path / "config.json").read_text())
        self.config["process"]["terminal"] = False

    def save(self) -> Path:
        path = super().save()
        self.user.give(path / "config.json")
        return path

    def map_more(self) -> None:
        """Beside himself as root, the ids that /etc/subuid and /etc/subgid give him."""
        for kind, own in (("uidMappings", self.user.uid), ("gidMappings", self.user.gid)):
            self.config["linux"][kind] = [
                {"containerID": 0, "hostID": own, "size": 1},
                {"containerID": 1, "hostID": FIRST, "size": COUNT},
            ]


@contextlib.contextmanager
def unprivileged(directory: Path) -> Iterator[User]:
    """Within it, the user exists for this thread and what it starts; his files are in the directory."""
    files = {
        "passwd": f"{NAME}:x:{UID}:{GID}::{directory}/home:/bin/sh\n",
        "group": f"{NAME}:x:{GID}:\n",
        "subuid": f"{NAME}:{FIRST}:{COUNT}\n",
        "subgid": f"{NAME}:{FIRST}:{COUNT}\n",
    }
    open_to_everyone(directory)
    with own_mounts():
        for name, line in files.items():
            there, path = Path("/etc", name), directory / name
            text = there.read_text() if there.exists() else ""
            assert f":{UID}:" not in text and NAME not in text
            path.write_text(text + line)
            if there.exists():  # without newuidmap there may be no files for it
                subprocess.run(["mount", "--bind", path, there], check=True)
        yield User(directory)


def missing_helpers() -> str:
    """Why ids beside his own can't be mapped on this machine, or ""."""
    lacking = [name for name in ("newuidmap", "newgidmap") if not shutil.which(name)]
    return f"{' and '.join(lacking)} isn't installed" if lacking else ""
