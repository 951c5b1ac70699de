"""Containers of a user without any rights, from `pyoci spec --rootless`, with and without cgroups of his."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup.layout import detect
from support.cgroups import eventually, membership
from support.containers import reap_orphans, status
from support.delegated import Delegated
from support.mounts import own_mounts
from support.screen import Screen
from support.unprivileged import (
    COUNT,
    FIRST,
    GID,
    UID,
    RootlessBundle,
    RootlessRuntime,
    User,
    missing_helpers,
    unprivileged,
)

MODE = detect().mode
needs_helpers = pytest.mark.skipif(bool(missing_helpers()), reason=missing_helpers())
on_v1 = pytest.mark.skipif(MODE == "v2", reason="cgroups are v2 alone here")
LIMITS = {"memory": {"limit": 50 << 20}, "pids": {"limit": 20}}
DENY_ALL = {"allow": False, "access": "rwm"}


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with unprivileged(tmp_path) as user:
        yield user


@pytest.fixture
def runtime(user: User) -> Iterator[RootlessRuntime]:
    runtime = RootlessRuntime(user)
    yield runtime
    left = runtime.ok("list", "-q").split()
    for container_id in left:
        runtime.call("delete", "--force", container_id)
    assert left == []


@pytest.fixture
def bundle(user: User) -> RootlessBundle:
    return RootlessBundle(user)


def run(runtime: RootlessRuntime, bundle: RootlessBundle, *flags: str) -> subprocess.CompletedProcess[str]:
    return runtime.call(*flags, "run", "--bundle", str(bundle.save()), "box")


@contextlib.contextmanager
def running(runtime: RootlessRuntime, bundle: RootlessBundle, *flags: str) -> Iterator[int]:
    """Within it a container called box sleeps; its process as the host numbers it."""
    saved = str(bundle.args("sleep", "300").save())
    runtime.detached(*flags, "run", "--detach", "--bundle", saved, "box")
    try:
        yield int(runtime.state("box")["pid"])
    finally:
        runtime.ok(*flags, "delete", "--force", "box")


@pytest.fixture
def delegated(runtime: RootlessRuntime) -> Iterator[Delegated]:
    delegated = Delegated()
    runtime.place = delegated.place
    yield delegated
    delegated.remove()


# What the container is


def test_nothing_of_it_has_rights_on_the_host(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    with running(runtime, bundle) as pid:
        found = status(pid)
        assert found["Uid"] == [str(UID)] * 4 and found["Gid"] == [str(GID)] * 4
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(UID), "1"]
        assert Path(f"/proc/{pid}/setgroups").read_text() == "deny\n"
        for path in (runtime.root / "box").iterdir():
            assert path.stat(follow_symlinks=False).st_uid == UID


def test_every_verb(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    bundle.shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    runtime.create(bundle, "box")
    assert runtime.state("box")["status"] == "created"
    runtime.ok("start", "box")
    assert runtime.state("box")["status"] == "running"
    (listed,) = json.loads(runtime.ok("list", "--format", "json"))
    assert (listed["id"], listed["status"]) == ("box", "running")
    assert runtime.ok("exec", "box", "id", "-u") == "0\n"
    assert runtime.call("exec", "box", "sh", "-c", "exit 7").returncode == 7
    runtime.ok("kill", "box", "TERM")
    eventually(lambda: runtime.state("box")["status"] == "stopped")
    runtime.ok("delete", "box")
    assert json.loads(runtime.ok("list", "--format", "json")) in ([], None)


def test_output_and_status(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    done = run(runtime, bundle.shell("echo out; echo err >&2; exit 42"))
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("nothing", 'exec: "nothing": executable file not found in $PATH'),
        ("/bin/nothing", 'exec: "/bin/nothing": no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_program_that_cannot_run(
    runtime: RootlessRuntime, bundle: RootlessBundle, program: str, says: str
) -> None:
    done = run(runtime, bundle.args(program))
    assert done.returncode == 1
    assert f"/process/args/0: {says}" in done.stderr


@needs_helpers
def test_ids_that_the_host_s_files_give_him(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    bundle.map_more()
    bundle.config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    with running(runtime, bundle) as pid:
        found = status(pid)
        assert (found["Uid"][0], found["Gid"][0]) == (str(FIRST + 6), str(FIRST + 7))
        assert found["Groups"] == [str(FIRST + 8)]
        assert runtime.ok("exec", "--user", "5:6", "box", "id", "-u") == "5\n"
        assert runtime.ok("exec", "--user", f"{COUNT}:0", "box", "id", "-u") == f"{COUNT}\n"


# On a terminal


ON_A_TERMINAL = (
    "tty; stty size; id -u; stat -c 'owner %u' $(tty); echo opened >/dev/tty; trap 'exit 9' INT; "
    "read -r line; echo got $line; until [ \"$(stty size)\" = '50 120' ]; do sleep 0.05; done; "
    "echo resized; while :; do sleep 0.05; done"
)


def use_a_terminal(command: list[str], uid: str) -> None:
    """Everything that a person does with one: looks, types, changes its size, presses Control-C."""
    screen = Screen(command)
    screen.expect("opened")
    assert screen.seen.decode().split()[:6] == ["/dev/pts/0", "40", "100", uid, "owner", uid]
    screen.type("word\n")
    screen.expect("got word")
    screen.resize_until(50, 120, "resized")
    screen.type("\x03")
    assert screen.finish() == 9
    assert termios.tcgetattr(screen.slave) == screen.before
    screen.close()


@pytest.fixture
def with_terminals(bundle: RootlessBundle) -> RootlessBundle:
    for applet in ("tty", "stty"):
        (bundle.rootfs / "bin" / applet).symlink_to("busybox")
    return bundle


@pytest.mark.parametrize("ids", ["his own", pytest.param("more", marks=needs_helpers)])
def test_run_on_a_terminal(runtime: RootlessRuntime, with_terminals: RootlessBundle, ids: str) -> None:
    bundle = with_terminals
    bundle.config["process"]["terminal"] = True
    if ids == "more":
        bundle.map_more()
        bundle.config["process"]["user"] = {"uid": 7, "gid": 8}
    path = str(bundle.shell(ON_A_TERMINAL).save())
    use_a_terminal(runtime.command("run", "--bundle", path, "box"), "7" if ids == "more" else "0")


@pytest.mark.parametrize("ids", ["his own", pytest.param("more", marks=needs_helpers)])
def test_exec_on_a_terminal(runtime: RootlessRuntime, with_terminals: RootlessBundle, ids: str) -> None:
    if ids == "more":
        with_terminals.map_more()
    uid = "7" if ids == "more" else "0"
    with running(runtime, with_terminals):
        words = ["exec", "--tty", "--user", f"{uid}:{uid}", "box", "sh", "-c", ON_A_TERMINAL]
        use_a_terminal(runtime.command(*words), uid)


# Where the state is


def test_the_state_is_in_the_login_s_directory(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    with running(runtime, bundle):
        assert (runtime.user.runtime_dir / "pyoci/box/state.json").exists()
        assert runtime.root.stat().st_mode & 0o7777 == 0o1711  # spared by whoever cleans up there


@pytest.mark.parametrize("verb", ["run", "state", "list"])
@pytest.mark.parametrize(
    ("variable", "where", "hint"),
    [
        (None, "/run/pyoci", "or set XDG_RUNTIME_DIR as a login does"),
        ("/etc", "/etc/pyoci", "set XDG_RUNTIME_DIR to a directory that you may write to"),
        ("/nowhere", "/nowhere/pyoci", "set XDG_RUNTIME_DIR to a directory that you may write to"),
    ],
)
def test_a_directory_that_cannot_be_had(
    runtime: RootlessRuntime, bundle: RootlessBundle, variable: str | None, where: str, hint: str, verb: str
) -> None:
    """Of root's the names can be tried, but not listed; one that isn't there has no containers."""
    before = dict(runtime.user.environment)
    if variable is None:
        del runtime.user.environment["XDG_RUNTIME_DIR"]
    else:
        runtime.user.environment["XDG_RUNTIME_DIR"] = variable
    words = {
        "run": ["run", "--bundle", str(bundle.save()), "box"],
        "state": ["state", "box"],
        "list": ["list"],
    }
    try:
        with own_mounts():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
            Path("/run/pyoci").mkdir(mode=0o711)
            done = runtime.call(*words[verb])
    finally:
        runtime.user.environment = before
    if verb == "state":
        assert done.returncode == 1 and "container box does not exist" in done.stderr
        return
    if variable and verb == "list":
        assert done.stderr == ""
        return
    assert done.returncode == 1
    assert f"can't use {where}" in done.stderr and hint in done.stderr


# Without a right to cgroups


@pytest.mark.layout
def test_without_cgroups_it_goes_on(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """It stays in those that pyoci is in, unless it is asked for something that takes its own."""
    named = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    no_limits = {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"shares": 0}}
    for resources in (None, {}, {"devices": [DENY_ALL]}, {"devices": [DENY_ALL, named]}, no_limits):
        bundle.config["linux"].pop("resources", None)
        if resources is not None:
            bundle.config["linux"]["resources"] = resources
        with running(runtime, bundle) as pid:
            assert membership(pid) == membership("self")
            runtime.ok("kill", "--all", "box", "0")
            done = runtime.call("pause", "box")
            assert (done.returncode, "freezer" in done.stderr) == (1, True)


@pytest.mark.layout
def test_a_limit_without_a_cgroup_is_refused(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    limits = {"memory/limit": 50 << 20, "cpu/quota": 5000, "pids/limit": 20}
    for pointer, value in limits.items():
        section, _, name = pointer.partition("/")
        bundle.config["linux"]["resources"] = {section: {name: value}}
        done = run(runtime, bundle)
        assert done.returncode == 1
        begins = f"/linux/resources/{pointer}: there is no cgroup to set this in"
        assert f"{begins}: pyoci has no right to make one in /sys/fs/cgroup" in done.stderr
        assert "have root make a cgroup yours (chown" in done.stderr and "leave the limit out" in done.stderr
        done = run(runtime, bundle, "--cgroup-manager", "disabled")
        assert f"{begins}, because cgroups are disabled" in done.stderr


def test_a_rule_against_a_device_is_refused(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """What no engine writes by itself: to leave it out would take a protection away that somebody means."""
    rule = {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "r"}
    bundle.config["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}, rule]}
    done = run(runtime, bundle)
    assert done.returncode == 1
    assert "/linux/resources/devices/1: no right to deny a device" in done.stderr


@pytest.mark.layout
def test_a_path_of_one_s_own_choice_is_refused(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    bundle.config["linux"]["cgroupsPath"] = "/pyoci-test-of-nobody/box"
    done = run(runtime, bundle)
    assert done.returncode == 1
    assert "/linux/cgroupsPath: no right to make the cgroup /sys/fs/cgroup/" in done.stderr
    assert run(runtime, bundle.args("true"), "--cgroup-manager", "disabled").returncode == 0


@pytest.mark.parametrize(("flag", "code"), [("auto", 0), ("true", 0), ("false", 1)])
def test_the_flag_rootless(runtime: RootlessRuntime, bundle: RootlessBundle, flag: str, code: int) -> None:
    done = run(runtime, bundle.args("true"), f"--rootless={flag}")
    assert done.returncode == code, done.stderr
    assert ("/linux/cgroupsPath: making the cgroup" in done.stderr) == bool(code)


@pytest.mark.layout
@pytest.mark.parametrize("namespace", [True, False], ids=["own cgroup namespace", "the host's"])
@pytest.mark.parametrize("view", ["/sys bound", "sysfs", "sysfs alone"])
def test_the_cgroup_that_pyoci_is_in_can_not_be_written_to(
    delegated: Delegated, runtime: RootlessRuntime, bundle: RootlessBundle, namespace: bool, view: str
) -> None:
    """CVE-2023-25809: not even where it is the user's own, and the container may be root of it."""
    mounts, linux = bundle.config["mounts"], bundle.config["linux"]
    for mount in list(mounts):
        if mount["destination"] == "/sys" and view != "/sys bound":
            mount.update(type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"])
        elif mount["destination"] == "/sys/fs/cgroup" and view == "sysfs alone":
            mounts.remove(mount)
        elif mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")
    if not namespace:
        linux["namespaces"] = [kind for kind in linux["namespaces"] if kind["type"] != "cgroup"]
    for applet in ("find", "mkdir"):
        os.symlink("busybox", bundle.rootfs / "bin" / applet)
    bundle.shell(
        "find /sys/fs/cgroup -name cgroup.procs | grep -q . && echo seen; "
        "find /sys/fs/cgroup -name cgroup.procs | while read f; do (echo 0 >$f) 2>/dev/null && echo $f; done;"
        "find /sys/fs/cgroup -type d | while read d; do mkdir $d/x 2>/dev/null && echo $d; done; true"
    )
    done = run(runtime, bundle, "--cgroup-manager", "disabled")
    assert (done.returncode, done.stdout) == (0, "seen\n"), done.stderr
    assert delegated.groups


# With cgroups that root has given him


@pytest.mark.layout
def test_in_cgroups_of_his_own(
    delegated: Delegated, runtime: RootlessRuntime, bundle: RootlessBundle
) -> None:
    bundle.config["linux"]["resources"] = {**LIMITS, "devices": [DENY_ALL]}
    with running(runtime, bundle) as pid:
        below = "" if MODE == "v2" else "/start"
        for hierarchy in detect().hierarchies:
            group = delegated.groups[hierarchy.controllers[0]]
            assert membership(pid)[",".join(hierarchy.controllers)].endswith(f"/{group.name}{below}/box")
        if MODE == "v2":
            files = {"memory.max": delegated.groups[""], "pids.max": delegated.groups[""]}
        else:
            files = {
                "memory.limit_in_bytes": delegated.groups["memory"] / "start",
                "pids.max": delegated.groups["pids"] / "start",
            }
        assert [int((group / "box" / file).read_text()) for file, group in files.items()] == [50 << 20, 20]
        assert runtime.ok("ps", "--format", "json", "box").split() == [f"[{pid}]"]
        runtime.detached("exec", "--detach", "box", "sleep", "300")
        runtime.ok("update", "--pids-limit", "30", "box")
        file = files["pids.max"]
        assert (file / "box/pids.max").read_text() == "30\n"
        runtime.ok("pause", "box")
        assert runtime.state("box")["status"] == "paused"
        runtime.ok("resume", "box")
        runtime.ok("kill", "--all", "box", "KILL")
        eventually(lambda: reap_orphans(set()) or runtime.state("box")["status"] == "stopped")
    assert not any(
        (group / "box").exists() or (group / "start/box").exists() for group in delegated.groups.values()
    )


@on_v1
def test_in_some_cgroups_of_his_own(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """A limit in a hierarchy where he has one holds; one elsewhere is refused."""
    delegated = Delegated("pids")
    runtime.place = delegated.place
    try:
        bundle.config["linux"]["resources"] = {"pids": {"limit": 20}}
        with running(runtime, bundle) as pid:
            assert membership(pid)["pids"].endswith("/start/box")
            assert {**membership(pid), "pids": ""} == {**membership("self"), "pids": ""}
            runtime.ok("update", "--pids-limit", "30", "box")
            done = runtime.call("update", "--memory", "50m", "box")
            assert "--memory: there is no cgroup to set this in" in done.stderr, done
        bundle.config["linux"]["resources"] = LIMITS
        done = run(runtime, bundle)
        assert "/linux/resources/memory/limit: there is no cgroup to set this in" in done.stderr
    finally:
        delegated.remove()


@pytest.mark.layout
def test_a_rule_against_a_device_with_cgroups(
    delegated: Delegated, runtime: RootlessRuntime, bundle: RootlessBundle
) -> None:
    rule = {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "rwm"}
    bundle.config["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}, rule]}
    done = run(runtime, bundle)
    assert done.returncode == 1
    assert "/linux/resources/devices/1: no right to deny a device" in done.stderr


# Mounts


def test_what_locks_a_mount_is_kept(user: User, runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """A source that root has mounted ro,nosuid,nodev is bound with these, whether they are named or not."""
    source = user.home / "locked"
    source.mkdir()
    flags = "ro,nosuid,nodev,noexec"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{flags},mode=755", "tmpfs", source], check=True)
    for options in (["bind"], ["rbind"], ["bind", "ro"], ["bind", "nosuid", "nodev"], ["rbind", "rprivate"]):
        bundle.config["mounts"][7:] = [{"destination": "/mnt", "source": str(source), "options": options}]
        done = run(runtime, bundle.shell("grep ' /mnt ' /proc/self/mounts"))
        assert done.returncode == 0, (options, done.stderr)
        assert set(flags.split(",")) <= set(done.stdout.split()[3].split(","))
    for options, name in (
        (["bind", "rw"], "ro"),
        (["bind", "suid"], "nosuid"),
        (["rbind", "ro", "dev"], "nodev"),
    ):
        bundle.config["mounts"][7:] = [{"destination": "/mnt", "source": str(source), "options": options}]
        done = run(runtime, bundle)
        assert done.returncode == 1, options
        assert f"/mounts/7/options: can't bind {source}" in done.stderr
        assert f"{name} of the tmpfs on {source} is locked" in done.stderr


def test_a_sysfs_that_may_not_be_had_is_the_host_s(runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """The network namespace is the host's, and so only the host's root may have its sysfs."""
    (sys,) = (mount for mount in bundle.config["mounts"] if mount["destination"] == "/sys")
    sys.update(type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"])
    bundle.config["mounts"] = [
        mount for mount in bundle.config["mounts"] if "cgroup" not in mount["destination"]
    ]
    done = run(runtime, bundle.shell("test -d /sys/class/net/lo && grep ' /sys' /proc/self/mounts"))
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert "ro" in line.split()[3].split(","), line


def test_a_proc_that_would_show_more_is_refused(
    user: User, runtime: RootlessRuntime, bundle: RootlessBundle
) -> None:
    """As in a container of somebody else's, where parts of /proc are covered."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/proc/tty"], check=True)
    done = run(runtime, bundle)
    assert done.returncode == 1
    assert "/mounts/0" in done.stderr
    assert "parts of the proc on /proc are covered: tmpfs on /proc/tty" in done.stderr
    assert "bind /proc, with rbind" in done.stderr
    options = ["rbind", "nosuid", "noexec", "nodev"]
    bundle.config["mounts"][0] = {"destination": "/proc", "source": "/proc", "options": options}
    bundle.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    done = run(runtime, bundle.args("cat", "/proc/self/comm"))
    assert (done.returncode, done.stdout) == (0, "cat\n"), done.stderr


# Nobody special at all


def test_root_of_his_own_user_namespace(user: User, runtime: RootlessRuntime, bundle: RootlessBundle) -> None:
    """As of `unshare -Ur`: device nodes can't be made there and rules not set, and yet it goes on."""
    inner = runtime.command(
        "run", "--bundle", str(bundle.args("sh", "-c", "id -u; echo x > /dev/null").save()), "box"
    )
    at = inner.index(runtime.program)
    for kinds in (["user"], []):
        if not kinds:
            linux = bundle.config["linux"]
            linux["namespaces"] = [kind for kind in linux["namespaces"] if kind["type"] != "user"]
            del linux["uidMappings"], linux["gidMappings"]
        else:
            for kind in ("uidMappings", "gidMappings"):
                bundle.config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 1}]
        bundle.config["linux"]["resources"] = {"devices": [DENY_ALL]}
        bundle.save()
        done = subprocess.run(
            [*inner[:at], "unshare", "-Ur", "-m", *inner[at:]],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
