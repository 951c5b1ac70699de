"""What a user is told when the kernel refuses: the property, what was found, what would do; nothing stays."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime

Change = Callable[[Bundle], object]
MOUNT = "/mounts/4"  # the first after those of every bundle
LIMIT = 2**40


def mount(destination: str = "/x", kind: str = "tmpfs", source: str = "tmpfs", *options: str) -> Change:
    entry = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    return lambda bundle: bundle.config["mounts"].append(entry)


def bind(source: str, destination: str = "/x", *options: str) -> Change:
    return mount(destination, "bind", source, "bind", *options)


def linux(**properties: Any) -> Change:
    return lambda bundle: bundle.config["linux"].update(properties)


def process(**properties: Any) -> Change:
    return lambda bundle: bundle.config["process"].update(properties)


def resources(**properties: Any) -> Change:
    return linux(resources=properties)


def both(*changes: Change) -> Change:
    return lambda bundle: [change(bundle) for change in changes]


def namespace(kind: str, path: str = "") -> Change:
    def change(bundle: Bundle) -> None:
        entries = bundle.config["linux"]["namespaces"]
        kept = [entry for entry in entries if entry["type"] != kind]
        bundle.config["linux"]["namespaces"] = [*kept, {"type": kind, **({"path": path} if path else {})}]

    return change


def user_namespace(bundle: Bundle) -> None:
    bundle.in_user_namespace()


def link(name: str, target: str) -> Change:
    return lambda bundle: (bundle.rootfs / name).symlink_to(target)


def program(name: str, content: bytes, mode: int = 0o755) -> Change:
    def change(bundle: Bundle) -> None:
        (bundle.rootfs / name).write_bytes(content)
        (bundle.rootfs / name).chmod(mode)
        bundle.args("/" + name)

    return change


def hook(kind: str, *args: str, **properties: Any) -> Change:
    return lambda bundle: bundle.config.update(hooks={kind: [{"path": args[0], "args": args, **properties}]})


def seccomp(default: str, *denied: str, action: str = "SCMP_ACT_ERRNO", **properties: Any) -> Change:
    rules = [{"names": list(denied), "action": action}] if denied else []
    return linux(seccomp={"defaultAction": default, "syscalls": rules, **properties})


# name: (the change, the pointer, what else has to be said); refused by create and by run
REFUSED_BY_CREATE: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "a sysctl's value": (
        linux(sysctl={"net.ipv4.ip_default_ttl": "700"}),
        "/linux/sysctl/net.ipv4.ip_default_ttl",
        ("to 700", "invalid argument", "doesn't take this value"),
    ),
    "an unknown sysctl": (
        linux(sysctl={"net.ipv4.no_such": "1"}),
        "/linux/sysctl/net.ipv4.no_such",
        ("net/ipv4/no_such", "no such parameter"),
    ),
    "an unknown filesystem": (
        mount(kind="galaxyfs"),
        f"{MOUNT}/type",
        ("galaxyfs", "/x", "/proc/filesystems"),
    ),
    "a filesystem's option with a wrong value": (
        mount("/x", "tmpfs", "tmpfs", "size=big"),
        f"{MOUNT}/options",
        ("size=big", "Bad value for 'size'"),
    ),
    "an unknown option": (
        mount("/x", "tmpfs", "tmpfs", "nosiud"),
        f"{MOUNT}/options",
        ("nosiud", "pyoci features"),
    ),
    "an option whose refusal has two lines": (
        mount("/x", "proc", "proc", "hidepid=nobody"),
        f"{MOUNT}/options",
        ("hidepid=nobody",),
    ),
    "a device that isn't there": (
        mount("/x", "ext4", "/dev/nosuch"),
        MOUNT,
        ("/dev/nosuch", "no such file or directory", "/dev has no nosuch"),
    ),
    "a layer that isn't there": (
        mount("/x", "overlay", "overlay", "lowerdir=/no/such"),
        f"{MOUNT}/options",
        ("lowerdir=/no/such", "no such file or directory", "/ has no no"),
    ),
    "a mount through a file": (
        mount("/etc/passwd/x"),
        f"{MOUNT}/destination",
        ("/etc/passwd/x", "component passwd", "not a directory"),
    ),
    "a mount through a link to itself": (
        both(link("loop", "loop"), mount("/loop/x")),
        f"{MOUNT}/destination",
        ("component loop", "leads to itself"),
    ),
    "proc on a link": (
        both(link("elsewhere", "tmp"), mount("/elsewhere", "proc", "proc")),
        f"{MOUNT}/destination",
        ("component elsewhere is a symbolic link", "on a directory only"),
    ),
    "a directory on a file": (
        bind("/etc", "/etc/passwd"),
        f"{MOUNT}/destination",
        ("the source is a directory", "/etc/passwd is a file"),
    ),
    "a bind of nothing": (
        bind("/no/such"),
        f"{MOUNT}/source",
        ("/no/such", "no such file or directory", "must exist on the host"),
    ),
    "a bind with a filesystem's option": (
        bind("/etc", "/x", "size=5"),
        f"{MOUNT}/options/1",
        ("size=5", "bind mount"),
    ),
    "a remount of nothing": (
        mount("/etc", "none", "none", "remount", "ro"),
        f"{MOUNT}/destination",
        ("/etc", "mounted there already"),
    ),
    "a very long destination": (
        mount("/" + "x" * 3000),
        f"{MOUNT}/destination",
        ("xxx...", "file name too long"),
    ),
    "a namespace that isn't there": (
        namespace("network", "/run/netns/nosuch"),
        "/linux/namespaces/5/path",
        ("/run/netns/nosuch", "no such file or directory"),
    ),
    "a namespace of another kind": (
        namespace("network", "/proc/self/ns/uts"),
        "/linux/namespaces/5/path",
        ("join the network namespace", "is uts:[", "type network"),
    ),
    "a file for a namespace": (
        namespace("ipc", "/etc/passwd"),
        "/linux/namespaces/5/path",
        ("join the ipc namespace", "/etc/passwd", "type ipc"),
    ),
    "a device where something else is": (
        linux(devices=[{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]),
        "/linux/devices/0",
        ("/etc/passwd", "something else is there"),
    ),
    "a user whom nothing maps": (
        both(user_namespace, process(user={"uid": 70000, "gid": 0})),
        "/process/user/uid",
        ("70000", "/linux/uidMappings", "0 to 65535"),
    ),
    "a group that nothing maps": (
        both(user_namespace, process(user={"uid": 0, "gid": 0, "additionalGids": [1, 70000]})),
        "/process/user/additionalGids/1",
        ("70000", "/linux/gidMappings"),
    ),
    "a mount where the mapped user can't make anything": (
        both(user_namespace, mount("/x/y")),
        f"{MOUNT}/destination",
        ("component x: permission denied", "may not make it there"),
    ),
    "a root that the mapped user can't reach": (
        both(user_namespace, lambda bundle: bundle.path.chmod(0o700)),
        "/root/path",
        ("permission denied", "must be able to search every directory"),
    ),
    "a limit above the host's, with mappings": (
        both(user_namespace, process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": LIMIT, "hard": LIMIT}])),
        "/process/rlimits/0",
        ("RLIMIT_NOFILE", str(LIMIT), "fs.nr_open"),
    ),
    "too little memory to start": (
        resources(memory={"limit": 4096}),
        "/linux/resources/memory/limit",
        ("its memory was used up", "4096", "1 MiB is enough"),
    ),
    "CPUs that aren't there": (
        resources(cpu={"cpus": "0-4096"}),
        "/linux/resources/cpu/cpus",
        ("0-4096", "cpuset.cpus", "the cgroup above has"),
    ),
    "a throttle on no device": (
        resources(blockIO={"throttleReadBpsDevice": [{"major": 250, "minor": 99, "rate": 1000}]}),
        "/linux/resources/blockIO/throttleReadBpsDevice/0",
        ("250:99 1000",),
    ),
    "the root of the cgroups": (
        linux(cgroupsPath="/"),
        "/linux/cgroupsPath",
        ("'/'", "no cgroup of a container's own", "one below it would do"),
    ),
    "a working directory that is a file": (
        process(cwd="/etc/passwd"),
        "/process/cwd",
        ("/etc/passwd", "not a directory"),
    ),
    "a mask of the root": (linux(maskedPaths=["/"]), "/linux/maskedPaths/0", ("the container's root",)),
    "a clock before zero": (
        both(namespace("time"), linux(timeOffsets={"boottime": {"secs": -99999999999}})),
        "/linux/timeOffsets",
        ("boottime -99999999999", "no clock may be before 0"),
    ),
    "a terminal without devpts": (
        both(
            lambda bundle: bundle.config["mounts"].pop(2),
            lambda bundle: bundle.config["process"].update(terminal=True),
        ),
        "/process/terminal",
        ("can't open a terminal", "a mount of type devpts on /dev/pts"),
    ),
    "a program that isn't there": (
        process(args=["nothing"]),
        "/process/args/0",
        ('exec: "nothing": executable file not found in $PATH', "/bin:/usr/bin"),
    ),
    "a program's name of 4000 characters": (
        process(args=["/" + "x" * 4000]),
        "/process/args/0",
        ("xxx...", "file name too long"),
    ),
    "a hook that isn't there": (
        hook("createRuntime", "/no/such"),
        "/hooks/createRuntime/0/path",
        ('exec: "/no/such": no such file or directory', "/no is missing"),
    ),
    "a hook that fails": (
        hook("createRuntime", "/bin/sh", "-c", "echo no network >&2; exit 3"),
        "/hooks/createRuntime/0",
        ("/bin/sh exited with status 3", "no network"),
    ),
    "a hook that doesn't end": (
        hook("prestart", "/bin/sleep", "60", timeout=1),
        "/hooks/prestart/0",
        ("/bin/sleep was still running after 1 s",),
    ),
}

# The same for what only the program's own process can find out: refused by start and by run
REFUSED_BY_START: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "a limit above the host's": (
        process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": LIMIT, "hard": LIMIT}]),
        "/process/rlimits/0",
        ("RLIMIT_NOFILE", str(LIMIT), "fs.nr_open"),
    ),
    "memory nodes that aren't there": (
        linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "77"}),
        "/linux/memoryPolicy",
        ("invalid argument", "cpuset.mems"),
    ),
    "arguments too long": (
        process(args=["true", "x" * 200000]),
        "/process/args",
        ("argument list too long", "128 KiB"),
    ),
    "a program on a mount with noexec": (
        both(
            lambda bundle: bind(f"{bundle.rootfs}/bin", "/tmp", "noexec")(bundle),
            process(args=["/tmp/true"]),
        ),
        "/process/args/0",
        ("permission denied", "/tmp/true", "noexec"),
    ),
    "a program that the user may not execute": (
        both(program("bin/x", b"#!/bin/sh\n", 0o700), process(user={"uid": 1000, "gid": 1000})),
        "/process/args/0",
        ('"/bin/x": permission denied', "the user may not execute it"),
    ),
    "a script without #!": (
        program("bin/x", b"echo hello\n"),
        "/process/args/0",
        ('"/bin/x": exec format error', "text file without a #! line"),
    ),
    "a script from Windows": (
        program("bin/x", b"#!/bin/sh\r\necho\r\n"),
        "/process/args/0",
        ("no such file or directory", "/bin/sh^M", "CR LF"),
    ),
    "an empty program": (
        program("bin/x", b""),
        "/process/args/0",
        ("exec format error", "it is empty"),
    ),
    "a filter that denies execve": (
        seccomp("SCMP_ACT_ALLOW", "execve", "execveat"),
        "/process/args/0",
        ("operation not permitted", "has to allow execve"),
    ),
    "a filter that denies everything": (
        seccomp("SCMP_ACT_ERRNO"),
        "/linux/seccomp",
        ("before its program ran", "allow execve, write"),
    ),
    "a filter that kills": (
        seccomp("SCMP_ACT_KILL_PROCESS"),
        "/linux/seccomp",
        ("killed by signal 31 before its program ran",),
    ),
    "a filter whose agent isn't there": (
        seccomp("SCMP_ACT_ALLOW", "mkdir", action="SCMP_ACT_NOTIFY", listenerPath="/run/nosuch"),
        "/linux/seccomp/listenerPath",
        ("/run/nosuch", "has to listen there"),
    ),
    "a hook in the container that isn't there": (
        hook("startContainer", "/no/such"),
        "/hooks/startContainer/0/path",
        ('exec: "/no/such": no such file or directory',),
    ),
    "a hook after the start that fails": (
        hook("poststart", "/bin/false"),
        "/hooks/poststart/0",
        ("/bin/false exited with status 1",),
    ),
}  # fmt: skip


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    """With a cgroup of its own, so that no other container's can be what is told of."""
    bundle.config["linux"]["cgroupsPath"] = "/" + "-".join(bundle.path.parts[-3:])
    return bundle


def check(done: subprocess.CompletedProcess[str], verb: str, pointer: str, phrases: tuple[str, ...]) -> None:
    """One sentence after the pointer, at most one line with a hint, and what has to be in them."""
    assert done.returncode == (255 if verb == "exec" else 1), done.stderr
    message, *hints = done.stderr.rstrip("\n").split("\n")
    assert message.startswith(f"pyoci {verb}: {pointer}: "), done.stderr
    assert not message.endswith(".")
    assert len(message) < 1000
    assert len(hints) <= 1, done.stderr
    assert all(hint.startswith("  ") and len(hint) < 200 for hint in hints), done.stderr
    for phrase in phrases:
        assert phrase in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("name", REFUSED_BY_CREATE)
def test_refused_by_create(runtime: Runtime, bundle: Bundle, name: str) -> None:
    change, pointer, phrases = REFUSED_BY_CREATE[name]
    change(bundle)
    path = str(bundle.save())
    verbs = ("run",) if "terminal" in name else ("create", "run")
    for verb in verbs:
        check(runtime.call(verb, "--bundle", path, "one"), verb, pointer, phrases)
    assert runtime.ok("list", "-q") == ""


@pytest.mark.parametrize("name", REFUSED_BY_START)
def test_refused_by_start(runtime: Runtime, bundle: Bundle, name: str) -> None:
    change, pointer, phrases = REFUSED_BY_START[name]
    change(bundle)
    runtime.create(bundle, "one")
    check(runtime.call("start", "one"), "start", pointer, phrases)
    assert runtime.state("one")["status"] == "stopped"
    runtime.ok("delete", "one")
    check(runtime.call("run", "--bundle", str(bundle.path), "one"), "run", pointer, phrases)
    assert runtime.ok("list", "-q") == ""


# name: (flags and program, the pointer, what else has to be said)
REFUSED_BY_EXEC: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "a program that isn't there": (
        ("one", "nothing"),
        "/process/args/0",
        ("executable file not found in $PATH", "/bin:/usr/bin"),
    ),
    "a directory": (("one", "/bin"), "/process/args/0", ("permission denied", "it is a directory")),
    "a working directory that is a file": (
        ("--cwd", "/etc/passwd", "one", "true"),
        "/process/cwd",
        ("not a directory",),
    ),
    "a user whom nothing maps": (
        ("--user", "70000", "one", "true"),
        "/process/user",
        ("become user 70000", "must be in the user namespace's mappings"),
    ),
    "a group that nothing maps": (
        ("--additional-gids", "70000", "one", "true"),
        "/process/user/additionalGids",
        ("[70000]", "must be in the user namespace's mappings"),
    ),
}


def test_refused_by_exec(runtime: Runtime, bundle: Bundle) -> None:
    user_namespace(bundle)
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    for args, pointer, phrases in REFUSED_BY_EXEC.values():
        check(runtime.call("exec", *args), "exec", pointer, phrases)
    assert runtime.state("one")["status"] == "running"
    runtime.ok("delete", "--force", "one")


@pytest.mark.skipif(
    Path("/sys/module/apparmor/parameters/enabled").exists(), reason="this kernel has AppArmor"
)
def test_a_profile_where_there_is_no_apparmor(runtime: Runtime, bundle: Bundle) -> None:
    process(apparmorProfile="nosuch")(bundle)
    done = runtime.call("run", "--bundle", str(bundle.save()), "one")
    check(done, "run", "/process/apparmorProfile", ("without AppArmor", "remove the property"))


@pytest.mark.skipif("selinuxfs" in Path("/proc/filesystems").read_text(), reason="this kernel has SELinux")
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (process(selinuxLabel="a:b:c"), "/process/selinuxLabel"),
        (linux(mountLabel="a:b:c"), "/linux/mountLabel"),
    ],
)
def test_a_label_where_there_is_no_selinux(
    runtime: Runtime, bundle: Bundle, change: Change, pointer: str
) -> None:
    change(bundle)
    done = runtime.call("run", "--bundle", str(bundle.save()), "one")
    check(done, "run", pointer, ("off in this kernel", "remove the property"))


def test_an_engine_gets_the_parts_of_an_error(runtime: Runtime, bundle: Bundle) -> None:
    bind("/no/such")(bundle)
    log = bundle.path / "log"
    flags = ("--log", str(log), "--log-format", "json")
    assert runtime.call(*flags, "create", "--bundle", str(bundle.save()), "one").returncode == 1
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert entry["pointer"] == f"{MOUNT}/source"
    assert entry["code"] == "not-found"
    assert entry["errno"] == 2
    assert entry["hint"] == "a bind mount's source must exist on the host: / has no no"
    assert "/no/such" in entry["msg"]


def test_killed_between_create_and_start(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.args("sleep", "60"), "one")
    pid = runtime.state("one")["pid"]
    os.kill(pid, 9)
    done = runtime.call("start", "one")
    assert done.returncode == 1
    # Its end may come before the connection, or after.
    assert "it has stopped" in done.stderr or "was killed by signal 9" in done.stderr
    runtime.ok("delete", "one")
