"""Hostile bundles, and what each of them does to a host whose runtime falls for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.containers import Bundle, Runtime

MARKER = "for the host's eyes only"
HARM = "HARM"  # the program prints it, and what it could do
NAIVE = Path(__file__).with_name("naive.py")


class NaiveRuntime(Runtime):
    """support/naive.py in the place of pyoci."""

    def command(self, *args: str) -> list[str]:
        return [sys.executable, str(NAIVE), *args]


@dataclass(frozen=True)
class Attack:
    """Makes a bundle hostile, given a directory of the host's.

    refused  the JSON pointer of the property that pyoci refuses it at; "": the container runs, unharmed
    says     the part of the message that says why
    """

    prepare: Callable[[Bundle, Path], object]
    refused: str = ""
    says: str = ""


def listing(directory: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything in a directory: mode, owner, device, and content or link."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        text = ""
        if stat.S_ISREG(status.st_mode):
            text = path.read_text()
        elif stat.S_ISLNK(status.st_mode):
            text = os.readlink(path)
        found[str(path)] = status.st_mode, status.st_uid, status.st_rdev, text
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{path} changed" for path in before.keys() | after.keys() if before.get(path) != after.get(path)]


def attempt(
    runtime: Runtime, bundle: Bundle, host: Path, **options: Any
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a hostile bundle: how it ended, and the harm it did."""
    before = listing(host)
    done = runtime.call("run", "--bundle", str(bundle.save()), "hostile", **options)
    harm = changes(before, listing(host))
    harm += [line for line in done.stdout.splitlines() if HARM in line]
    if MARKER in done.stdout:
        harm.append("the program can read what is the host's")
    return done, harm


# ------------------------------------------------------------------- how a link leads out

Link = Callable[[Path, Path], str]  # from the place of the link, to the host's directory


def absolute(place: Path, host: Path) -> str:
    return str(host)


def relative(place: Path, host: Path) -> str:
    return os.path.relpath(host, place.parent)


def without(bundle: Bundle, *destinations: str) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] not in destinations]


def bind(bundle: Bundle, source: Path, destination: str) -> None:
    entry = {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind"]}
    bundle.config["mounts"].append(entry)


def link_instead(bundle: Bundle, name: str, value: str) -> None:
    """A symbolic link in the place of one of the image's directories."""
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to(value)


# ------------------------------------------------------------------- the attacks


def targets(link: Link) -> Callable[[Bundle, Path], object]:
    """Mounts whose targets have to be made, behind a link."""

    def prepare(bundle: Bundle, host: Path) -> None:
        (bundle.rootfs / "mnt").symlink_to(link(bundle.rootfs / "mnt", host))
        bundle.config["mounts"].append({"destination": "/mnt/new", "type": "tmpfs", "source": "tmpfs"})
        bind(bundle, host / "secret", "/mnt/file")

    return prepare


def dev(link: Link) -> Callable[[Bundle, Path], object]:
    """The image's /dev is a link to where files of the names of nodes are."""

    def prepare(bundle: Bundle, host: Path) -> None:
        without(bundle, "/dev")
        (host / "ptmx").write_text("a file of the host's")
        (host / "fd").write_text("another")
        link_instead(bundle, "dev", link(bundle.rootfs / "dev", host))

    return prepare


def kernel_directory(name: str) -> Callable[[Bundle, Path], object]:
    """/proc or /sys is where the image wants it to be, and masks follow."""

    def prepare(bundle: Bundle, host: Path) -> None:
        (bundle.rootfs / "tmp/elsewhere").mkdir()
        link_instead(bundle, name, "tmp/elsewhere")
        bundle.shell(f"echo {HARM}: /{name} is where the image wants it")

    return prepare


def proc_outside(bundle: Bundle, host: Path) -> None:
    link_instead(bundle, "proc", str(host))
    bundle.shell(f"echo {HARM}: there is no procfs")


def null_is_a_link(bundle: Bundle, host: Path) -> None:
    without(bundle, "/dev", "/dev/pts")
    (bundle.rootfs / "dev/null").symlink_to(host / "secret")
    (bundle.rootfs / "etc/hidden").write_text("")
    bundle.config["linux"]["maskedPaths"] = ["/etc/hidden"]
    bundle.shell("cat /etc/hidden; echo gone > /etc/hidden")


def null_in_a_volume(bundle: Bundle, host: Path) -> None:
    null_is_a_link(bundle, host)
    volume = bundle.path / "volume"
    volume.mkdir()
    (volume / "null").symlink_to(host / "secret")
    bind(bundle, volume, "/dev")


def console_is_a_link(bundle: Bundle, host: Path) -> None:
    without(bundle, "/dev")
    (bundle.rootfs / "dev/console").symlink_to(host / "console")
    bundle.config["process"]["terminal"] = True


def terminal_of_the_images(bundle: Bundle, host: Path) -> None:
    without(bundle, "/dev", "/dev/pts")
    (bundle.rootfs / "dev/pts").mkdir()
    (bundle.rootfs / "dev/pts/0").symlink_to(host / "secret")
    bundle.config["process"]["terminal"] = True
    bundle.shell("cat /dev/console")


def label_into_a_file(bundle: Bundle, host: Path) -> None:
    """A volume at /proc that swallows the label; the kernel doesn't know this one, or labels at all."""
    without(bundle, "/proc")
    bundle.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    volume = bundle.path / "volume"
    for name in ("self/attr/apparmor", "thread-self/attr/apparmor", "self/fd"):
        (volume / name).mkdir(parents=True)
    for name in ("self/attr/exec", "self/attr/apparmor/exec", "thread-self/attr/apparmor/exec"):
        (volume / name).write_text("")
    bind(bundle, volume, "/proc")
    bundle.config["process"]["apparmorProfile"] = "pyoci-no-such-profile"
    bundle.shell(f"echo {HARM}: running without the label")


def sysctl_into_a_file(bundle: Bundle, host: Path) -> None:
    (host / "net/ipv4").mkdir(parents=True)
    (host / "net/ipv4/ip_default_ttl").write_text("a file of the host's")
    bind(bundle, host / "net", "/proc/sys/net")
    bundle.config["mounts"].append({"destination": "/real", "type": "proc", "source": "proc"})
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    bundle.shell(f"test $(cat /real/sys/net/ipv4/ip_default_ttl) = 77 || echo {HARM}: the sysctl is not set")


def leaked_directory(bundle: Bundle, host: Path) -> None:
    """The test passes a descriptor of the host's directory on, of this number."""
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{LEAKED}"
    bundle.shell("cat secret")


LEAKED = 77

ATTACKS = {
    "CVE-2019-16884": Attack(label_into_a_file, "/process/apparmorProfile"),
    "CVE-2019-18837, absolute": Attack(targets(absolute)),
    "CVE-2019-18837, relative": Attack(targets(relative)),
    "CVE-2019-19921": Attack(kernel_directory("proc"), "/mounts/0/destination", "is a symbolic link"),
    "CVE-2019-19921, outside": Attack(proc_outside, "/mounts/0/destination", "is a symbolic link"),
    "CVE-2023-27561": Attack(kernel_directory("sys"), "/mounts/3/destination", "is a symbolic link"),
    "CVE-2024-21626": Attack(leaked_directory, "/process/cwd"),
    "CVE-2025-31133": Attack(null_is_a_link, "/linux", "something else is there"),
    "CVE-2025-31133, in a volume": Attack(null_in_a_volume, "/linux/maskedPaths/0", "isn't the null device"),
    "CVE-2025-52565": Attack(console_is_a_link, "/process/terminal", "/dev/console is a symbolic link"),
    "CVE-2025-52565, no devpts": Attack(terminal_of_the_images, "/process/terminal", "isn't a devpts"),
    "CVE-2025-52881": Attack(sysctl_into_a_file),
    "CVE-2026-41579, absolute": Attack(dev(absolute)),
    "CVE-2026-41579, relative": Attack(dev(relative)),
}
