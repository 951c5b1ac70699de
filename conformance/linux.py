"""config-linux.md: namespaces, ids' mappings, sysctl, seccomp."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import subprocess
import time
from pathlib import Path

from conformance import host
from conformance.harness import Container, World, refused, succeeds
from conformance.registry import SHOULD, Skip, check, equal, requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NAMESPACES = "config-linux.md#namespaces"
MAPPINGS = "config-linux.md#user-namespace-mappings"
# The specification's name of a kind, and that of /proc/PID/ns.
KINDS = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user",
    "cgroup": "cgroup", "time": "time",
}  # fmt: skip
SHIFT, COUNT = 100000, 65536


def set_namespace(config: dict[str, Any], kind: str, path: str | None = None) -> None:
    """Have `kind` among the namespaces once, new or joined by `path`."""
    rest = [entry for entry in config["linux"]["namespaces"] if entry["type"] != kind]
    config["linux"]["namespaces"] = [*rest, {"type": kind, **({} if path is None else {"path": path})}]


def drop_namespace(config: dict[str, Any], kind: str) -> None:
    config["linux"]["namespaces"] = [e for e in config["linux"]["namespaces"] if e["type"] != kind]


def with_user_namespace(container: Container) -> Container:
    """Give the container a user namespace of 65,536 ids, and make its root filesystem that of its root."""
    config = container.config
    set_namespace(config, "user")
    mapping = [{"containerID": 0, "hostID": SHIFT, "size": COUNT}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    for directory, _, _ in os.walk(container.rootfs):
        os.chown(directory, SHIFT, SHIFT)
    return container


@contextlib.contextmanager
def neighbour(world: World, *kinds: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in new namespaces of these kinds (unshare(1)'s options), for containers to join."""
    options = [f"--{kind}" for kind in kinds]
    fork = ["--fork", "--kill-child"] if "pid" in kinds else []
    holder = subprocess.Popen(
        ["unshare", *options, *fork, "sh", "-c", "echo ready; exec sleep 1000"], stdout=subprocess.PIPE
    )
    world.helper(holder)
    assert holder.stdout is not None
    if holder.stdout.readline() != b"ready\n":
        raise Skip(f"unshare can't make {kinds} namespaces here")
    yield holder


# ---------------------------------------------------------------- namespaces


def new_namespace_requirement(kind: str) -> None:
    """Register the requirement that a listed kind is new, and that one not listed is the runtime's."""

    def test(world: World) -> None:
        if not Path(f"/proc/self/ns/{KINDS[kind]}").exists():
            raise Skip(f"this kernel has no {kind} namespaces")
        outer = world.runtime.namespaces()[KINDS[kind]]
        container = world.container()
        if kind == "user":
            with_user_namespace(container)
        else:
            set_namespace(container.config, kind)
        found = container.view()["namespaces"][KINDS[kind]]
        check(found != outer, f"the {kind} namespace is the runtime's")

    test.__name__ = f"namespace_{kind}_is_new"
    test.__doc__ = f"A new {kind} namespace is made where `namespaces` lists the type without a path."
    older = {
        "runc": "1.1.5 is older than time namespaces (spec 1.1)",
        "crun": "1.8.1 fails to make a time namespace",
    }
    requirement(NAMESPACES, deviations=older if kind == "time" else None)(test)


for _kind in KINDS:
    new_namespace_requirement(_kind)


@requirement(NAMESPACES)
def namespaces_not_listed_are_inherited(world: World) -> None:
    """The container is in the runtime's namespace of each type that is not listed."""
    outer = world.runtime.namespaces()
    for kind in ("network", "ipc", "uts", "pid"):
        container = world.container()
        drop_namespace(container.config, kind)
        if kind == "uts":
            del container.config["hostname"]
        if kind == "ipc":
            # A new mqueue belongs to a new IPC namespace.
            container.config["mounts"] = [m for m in container.config["mounts"] if m["type"] != "mqueue"]
        if kind == "network":
            # sysfs can't be mounted for another user namespace's network; bound, it can.
            container.config["mounts"] = [m for m in container.config["mounts"] if m["type"] != "sysfs"]
        view = container.view()
        equal(view["namespaces"][KINDS[kind]], outer[KINDS[kind]], f"{kind} namespace")
    view = world.container().view()
    for name in ("user", "cgroup", "time"):
        equal(view["namespaces"][name], outer[name], f"{name} namespace")


@requirement(NAMESPACES)
def namespaces_of_a_path_are_joined(world: World) -> None:
    """The container is placed in the namespace that `path` names: network, ipc, uts, cgroup, time."""
    with neighbour(world, "net", "ipc", "uts", "cgroup") as holder:
        inside = host.namespaces(holder.pid)
        for kind in ("network", "ipc", "uts", "cgroup"):
            container = world.container()
            if kind == "uts":
                del container.config["hostname"]
            set_namespace(container.config, kind, f"/proc/{holder.pid}/ns/{KINDS[kind]}")
            equal(container.view()["namespaces"][KINDS[kind]], inside[KINDS[kind]], f"{kind} namespace")


@requirement(NAMESPACES)
def namespace_pid_of_a_path_is_joined(world: World) -> None:
    """A pid namespace by path is joined: the container sees the processes that are in it."""
    first = world.container().holding()
    container = world.container()
    set_namespace(container.config, "pid", f"/proc/{first.pid}/ns/pid")
    view = container.view()
    equal(view["namespaces"]["pid"], host.namespaces(first.pid)["pid"], "pid namespace")
    check(
        1 in view["processes"] and view["pid"] != 1, f"processes {view['processes']}, own pid {view['pid']}"
    )
    equal(first.status(), "running", "status of the container whose namespace was joined")


@requirement(
    NAMESPACES,
    deviations={
        "runc": "1.1.5 wants mappings also for a namespace that has its own",
    },
)
def namespace_user_of_a_path_is_joined(world: World) -> None:
    """A user namespace by path is joined."""
    first = with_user_namespace(world.container()).holding()
    container = with_user_namespace(world.container())
    set_namespace(container.config, "user", f"/proc/{first.pid}/ns/user")
    del container.config["linux"]["uidMappings"], container.config["linux"]["gidMappings"]
    view = container.view()
    equal(view["namespaces"]["user"], host.namespaces(first.pid)["user"], "user namespace")
    equal(view["uids"], [0, 0, 0], "uids")


@requirement(NAMESPACES)
def namespace_path_of_another_type_is_an_error(world: World) -> None:
    """A path that is not associated with a namespace of the type is an error."""
    with neighbour(world, "net", "ipc", "uts") as holder:
        for kind, path in (
            ("network", f"/proc/{holder.pid}/ns/uts"), ("ipc", f"/proc/{holder.pid}/ns/net"),
            ("uts", "/etc/passwd"), ("network", "/proc"), ("pid", f"/proc/{holder.pid}/ns/none"),
        ):  # fmt: skip
            container = world.container()
            set_namespace(container.config, kind, path)
            refused(container.create(), f"{path} is no {kind} namespace")
        equal(world.leftovers(), [], "left behind")


@requirement(
    NAMESPACES,
    deviations={
        "crun": "1.8.1 takes the last one",
    },
)
def namespace_twice_is_an_error(world: World) -> None:
    """Two entries of the same type are an error."""
    container = world.container()
    container.config["linux"]["namespaces"].append({"type": "uts"})
    refused(container.create(), "there are two uts namespaces")


@requirement(NAMESPACES)
def namespace_of_unknown_type_is_an_error(world: World) -> None:
    """A type that is none is an error."""
    container = world.container()
    container.config["linux"]["namespaces"].append({"type": "flavour"})
    refused(container.create(), "there is no such namespace")


@requirement(NAMESPACES)
def pid_namespace_hides_the_other_processes(world: World) -> None:
    """Processes in the container only see others of the container."""
    equal(world.container().view()["processes"], [1], "processes in /proc")


@requirement(NAMESPACES)
def network_namespace_is_its_own(world: World) -> None:
    """The container has its own network stack: no interface of the host's but its own loopback."""
    found = world.container().view()["interfaces"]
    others = [name for name in found if name != "lo" and found[name] == "up"]
    equal(("lo" in found, others), (True, []), "a loopback interface, and others that are up")


@requirement(NAMESPACES)
def mount_namespace_is_its_own(world: World) -> None:
    """The host's mounts can't be seen in the container, nor the container's on the host."""
    container = world.container().holding()
    equal(world.leftovers_mounts(), [], "the container's mounts on the host")
    points = host.mount_points(container.pid)
    equal(points[0] if points else None, "/", "the first mount in the container")
    known = {mount["destination"] for mount in container.config["mounts"]} | {"/"}
    known |= {*container.config["linux"]["maskedPaths"], *container.config["linux"]["readonlyPaths"]}
    allowed = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom", "/dev/ptmx")
    equal([p for p in points if p not in known and p not in allowed], [], "mounts nobody asked for")


@requirement(
    "config-linux.md#offset-for-time-namespace",
    deviations={
        "runc": "1.1.5 is older than time namespaces (spec 1.1)",
        "crun": "1.8.1 fails to make a time namespace",
    },
)
def time_offsets_are_set(world: World) -> None:
    """`timeOffsets` are the offsets of the clocks in a new time namespace."""
    if not Path("/proc/self/timens_offsets").exists():
        raise Skip("this kernel has no time namespaces")
    container = world.container()
    set_namespace(container.config, "time")
    container.config["linux"]["timeOffsets"] = {
        "monotonic": {"secs": 86400, "nanosecs": 5}, "boottime": {"secs": 1000000},
    }  # fmt: skip
    view = container.view()
    words = [line.split() for line in view["timens_offsets"].splitlines()]
    equal(sorted(words), [["boottime", "1000000", "0"], ["monotonic", "86400", "5"]], "timens_offsets")
    ahead = view["clock_monotonic"] - time.clock_gettime(time.CLOCK_MONOTONIC)
    check(86000 < ahead < 86500, f"the monotonic clock is {ahead} s ahead of the host's")


# ---------------------------------------------------------------- user namespaces


@requirement(MAPPINGS)
def user_namespace_mappings_are_set(world: World) -> None:
    """uidMappings and gidMappings are the mappings of the new user namespace, several of them too."""
    container = with_user_namespace(world.container())
    container.config["linux"]["uidMappings"] = [
        {"containerID": 0, "hostID": SHIFT, "size": 1000},
        {"containerID": 5000, "hostID": 300000, "size": 10},
    ]  # fmt: skip
    view = container.view()
    uid_map = [[int(word) for word in line.split()] for line in view["uid_map"].splitlines()]
    gid_map = [[int(word) for word in line.split()] for line in view["gid_map"].splitlines()]
    equal(uid_map, [[0, SHIFT, 1000], [5000, 300000, 10]], "uid_map")
    equal(gid_map, [[0, SHIFT, COUNT]], "gid_map")
    equal((view["uids"], view["gids"]), ([0] * 3, [0] * 3), "ids in the container")


@requirement(MAPPINGS)
def user_namespace_root_is_nobody_outside(world: World) -> None:
    """The container's user is, on the host, the one it is mapped to."""
    container = with_user_namespace(world.container())
    container.config["process"]["user"] = {"uid": 33, "gid": 44, "additionalGids": [55]}
    container.holding()
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    found = {
        line.split(":")[0]: line.split()[1:] for line in lines if line.startswith(("Uid", "Gid", "Groups"))
    }
    equal(found["Uid"], [str(SHIFT + 33)] * 4, "uids on the host")
    equal(found["Gid"], [str(SHIFT + 44)] * 4, "gids on the host")
    check(str(SHIFT + 55) in found["Groups"], f"groups on the host: {found['Groups']}")


@requirement(MAPPINGS, SHOULD)
def user_namespace_changes_no_owner(world: World) -> None:
    """The ownership of the root filesystem is not modified for a mapping."""
    container = with_user_namespace(world.container())
    before = {str(p): (p.lstat().st_uid, p.lstat().st_gid) for p in container.rootfs.rglob("*")}
    container.view()
    after = {str(p): (p.lstat().st_uid, p.lstat().st_gid) for p in container.rootfs.rglob("*")}
    equal(
        {path: owner for path, owner in after.items() if before.get(path, owner) != owner},
        {},
        "changed owners",
    )


@requirement(MAPPINGS)
def user_namespace_has_devices_and_mounts(world: World) -> None:
    """A container in a user namespace has the default devices, its mounts, masked and read-only paths."""
    container = with_user_namespace(world.container())
    view = container.view(
        "--path", "/dev/null", "--path", "/proc/kcore", "--path", "/proc/sys/kernel/hostname"
    )
    equal((view["dev"]["null"]["device"], view["paths"]["/dev/null"]["write_errno"]), ("1:3", 0), "/dev/null")
    check(not view["paths"]["/proc/kcore"].get("content"), "/proc/kcore can be read")
    check(view["paths"]["/proc/sys/kernel/hostname"]["write_errno"] != 0, "/proc/sys can be written to")
    equal({m["type"] for m in view["mounts"] if m["point"] == "/proc"}, {"proc"}, "/proc")


@requirement(MAPPINGS)
def user_namespace_owns_the_others(world: World) -> None:
    """The container's other namespaces belong to its user namespace: its root may set the host name."""
    container = with_user_namespace(world.container())
    container.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    view = container.view("--sysctl", "net.ipv4.ip_forward")
    equal(
        (view["hostname"], view["sysctl"]["net.ipv4.ip_forward"]),
        ("conformance", "1\n"),
        "host name, ip_forward",
    )


# ---------------------------------------------------------------- sysctl


@requirement("config-linux.md#sysctl")
def sysctl_is_set(world: World) -> None:
    """Kernel parameters are modified for the container, and for it only."""
    parameters = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345", "fs.mqueue.msg_max": "17"}
    before = Path("/proc/sys/kernel/msgmax").read_text()
    container = world.container()
    container.config["linux"]["sysctl"] = parameters
    view = container.view(*(word for name in parameters for word in ("--sysctl", name)))
    equal({k: v.strip() for k, v in view["sysctl"].items() if v is not None}, parameters, "parameters")
    equal(Path("/proc/sys/kernel/msgmax").read_text(), before, "the host's kernel.msgmax")


@requirement("config-linux.md#sysctl")
def sysctl_of_the_host_is_an_error(world: World) -> None:
    """A parameter that belongs to no namespace of the container's is not set on the host: it is an error."""
    before = Path("/proc/sys/vm/swappiness").read_text()
    other = "11" if before.strip() != "11" else "12"
    container = world.container()
    container.config["linux"]["sysctl"] = {"vm.swappiness": other}
    try:
        refused(container.create(), "vm.swappiness is the whole machine's")
        equal(Path("/proc/sys/vm/swappiness").read_text(), before, "the host's vm.swappiness")
    finally:
        if Path("/proc/sys/vm/swappiness").read_text() != before:
            Path("/proc/sys/vm/swappiness").write_text(before)


@requirement("config-linux.md#sysctl")
def sysctl_unknown_is_an_error(world: World) -> None:
    """A parameter the kernel hasn't is an error."""
    container = world.container()
    container.config["linux"]["sysctl"] = {"net.ipv4.no_such_thing": "1"}
    refused(container.create(), "there is no such parameter")
    equal(world.leftovers(), [], "left behind")


# ---------------------------------------------------------------- seccomp

# mknod's and mkdir's numbers by architecture; aarch64 has only mknodat and mkdirat.
SYSCALLS = {
    "x86_64": {"mknod": 133, "mkdir": 83, "getcwd": 79},
    "aarch64": {"mknodat": 33, "mkdirat": 34, "getcwd": 17},
}


@requirement("config-linux.md#seccomp")
def seccomp_filter_is_applied(world: World) -> None:
    """System calls of the filter fail with its errno (EPERM by default), others are as ever."""
    numbers = SYSCALLS.get(platform.machine())
    if numbers is None:
        raise Skip(f"the suite knows no system call numbers of {platform.machine()}")
    (one, one_number), (two, two_number), (three, three_number) = numbers.items()
    container = world.container()
    container.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": [one], "action": "SCMP_ACT_ERRNO"},
            {"names": [two], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV},
        ],
    }
    words = [word for number in (one_number, two_number, three_number) for word in ("--syscall", str(number))]
    view = container.view(*words)
    equal(view["seccomp_mode"], "2", "seccomp mode")
    equal(view["syscalls"][str(one_number)], errno.EPERM, f"errno of {one}")
    equal(view["syscalls"][str(two_number)], errno.EXDEV, f"errno of {two}")
    check(
        view["syscalls"][str(three_number)] in (errno.EFAULT, errno.ERANGE),
        f"{three} fails otherwise than ever",
    )


@requirement("config-linux.md#seccomp")
def seccomp_without_is_off(world: World) -> None:
    """Without `seccomp`, the process has no filter that the runtime hadn't."""
    own = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Seccomp:")
    )
    equal(world.container().view()["seccomp_mode"], own.split()[1], "seccomp mode")


@requirement("config-linux.md#seccomp")
def seccomp_is_applied_without_no_new_privileges(world: World) -> None:
    """A filter holds whether or not `noNewPrivileges` is set, for a user other than root too."""
    container = world.container()
    container.config["process"].update(noNewPrivileges=False, user={"uid": 1000, "gid": 1000})
    container.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO"}],
    }
    view = container.view()
    equal((view["seccomp_mode"], view["no_new_privs"]), ("2", 0), "seccomp mode and no_new_privs")


@requirement("config-linux.md#seccomp")
def seccomp_unknown_action_is_an_error(world: World) -> None:
    """An action that is none is an error."""
    container = world.container()
    container.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_WHATEVER"}
    refused(container.create(), "there is no such action")
    equal(world.leftovers(), [], "left behind")


@requirement("runtime.md#start")
def several_containers_share_nothing(world: World) -> None:
    """Two containers made of the same configuration have different namespaces and cgroups."""
    one, two = world.container().holding(), world.container().holding()
    first, second = host.namespaces(one.pid), host.namespaces(two.pid)
    for kind in ("pid", "net", "mnt", "ipc", "uts"):
        check(first[kind] != second[kind], f"the {kind} namespaces are the same")
    succeeds(one.kill("TERM"))
    one.wait()
    equal(two.status(), "running", "status of the other after one was killed")
