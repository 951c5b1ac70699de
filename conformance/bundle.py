"""Bundles: a root filesystem of the probe and busybox, and the configurations requirements start from."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Seen only from inside a container's root; the probe's hook looks for it.
MARKER = ".conformance-container"
BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
APPLETS = ("sh", "cat", "echo", "ls", "sleep", "id", "mount", "true", "false")
DIRECTORIES = (
    "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "var", "work",
)  # fmt: skip

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
DEFAULT_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]  # fmt: skip
DEFAULT_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def busybox() -> str | None:
    """A busybox on this machine (Debian's busybox-static), or None."""
    return next((path for path in BUSYBOX if os.path.exists(path)), None)


def make_rootfs(directory: Path, probe: Path) -> None:
    """Fill `directory` with a root filesystem: the probe, busybox where the machine has it, /etc/passwd."""
    for name in DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "tmp").chmod(0o1777)
    shutil.copy(probe, directory / "bin/probe")
    found = busybox()
    if found is not None:
        shutil.copy(found, directory / "bin/busybox")
        for applet in APPLETS:
            (directory / "bin" / applet).symlink_to("busybox")
    (directory / MARKER).touch()
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nwriter:x:1000:1000:writer:/home/writer:/bin/sh\n"
    )
    (directory / "etc/group").write_text("root:x:0:\nwriter:x:1000:\n")


def copy_rootfs(template: Path, directory: Path) -> None:
    """A root filesystem like `template`: directories of its own, files as hard links to the template's."""
    shutil.copytree(template, directory, symlinks=True, copy_function=os.link)


def open_files() -> int:
    """The usual 1024, or less where this process's own hard limit is less.

    Raising it would need CAP_SYS_RESOURCE.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)


def default_mounts() -> list[dict[str, Any]]:
    """The mounts of the configuration that runtimes' `spec` command writes."""
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]  # fmt: skip


def default_config() -> dict[str, Any]:
    """A configuration as runtimes' `spec` command writes it, without a terminal and with a writable root."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": list(DEFAULT_CAPABILITIES),
                "effective": list(DEFAULT_CAPABILITIES),
                "permitted": list(DEFAULT_CAPABILITIES),
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": open_files(), "soft": open_files()}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "conformance",
        "mounts": default_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": list(DEFAULT_MASKED),
            "readonlyPaths": list(DEFAULT_READONLY),
        },
    }


def write_config(directory: Path, config: dict[str, Any]) -> None:
    (directory / "config.json").write_text(json.dumps(config, indent=2))
