"""The bundles that runtimes are compared on."""

from __future__ import annotations

from conformance import docker, mounts, processes
from conformance.linux import set_namespace, with_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness import Container, World

# What the probe is asked for besides what it always tells.
ASKED = [
    word
    for path in (
        "/", "/bin", "/etc/passwd", "/proc", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sys",
        "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/bus", "/sys", "/sys/firmware",
        "/sys/fs/cgroup", "/dev", "/dev/null", "/dev/tty", "/dev/pts", "/dev/ptmx", "/dev/shm", "/dev/mqueue",
        "/dev/console", "/dev/kmsg", "/tmp", "/work",
    )
    for word in ("--path", path)
] + [
    word
    for name in (
        "net.ipv4.ip_forward", "kernel.msgmax", "net.ipv4.ip_unprivileged_port_start", "kernel.domainname",
    )
    for word in ("--sysctl", name)
]  # fmt: skip


def default(world: World) -> Container:
    """What runtimes' `spec` command writes."""
    return world.container()


def options(world: World) -> Container:
    """Every common option."""
    container = world.container()
    config = container.config
    config["annotations"] = {"org.example.key": "value"}
    config["domainname"] = "example.org"
    process = config["process"]
    process.update(cwd="/work/made", noNewPrivileges=False, oomScoreAdj=250)
    process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 0o027}
    process["env"] += ["EMPTY=", "SPACED=a b"]
    process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"], "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
    }  # fmt: skip
    process["rlimits"] += [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 30, "hard": 1 << 31},
        {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200},
    ]  # fmt: skip
    config["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "nodev", "noexec", "noatime", "mode=1777", "size=1m"]},
        {"destination": "/work/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro", "nosuid"]},
        {"destination": "/work/file", "type": "bind", "source": "/etc/hostname",
         "options": ["bind", "rprivate"]},
        {"destination": "/work/new/deep", "type": "tmpfs", "source": "none", "options": ["ro"]},
    ]  # fmt: skip
    linux = config["linux"]
    linux["devices"] = [
        {"path": "/dev/alike", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
    ]  # fmt: skip
    linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}
    linux["resources"].update(
        memory={"limit": 256 << 20, "reservation": 128 << 20, "swap": 512 << 20},
        cpu={"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        pids={"limit": 100},
    )
    linux["rootfsPropagation"] = "private"
    set_namespace(config, "cgroup")
    return container


def userns(world: World) -> Container:
    """A user namespace with its own root."""
    return with_user_namespace(world.container())


def readonly(world: World) -> Container:
    """A read-only root with the default mounts, and no privileges at all."""
    container = world.container()
    container.config["root"]["readonly"] = True
    container.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    container.config["process"]["capabilities"] = {}
    return container


def engine(world: World) -> Container:
    """What Docker's engine writes."""
    container = world.container(docker.config())
    for name in ("resolv.conf", "hostname", "hosts"):
        (container.rootfs / "etc" / name).touch()
    return container


def terminal(world: World) -> Container:
    """A terminal of a given size, for a user other than root."""
    container = world.container()
    container.config["process"].update(
        terminal=True, consoleSize={"height": 43, "width": 132}, user={"uid": 1000, "gid": 1000}
    )
    return container


CASES: dict[str, Callable[[World], Container]] = {
    "default": default,
    "options": options,
    "userns": userns,
    "readonly": readonly,
    "docker": engine,
    "terminal": terminal,
    **mounts.MOUNTS,
    **processes.PROCESSES,
}


def asked(case: str) -> list[str]:
    """The probe's words for a case."""
    return ASKED + [word for path in mounts.ASKED.get(case, ()) for word in ("--path", path)]
