"""The guest's first root: busybox, the modules that reach the real one, and what is to be run there."""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from vm.failure import Failure
from vm.prepare import Kernel, run

GUEST = Path(__file__).parent / "guest"
DIRECTORIES = ("bin", "dev", "proc", "sys", "lower", "upper", "root", "run", "modules")
# What it takes to reach the root, to give output and to have a disk; and tun, as runtimes look for its device
# and no udev is there to load it.
MODULES = ("overlay", "9pnet_virtio", "9p", "virtio_console", "virtio_blk", "tun")
# A session's variables would name sockets that the guest hasn't (XDG_RUNTIME_DIR, NOTIFY_SOCKET …).
VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TERM", "CI", "VIRTUAL_ENV")


def build(work: Path, kernel: Kernel, command: list[str], directory: Path) -> Path:
    """The initramfs of a guest that runs `command` in `directory`; made in `work`."""
    root = work / "initramfs"
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if not busybox:
        raise Failure("busybox is not installed")
    shutil.copy(busybox, root / "bin/busybox")
    for number, module in enumerate(modules(kernel)):
        (root / f"modules/{number:02}-{module.name.partition('.')[0]}.ko").write_bytes(content(module))
    for name in ("init", "run/runner", "run/vm.service"):
        shutil.copy(GUEST / Path(name).name, root / name)
    (root / "run/command").write_text(script(command, directory))
    (root / "run/settings").write_text(
        f"modules={shlex.quote(os.path.realpath(kernel.modules))}\n"
        f"below_tmp={shlex.quote(' '.join(below_tmp(directory)))}\n"
    )
    image = work / "initramfs.img"
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with open(image, "wb") as output:
        subprocess.run(
            [busybox, "cpio", "-o", "-H", "newc"],
            cwd=root,
            input=names.encode(),
            stdout=output,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return image


def modules(kernel: Kernel) -> list[Path]:
    """The files of MODULES and of those that they need, in the order of loading."""
    found: dict[Path, None] = {}
    for name in MODULES:
        shown = run("modprobe", "-d", str(kernel.base), "-S", kernel.version, "--show-depends", name)
        for line in shown.splitlines():
            verb, _, rest = line.partition(" ")
            if verb == "insmod":
                found[Path(rest.split()[0])] = None
    return list(found)


def content(module: Path) -> bytes:
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def script(command: list[str], directory: Path) -> str:
    exports = [f"export {name}={shlex.quote(os.environ[name])}" for name in VARIABLES if name in os.environ]
    return "\n".join(
        [*exports, f"cd {shlex.quote(str(directory))} || exit 125", f"exec {shlex.join(command)}\n"]
    )


def below_tmp(directory: Path) -> list[str]:
    """What the guest's own /tmp would hide, though it was asked for; no name has a space in it."""
    wanted = {str(directory), os.environ.get("VIRTUAL_ENV", "")}
    return sorted(path for path in wanted if path.startswith("/tmp/"))
