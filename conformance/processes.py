"""The bundles that runtimes are compared on for what their process is and may do."""

from __future__ import annotations

from conformance.linux import with_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness import Container, World

# Limits that need no right: none is above what there usually is.
LIMITS = {
    "AS": 1 << 40, "CORE": 0, "CPU": 3600, "DATA": 1 << 40, "FSIZE": 1 << 30, "LOCKS": 100,
    "MEMLOCK": 65536, "MSGQUEUE": 4096, "NICE": 0, "NOFILE": 512, "NPROC": 1000, "RSS": 1 << 40,
    "RTPRIO": 0, "RTTIME": 100000, "SIGPENDING": 100, "STACK": 8 << 20,
}  # fmt: skip
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP"]


def limited(world: World) -> Container:
    """Every limit, every set of capabilities with another content, a filter."""
    container = world.container()
    process = container.config["process"]
    process["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": value // 2, "hard": value} for name, value in LIMITS.items()
    ]
    process["capabilities"] = {
        "bounding": CAPABILITIES,
        "permitted": CAPABILITIES[:3],
        "inheritable": CAPABILITIES[:2],
        "effective": CAPABILITIES[1:3],
        "ambient": CAPABILITIES[:1],
    }
    process["user"] = {"uid": 12, "gid": 34, "additionalGids": [56, 0, 78], "umask": 0o117}
    process["noNewPrivileges"] = True
    process["oomScoreAdj"] = 500
    container.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["acct", "swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }
    return container


def of_another_domain(world: World) -> Container:
    """An execution domain other than the kernel's own."""
    container = world.container()
    container.config["linux"]["personality"] = {"domain": "LINUX32"}
    return container


def nobody(world: World) -> Container:
    """A user of a user namespace, with groups and capabilities of its own there."""
    container = with_user_namespace(world.container())
    process = container.config["process"]
    process["user"] = {"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o27}
    process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), CAPABILITIES)
    return container


PROCESSES: dict[str, Callable[[World], Container]] = {
    "process limits": limited,
    "process domain": of_another_domain,
    "process userns": nobody,
}
