"""Makes the small root filesystem that the bundles here run: busybox, and the files that programs expect.

Usage: bundles/make.py [DIRECTORY]   (bundles/rootfs by default; what is there already is replaced)
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "everything": 0o755,
    "home/user": 0o755,
    "mnt": 0o755,
    "opt/broken": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "user:x:1000:1000:user:/home/user:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:user\nuser:x:1000:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": "nameserver 127.0.0.1\n",
    "etc/profile": "PS1='\\h:\\w\\$ '\n",
    # where the bundle `everything`, whose root may make nothing here, binds a file
    "run/secret": "",
}
# Programs that can't be started, for the bundles that are broken on purpose.
SCRIPT_WITHOUT_INTERPRETER = "#!/no/such/interpreter -x\necho never\n"
TEXT = "only a text\n"
ELF_INTERPRETER = b"/lib/no-such-loader.so\0"
MACHINES = {"x86_64": 62, "aarch64": 183}


def program_without_loader() -> bytes:
    """A dynamically linked ELF program of this machine whose loader (PT_INTERP) doesn't exist; see elf(5)."""
    header, entry = 64, 56
    text = header + 2 * entry
    size = text + len(ELF_INTERPRETER)
    address = 0x400000
    return b"".join(
        [
            b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
            struct.pack(
                "<HHIQQQIHHHHHH",
                2,
                MACHINES[platform.machine()],
                1,
                address,
                header,
                0,
                0,
                header,
                entry,
                2,
                0,
                0,
                0,
            ),
            struct.pack(
                "<IIQQQQQQ", 3, 4, text, address + text, 0, len(ELF_INTERPRETER), len(ELF_INTERPRETER), 1
            ),
            struct.pack("<IIQQQQQQ", 1, 5, 0, address, 0, size, size, 0x1000),
            ELF_INTERPRETER,
        ]
    )


def link_applets(root: Path) -> None:
    """Puts busybox at /bin/busybox and a relative link to it wherever one of its applets belongs."""
    (root / "bin").mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    listing = subprocess.run([BUSYBOX, "--list-full"], capture_output=True, text=True, check=True).stdout
    for name in sorted(set(listing.split()) - {"linuxrc"}):
        applet = root / name
        applet.parent.mkdir(parents=True, exist_ok=True)
        if not applet.exists():
            applet.symlink_to(os.path.relpath(root / "bin/busybox", applet.parent))


def make(root: Path) -> None:
    """Makes the whole of the root filesystem in `root`, which must not exist."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    link_applets(root)
    for name, mode in DIRECTORIES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    for name, text in FILES.items():
        (root / name).write_text(text)
    broken = root / "opt/broken"
    (broken / "text").write_text(TEXT)
    (broken / "script").write_text(SCRIPT_WITHOUT_INTERPRETER)
    (broken / "program").write_bytes(program_without_loader())
    (broken / "script").chmod(0o755)
    (broken / "program").chmod(0o755)
    if os.geteuid() == 0:
        os.chown(root / "home/user", 1000, 1000)


def main() -> None:
    """Makes it beside its final place first, so that nobody sees half of it."""
    if not BUSYBOX.exists():
        raise SystemExit("bundles/make.py: /bin/busybox is not there: apt-get install busybox-static")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "rootfs"
    half = target.with_name(f".{target.name}.{os.getpid()}")
    os.umask(0o022)
    try:
        make(half)
        if target.exists():
            shutil.rmtree(target)
        half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    print(f"made {target}")


if __name__ == "__main__":
    main()
