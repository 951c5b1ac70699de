"""A runtime's command: run with a time limit, in a mount namespace it can work in."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from conformance import cgroups, host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds any one command may take, the longest hook of the suite included.
TIME_LIMIT = 30.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


@dataclass(frozen=True)
class Done:
    """A command that ended. `status`: its exit status, minus the signal, or None: it had to be killed."""

    words: tuple[str, ...]
    status: int | None
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        ending = "had to be killed" if self.status is None else f"ended with status {self.status}"
        return f"`{' '.join(self.words)}` {ending}: {(self.err or self.out).strip()[:600]}"


class Runtime:
    """A runtime binary and the directory of its state (`--root`)."""

    # Processes of this suite that hold mount namespaces, of all runtimes.
    cells: ClassVar[set[int]] = set()

    def __init__(self, path: str, scratch: Path) -> None:
        self.path = path
        self.name = Path(path).name
        self.root = scratch / "state"
        self.root.mkdir(exist_ok=True)
        # Standard input of every command: not the host's own /dev/null, whose owner a runtime may change.
        self.null = scratch / "null"
        os.mknod(self.null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self._scratch = scratch
        self._calls = 0
        self._cell: subprocess.Popen[bytes] | None = None
        self._cell_namespace = -1
        self.version = self._ask_version()
        # What the binary calls itself, which a wrapper or a copy under another name doesn't change.
        self.kind = self.version.split()[0] if self.version else self.name
        if self.kind == "crun" and cgroups.layout() == "hybrid":
            # crun refuses any machine with both kinds of hierarchies: it gets a private mount namespace
            # without the unified one.
            self._build_cell(cgroups.hierarchies()[""])

    def _ask_version(self) -> str:
        done = subprocess.run(
            [self.path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout.strip()

    def _build_cell(self, unwanted: Path) -> None:
        self._cell = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'umount "$0" && echo ready && exec cat >/dev/null',
                str(unwanted),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._cell.stdout is not None
        if self._cell.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no private mount namespace without {unwanted} for {self.path}")
        self.cells.add(self._cell.pid)
        self._cell_namespace = os.open(f"/proc/{self._cell.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def label(self) -> str:
        """What to call this runtime beside others: its name, and the way to it where that says more."""
        return self.kind if self.kind == self.name else f"{self.kind} ({self.path})"

    @property
    def cell(self) -> int | None:
        """The pid of the process that holds the runtime's own mount namespace, if it needed one."""
        return None if self._cell is None else self._cell.pid

    def namespaces(self) -> dict[str, int]:
        """The runtime namespaces (glossary.md#runtime-namespace): those the command is run in."""
        return host.namespaces("self" if self.cell is None else self.cell)

    def close(self) -> None:
        if self._cell is not None:
            os.close(self._cell_namespace)
            self.cells.discard(self._cell.pid)
            self._cell.communicate()

    def _preparation(self, directory: str, before: Callable[[], None] | None) -> Callable[[], None] | None:
        """What the new process does before it becomes the runtime's, if anything."""
        if self._cell is None:
            return before

        def prepare() -> None:
            host.setns(self._cell_namespace, host.CLONE_NEWNS)
            os.chdir(directory)
            if before is not None:
                before()

        return prepare

    def call(
        self,
        *words: str,
        directory: Path | None = None,
        stdin: int | None = None,
        pass_fds: tuple[int, ...] = (),
        environment: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> Done:
        """Run `runtime --root ROOT WORDS`, after `before` in its process.

        Output goes to files, not pipes: a container keeps them open long after its `create` returned.
        """
        self._calls += 1
        base = self._scratch / f"call-{self._calls}"
        out, err = base.with_suffix(".out"), base.with_suffix(".err")
        cwd = str(directory or self._scratch)
        status: int | None
        with open(out, "wb") as out_file, open(err, "wb") as err_file, open(self.null, "rb") as null:
            try:
                process = subprocess.Popen(
                    [self.path, "--root", str(self.root), *words],
                    cwd=cwd,
                    env=ENVIRONMENT if environment is None else environment,
                    stdin=null if stdin is None else stdin,
                    stdout=out_file,
                    stderr=err_file,
                    pass_fds=pass_fds,
                    start_new_session=True,
                    preexec_fn=self._preparation(cwd, before),
                )
            except OSError as error:
                # As a shell has it: the runtime is gone, perhaps being built anew.
                return Done((self.name, *words), 127, "", f"{self.path}: {error.strerror}")
            try:
                status = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
            except BaseException:
                # The suite is interrupted: killed amidst its work, the runtime would leave things behind.
                process.wait(time_limit)
                raise
        return Done((self.name, *words), status, self.read(out), self.read(err))

    def last_output(self) -> Path:
        """Where the standard output of the last command, and of the container it made, goes."""
        return self._scratch / f"call-{self._calls}.out"

    @staticmethod
    def read(path: Path) -> str:
        return path.read_text(errors="surrogateescape")
