"""A runtime that trusts the image: the tests of attacks are run with it too, and have to see them succeed.

It makes a container as one does who knows mount(2) but not the attacks: paths in the root filesystem
are strings, looked at and then used. By default they are just put together; with NAIVE=scoped links
in them are resolved within the root first, which leaves only the time between the look and the use.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

CLONE = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "network": 0x40000000, "pid": 0x20000000}
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE = 1, 0x1000, 0x4000, 1 << 18
TIOCSPTLCK = 0x40045431
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "ptmx": "pts/ptmx"}

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    arguments = [os.fsencode(text) for text in (source, target, kind)]
    if libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(data)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


class Naive:
    """A container on its way."""

    def __init__(self, bundle: Path) -> None:
        self.config: dict[str, Any] = json.loads((bundle / "config.json").read_text())
        self.root = str(bundle / self.config["root"]["path"])
        self.linux: dict[str, Any] = self.config["linux"]

    def where(self, path: str) -> str:
        """The mistake: what this finds is true for a moment at most."""
        if os.environ.get("NAIVE") != "scoped":
            return self.root + "/" + path
        done, rest = "", path
        while rest:
            name, _, rest = rest.lstrip("/").partition("/")
            if name == "..":
                done = os.path.dirname(done)
            elif os.path.islink(f"{self.root}{done}/{name}"):
                value = os.readlink(f"{self.root}{done}/{name}")
                done, rest = "" if value.startswith("/") else done, f"{value}/{rest}"
            elif name not in ("", "."):
                done += "/" + name
        return self.root + done

    def make(self) -> None:
        mount("", "/", flags=MS_REC | MS_PRIVATE)
        mount(self.root, self.root, flags=MS_BIND | MS_REC)
        for entry in self.config["mounts"]:
            self.mount(entry)
        for key, value in self.linux.get("sysctl", {}).items():
            Path(self.where("/proc/sys/" + key.replace(".", "/"))).write_text(value)
        self.fill_dev()
        if self.config["process"].get("terminal"):
            self.bind_console()
        for path in self.linux["maskedPaths"]:
            self.mask(path)
        if label := self.config["process"].get("apparmorProfile"):
            Path(self.where("/proc/self/attr/exec")).write_text(f"exec {label}")
        os.chroot(self.root)
        os.chdir(self.config["process"]["cwd"])

    def mount(self, entry: dict[str, Any]) -> None:
        target, source, kind = self.where(entry["destination"]), entry["source"], entry["type"]
        if kind != "bind" or os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT))
        if kind == "bind":
            mount(source, target, flags=MS_BIND | MS_REC)
        else:
            mount(source, target, kind)

    def fill_dev(self) -> None:
        if any(entry["destination"] == "/dev" and entry["type"] == "bind" for entry in self.config["mounts"]):
            return
        os.makedirs(self.where("/dev"), exist_ok=True)
        for name, (major, minor) in NODES.items():
            if not os.path.exists(path := self.where("/dev") + "/" + name):
                os.mknod(path, 0o20666, os.makedev(major, minor))
        for name, value in LINKS.items():
            if os.path.lexists(path := self.where("/dev") + "/" + name):
                os.unlink(path)
            os.symlink(value, path)

    def bind_console(self) -> None:
        """The first terminal of a new devpts is 0."""
        multiplexer = self.where("/dev/pts/ptmx")
        if os.path.exists(multiplexer):
            master = os.open(multiplexer, os.O_RDWR | os.O_NOCTTY)
            fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        console = self.where("/dev/console")
        os.close(os.open(console, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY))
        mount(self.where("/dev/pts/0"), console, flags=MS_BIND)

    def mask(self, path: str) -> None:
        target = self.where(path)
        if os.path.isdir(target):
            mount("tmpfs", target, "tmpfs", MS_RDONLY)
        elif os.path.exists(target):
            mount(self.where("/dev/null"), target, flags=MS_BIND)


def run(bundle: Path) -> int:
    naive = Naive(bundle)
    flags = 0
    for entry in naive.linux["namespaces"]:
        flags |= CLONE.get(entry["type"], 0)
    if libc.unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    child = os.fork()
    if not child:
        naive.make()
        process = naive.config["process"]
        os.execvpe(process["args"][0], process["args"], dict(text.split("=", 1) for text in process["env"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[sys.argv.index("--bundle") + 1])))
