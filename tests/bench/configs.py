"""The two kinds of bundle that runtimes are compared on: the default of `spec`, and what Docker makes."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

# The engines' own seccomp profile, in their format (Debian's golang-github-containers-common).
PROFILE = Path("/usr/share/containers/seccomp.json")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
FEW_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
DOCKER_CAPABILITIES = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
]
MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    """One entry of `mounts`."""
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def default(rootfs: Path, args: list[str]) -> dict[str, Any]:
    """What `runc spec` writes, without a terminal."""
    safe = ("nosuid", "noexec", "nodev")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "cwd": "/",
            "noNewPrivileges": True,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), FEW_CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", *safe),
            mount("/sys", "sysfs", "sysfs", *safe, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    }


def docker(rootfs: Path, args: list[str]) -> dict[str, Any]:
    """The default with what Docker adds: seccomp, more capabilities, bound files, limits, a writable root."""
    config = default(rootfs, args)
    config["root"]["readonly"] = False
    config["process"]["noNewPrivileges"] = False
    config["process"]["oomScoreAdj"] = 0
    kinds = ("bounding", "effective", "permitted")
    config["process"]["capabilities"] = dict.fromkeys(kinds, DOCKER_CAPABILITIES)
    config["mounts"] += [
        mount(f"/etc/{name}", "bind", f"/etc/{name}", "rbind", "rprivate")
        for name in ("resolv.conf", "hostname", "hosts")
    ]
    config["linux"]["resources"] |= {
        "memory": {"limit": 512 << 20},
        "cpu": {"shares": 1024, "quota": 100000, "period": 100000},
        "pids": {"limit": 1000},
    }
    config["linux"]["resources"]["devices"] += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1))
    ]
    config["linux"]["seccomp"] = seccomp(DOCKER_CAPABILITIES)
    return config


def applies(rule: dict[str, Any], capabilities: list[str]) -> bool:
    """Whether a rule of the engines' profile holds for a process with these capabilities on this machine."""
    machine = ARCHITECTURES[platform.machine()]
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        all(name in capabilities for name in wanted.get("caps", []))
        and not any(name in capabilities for name in unwanted.get("caps", []))
        and machine in wanted.get("arches", [machine])
        and machine not in unwanted.get("arches", [])
    )


def seccomp(capabilities: list[str]) -> dict[str, Any]:
    """The engines' default profile, as they put it into config.json."""
    profile = json.loads(PROFILE.read_text())
    own = "SCMP_ARCH_X86_64" if platform.machine() == "x86_64" else "SCMP_ARCH_AARCH64"
    others = next(entry["subArchitectures"] for entry in profile["archMap"] if entry["architecture"] == own)
    rules = []
    for rule in filter(lambda rule: applies(rule, capabilities), profile["syscalls"]):
        kept = {
            key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key) is not None
        }
        rules.append(kept)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [own, *others],
        "syscalls": rules,
    }
