"""What the VM is made of, fetched once: QEMU as a package, and a kernel unpacked into a cache.

Both come from the release's backports: a kernel some years newer than the release's own, and a QEMU whose
emulation of x86 runs these tests two to three times as fast.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from vm.failure import Failure

QEMU = "qemu-system-x86_64"
QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data")
# The full kernel: the one for clouds lacks 9p.
KERNEL_PACKAGE = "linux-image-amd64"


class Kernel(NamedTuple):
    """An unpacked kernel: its version, its image, and the directory that has lib/modules/VERSION in it."""

    version: str
    image: Path
    base: Path

    @property
    def modules(self) -> Path:
        return self.base / "lib/modules" / self.version


def cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("VM_CACHE") or home / "pyoci-vm")


def kernel() -> Kernel:
    """The kernel, fetched now if it isn't in the cache; QEMU is installed too. Failure if they can't be."""
    if platform.machine() != "x86_64":
        raise Failure(f"the VM is made for x86_64, and this machine is {platform.machine()}")
    directory = cache()
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two callers prepare once
        if not shutil.which(QEMU):
            install_qemu(directory)
        ready = directory / "version"
        if not ready.exists():
            ready.write_text(unpack_kernel(directory))
        version = ready.read_text()
        shutil.rmtree(directory / "apt", ignore_errors=True)
    base = directory / "kernel"
    if not (base / "lib/modules").exists():
        base /= "usr"  # since Debian 13
    return Kernel(version, directory / f"kernel/boot/vmlinuz-{version}", base)


def install_qemu(directory: Path) -> None:
    print("vm: installing QEMU", file=sys.stderr)
    apt = Apt(directory / "apt")
    # Nothing else goes with it: with -t all that it depends on would be upgraded to the backports.
    apt("get", "install", "-y", "--no-install-recommends", "-t", apt.suite, *QEMU_PACKAGES)


def unpack_kernel(directory: Path) -> str:
    """Unpacks the kernel's package, which is never installed: no boot loader, no initramfs. Its version."""
    print("vm: fetching the guest's kernel (once, about a minute)", file=sys.stderr)
    apt = Apt(directory / "apt")
    target = directory / "kernel"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    depends = apt("cache", "depends", "-t", apt.suite, KERNEL_PACKAGE)
    package = next(line.split()[1] for line in depends.splitlines() if "Depends:" in line)
    apt("get", "download", "-t", apt.suite, package, directory=target)
    (archive,) = target.glob("*.deb")
    run("dpkg-deb", "-x", str(archive), str(target))
    archive.unlink()
    modules = next(path for path in target.glob("**/lib/modules/*") if path.is_dir())
    run("depmod", "-b", str(modules.parents[2]), modules.name)
    return modules.name


class Apt:
    """apt with this machine's package database but sources and lists of its own.

    So the machine's configuration gains no suite.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]
        self.suite = f"{release}-backports"
        for name in ("lists/partial", "archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        mirror = self.mirror(release)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (directory / "sources.list").write_text(
            "".join(f"deb [signed-by={keys}] {mirror} {suite} main\n" for suite in (release, self.suite))
        )
        self("get", "update")

    @staticmethod
    def mirror(release: str) -> str:
        """Where this machine itself gets the release's main component from."""
        command = (
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)",
            f"Codename: {release}",
            "Component: main",
        )
        found = run(*command).split()
        if not found:
            run("apt-get", "-qq", "update")
            found = run(*command).split()
        if not found:
            raise Failure(f"apt knows no mirror of {release}")
        return min(found)

    def __call__(self, tool: str, *words: str, directory: Path | None = None) -> str:
        settings = {
            "Dir::Etc::SourceList": self.directory / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": self.directory / "lists",
            "Dir::Cache": self.directory,
            # The cache may be where only root can go.
            "APT::Sandbox::User": "root",
            "DPkg::Lock::Timeout": "600",
            "Acquire::Retries": "3",
            "Dpkg::Use-Pty": "0",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return run(f"apt-{tool}", "-qq", *options, *words, directory=directory)


def run(*command: str, directory: Path | None = None) -> str:
    """A command's output; Failure with its last words if it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = " ".join(word for word in command if "=" not in word and word != "-o")
        raise Failure(f"{words}: status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout
