"""What exec gives to a further process: each of its flags, and each property of `process`.

FLAGS and PROPERTIES name the test that shows it; that none is missing is a test, too.
"""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cli.commands import COMMANDS
from support.containers import REPOSITORY, SECONDS, Bundle, Runtime

Run = Callable[..., str]

HERE = "tests/system/test_exec_properties.py"
FLAGS = {
    "additional-gids": (HERE, "test_user_flags"),
    "apparmor": (HERE, "test_labels_are_asked_of_the_kernel"),
    "cap": (HERE, "test_cap"),
    "cgroup": (HERE, "test_cgroup"),
    "console-socket": ("tests/system/test_terminal.py", "test_the_console_socket_gets_the_terminal"),
    "cwd": (HERE, "test_cwd"),
    "detach": (HERE, "test_detached_with_a_pid_file_and_a_pidfd"),
    "env": (HERE, "test_env"),
    "ignore-paused": (HERE, "test_ignore_paused"),
    "no-new-privs": (HERE, "test_no_new_privs"),
    "pid-file": (HERE, "test_detached_with_a_pid_file_and_a_pidfd"),
    "pidfd-socket": (HERE, "test_detached_with_a_pid_file_and_a_pidfd"),
    "preserve-fds": ("tests/system/test_descriptors.py", "test_sockets_and_descriptors"),
    "process": (HERE, "test_a_process_file"),
    "process-label": (HERE, "test_labels_are_asked_of_the_kernel"),
    "tty": ("tests/system/test_terminal.py", "test_exec_with_a_terminal"),
    "user": (HERE, "test_user_flags"),
}
PROPERTIES = {
    "process.apparmorProfile": (HERE, "test_labels_are_asked_of_the_kernel"),
    "process.args": (HERE, "test_a_process_file"),
    "process.capabilities": (HERE, "test_what_a_process_file_is_silent_about"),
    "process.consoleSize": (HERE, "test_console_size"),
    "process.cwd": (HERE, "test_inherited"),
    "process.env": (HERE, "test_inherited"),
    "process.execCPUAffinity": (HERE, "test_affinity"),
    "process.ioPriority": (HERE, "test_inherited"),
    "process.noNewPrivileges": (HERE, "test_inherited"),
    "process.oomScoreAdj": (HERE, "test_inherited"),
    "process.rlimits": (HERE, "test_inherited"),
    "process.scheduler": (HERE, "test_inherited"),
    "process.selinuxLabel": (HERE, "test_labels_are_asked_of_the_kernel"),
    "process.terminal": ("tests/system/test_terminal.py", "test_exec_with_a_terminal"),
    "process.user": (HERE, "test_inherited"),
    "linux.memoryPolicy": (HERE, "test_memory_policy"),
    "linux.namespaces": (HERE, "test_every_namespace"),
    "linux.personality": (HERE, "test_inherited"),
    "linux.seccomp": (HERE, "test_seccomp"),
}
# For other systems than Linux.
ELSEWHERE = {"process.commandLine"}


def test_the_tables_are_whole() -> None:
    assert set(FLAGS) == {flag[0] for flag in COMMANDS["exec"][2]}
    schema = json.loads((REPOSITORY / "schemas/config-schema.json").read_text())
    properties = {f"process.{name}" for name in schema["definitions"]["process"]["properties"]} - ELSEWHERE
    assert {name for name in PROPERTIES if name.startswith("process.")} == properties
    for path, name in (*FLAGS.values(), *PROPERTIES.values()):
        assert f"def {name}(" in (REPOSITORY / path).read_text(), f"{path} has no {name}"


# What a process tells of itself, one word or line each.
PROBE = """
echo id $(id -u) $(id -g) $(id -G)
echo umask $(umask)
echo machine $(uname -m)
echo cwd $(pwd)
echo oom $(cat /proc/self/oom_score_adj)
echo files $(ulimit -Sn) $(ulimit -Hn)
echo policy $(cut -d' ' -f41 /proc/$$/stat) nice $(cut -d' ' -f19 /proc/$$/stat)
echo io $(ionice -p $$)
echo env $(env | grep -v -e ^PWD= -e ^SHLVL= | sort)
grep -e ^Cap -e ^NoNewPrivs -e ^Seccomp: /proc/$$/status
"""
APPLETS = ("awk", "cut", "env", "ionice", "sort", "uname", "taskset", "readlink", "tty", "stty")


@pytest.fixture
def confined(bundle: Bundle) -> Bundle:
    """A container whose process has every property that a machine without LSMs can give it."""
    for applet in APPLETS:
        (bundle.rootfs / "bin" / applet).symlink_to("busybox")
    (bundle.rootfs / "work").mkdir()
    kept = ["CAP_KILL", "CAP_CHOWN"]
    bundle.config["process"].update(
        user={"uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o27},
        cwd="/work",
        oomScoreAdj=300,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        scheduler={"policy": "SCHED_BATCH", "nice": 3},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        capabilities={
            "bounding": kept, "permitted": kept, "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        },
    )  # fmt: skip
    bundle.config["process"]["env"].append("OWN=1")
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    return bundle


@pytest.fixture
def started(runtime: Runtime, confined: Bundle) -> Iterator[Callable[[], Run]]:
    """Start the container, as the test has changed it; returns exec's output as a function of its words."""

    def start() -> Run:
        runtime.create(confined.args("sleep", "600"), "one")
        runtime.ok("start", "one")

        def run(*words: str, flags: tuple[str, ...] = (), **options: Any) -> str:
            return runtime.ok("exec", *flags, "one", *words, **options)

        return run

    yield start
    runtime.ok("delete", "--force", "one")


def facts(output: str) -> dict[str, str]:
    lines = (line.split(None, 1) for line in output.splitlines())
    return {name.rstrip(":"): value.strip() for name, value in lines}


KILL = 1 << 5
EXPECTED = {
    "id": "7 8 8 9",
    "umask": "0027",
    "machine": os.uname().machine.replace("x86_64", "i686").replace("aarch64", "armv8l"),
    "cwd": "/work",
    "oom": "300",
    "files": "100 200",
    "policy": "3 nice 3",
    "io": "best-effort: prio 6",
    "env": "HOME=/ OWN=1 PATH=/bin:/usr/bin",
    "CapInh": f"{KILL:016x}",
    "CapPrm": f"{KILL:016x}",  # what survives execve of a user other than root: the ambient set
    "CapEff": f"{KILL:016x}",
    "CapBnd": f"{KILL | 1:016x}",
    "CapAmb": f"{KILL:016x}",
    "NoNewPrivs": "1",
    "Seccomp": "0",
}


def test_inherited(started: Callable[[], Run]) -> None:
    """Without a process file all is as for the container's first process."""
    assert facts(started()("sh", "-c", PROBE)) == EXPECTED


def process_file(tmp_path: Path, **properties: Any) -> tuple[str, str]:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"cwd": "/", "args": ["sh", "-c", PROBE], **properties}))
    return ("--process", str(path))


def test_a_process_file(started: Callable[[], Run], tmp_path: Path) -> None:
    """Every property is the file's."""
    flags = process_file(
        tmp_path,
        user={"uid": 70, "gid": 80, "additionalGids": [90], "umask": 0o77},
        env=["PATH=/bin", "FILE=1"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        scheduler={"policy": "SCHED_IDLE"},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1},
        oomScoreAdj=400,
        capabilities={"bounding": ["CAP_CHOWN"]},
        noNewPrivileges=False,
    )
    found = facts(started()(flags=flags))
    assert found == {
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), "0" * 16),
        "CapBnd": f"{1:016x}", "NoNewPrivs": "0", "Seccomp": "0",
        "id": "70 80 80 90", "umask": "0077", "machine": EXPECTED["machine"], "cwd": "/", "oom": "400",
        "files": "50 60", "policy": "5 nice 0", "io": "best-effort: prio 1",
        "env": "FILE=1 HOME=/ PATH=/bin",
    }  # fmt: skip


def test_what_a_process_file_is_silent_about(started: Callable[[], Run], tmp_path: Path) -> None:
    """It stays as in the container, but for noNewPrivileges: engines that mean false write nothing."""
    found = facts(started()(flags=process_file(tmp_path)))
    assert found == {**EXPECTED, "cwd": "/", "NoNewPrivs": "0"}


def test_a_terminal_for_a_process_file(started: Callable[[], Run], tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"cwd": "/", "args": ["tty"]}))
    assert started()(flags=("--tty", "--process", str(path))).strip() == "/dev/pts/0"


def test_console_size(started: Callable[[], Run], tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    size = {"width": 91, "height": 17}
    path.write_text(json.dumps({"cwd": "/", "args": ["stty", "size"], "terminal": True, "consoleSize": size}))
    assert started()(flags=("--process", str(path))).split() == ["17", "91"]


def test_user_flags(started: Callable[[], Run]) -> None:
    run = started()
    flags = ("--user", "1000:7", "--additional-gids", "40", "--additional-gids", "41")
    assert run("sh", "-c", "id -u; id -g; id -G; echo $HOME", flags=flags).split("\n")[:4] == [
        "1000",
        "7",
        "7 9 40 41",
        "/home/user",
    ]
    assert run("sh", "-c", "id -u; id -g", flags=("-u", "5")).split() == ["5", "8"]


@pytest.mark.parametrize(
    "text",
    [
        *("1x", "0x1", " 1", "1 ", "-1", "+1", "1_0", "\N{ARABIC-INDIC DIGIT ONE}", "root"),
        *("1:", ":1", ":", "1:2:3", "4294967295", "99999999999"),
    ],
)
def test_a_user_that_is_no_number(runtime: Runtime, confined: Bundle, text: str) -> None:
    """CVE-2026-30892, and CVE-2016-3697: a name would be looked up in a file of the container's."""
    (confined.rootfs / "etc/passwd").write_text(f"{text.strip(':')}:x:0:0::/:/bin/sh\n")
    runtime.create(confined.args("sleep", "600"), "one")
    runtime.ok("start", "one")
    done = runtime.call("exec", f"--user={text}", "one", "id")
    assert (done.returncode, done.stdout) == (255, "")
    assert "--user" in done.stderr
    runtime.ok("delete", "--force", "one")


def test_a_number_that_the_container_names(started: Callable[[], Run], confined: Bundle) -> None:
    """CVE-2016-3697: a user called 1000 who is root."""
    (confined.rootfs / "etc/passwd").write_text("1000:x:0:0::/root:/bin/sh\n")
    assert started()("sh", "-c", "id -u; id -g; echo $HOME", flags=("-u", "1000:1000")).split() == [
        "1000", "1000", "/",
    ]  # fmt: skip


def test_env(started: Callable[[], Run]) -> None:
    flags = ("--env", "OWN=2", "-e", "NEW=a=b c", "-e", "EMPTY=")
    out = started()("sh", "-c", "env | grep -e OWN -e NEW -e EMPTY | sort", flags=flags)
    assert out.splitlines() == ["EMPTY=", "NEW=a=b c", "OWN=2"]


def test_cwd(runtime: Runtime, started: Callable[[], Run], confined: Bundle) -> None:
    run = started()
    assert run("busybox", "pwd", flags=("--cwd", "/tmp")) == "/tmp\n"
    missing = runtime.call("exec", "--cwd", "/not/there", "one", "true")
    assert missing.returncode == 255
    assert "/process/cwd" in missing.stderr
    assert "no such file or directory" in missing.stderr
    assert not (confined.rootfs / "not").exists(), "exec makes nothing in a container"


def test_cap(started: Callable[[], Run], confined: Bundle) -> None:
    """It is added for this process, and never inheritable (CVE-2022-29162)."""
    confined.config["process"]["user"] = {"uid": 0, "gid": 0}
    confined.config["process"]["capabilities"] = {
        kind: ["CAP_KILL"] for kind in ("bounding", "permitted", "effective")
    }
    run = started()
    found = facts(run("sh", "-c", PROBE, flags=("--cap", "CAP_NET_ADMIN", "-c", "CAP_CHOWN")))
    sets = [found[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    added = f"{KILL | 1 << 12 | 1:016x}"
    assert sets == ["0" * 16, added, added, added, "0" * 16]
    assert facts(run("sh", "-c", PROBE))["CapEff"] == f"{KILL:016x}"


def test_no_new_privs(started: Callable[[], Run], confined: Bundle) -> None:
    confined.config["process"]["noNewPrivileges"] = False
    run = started()
    assert facts(run("sh", "-c", PROBE))["NoNewPrivs"] == "0"
    assert facts(run("sh", "-c", PROBE, flags=("--no-new-privs",)))["NoNewPrivs"] == "1"


@pytest.mark.parametrize("privileged", [False, True])
def test_seccomp(started: Callable[[], Run], confined: Bundle, tmp_path: Path, privileged: bool) -> None:
    """Of the container's filter nothing but the container itself decides, not the process file either."""
    confined.config["process"]["noNewPrivileges"] = not privileged
    confined.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    run = started()
    script = "grep ^Seccomp: /proc/self/status; busybox mkdir /tmp/x 2>/dev/null || echo refused"
    expected = ["Seccomp:\t2", "refused"]
    assert run("sh", "-c", script).splitlines() == expected
    flags = process_file(tmp_path, args=["sh", "-c", script], user={"uid": 0, "gid": 0})
    assert run(flags=flags).splitlines() == expected


@pytest.mark.skipif(
    Path("/sys/module/apparmor/parameters/enabled").exists() or Path("/sys/fs/selinux/enforce").exists(),
    reason="this kernel has an LSM, and it hasn't these labels",
)
def test_labels_are_asked_of_the_kernel(runtime: Runtime, started: Callable[[], Run], tmp_path: Path) -> None:
    """Where the kernel can't confine it so, the program doesn't run; the flags prevail over a file."""
    started()
    for flag, name, pointer in (
        ("--apparmor", "apparmorProfile", "/process/apparmorProfile"),
        ("--process-label", "selinuxLabel", "/process/selinuxLabel"),
    ):
        given = process_file(tmp_path, args=["true"], **{name: "from-the-file"})
        for flags in (
            (flag, "some:label", "one", "true"),
            (flag, "some:label", *given, "one"),
            (*given, "one"),
        ):
            done = runtime.call("exec", *flags)
            assert (done.returncode, done.stdout) == (255, "")
            assert pointer in done.stderr


def test_labels_of_the_container_are_kept() -> None:
    """Also by a process file that is silent about them: otherwise engines' processes would lose them."""
    from pyoci.lifecycle.exec import INHERITED

    assert {"apparmorProfile", "selinuxLabel", "capabilities"} <= set(INHERITED)


def test_affinity(started: Callable[[], Run], confined: Bundle) -> None:
    """config.md#linux-process: `final` is there when the program runs."""
    last = max(os.sched_getaffinity(0))
    confined.config["process"]["execCPUAffinity"] = {"final": str(last)}
    assert int(started()("sh", "-c", "taskset -p $$").split()[-1], 16) == 1 << last


def test_memory_policy(
    runtime: Runtime, started: Callable[[], Run], confined: Bundle, tmp_path: Path
) -> None:
    """As /proc/PID/numa_maps tells it."""
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel has no NUMA")
    confined.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    started()
    pid_file = tmp_path / "pid"
    runtime.detached("exec", "-d", "--pid-file", str(pid_file), "one", "sleep", "500")
    maps = Path(f"/proc/{pid_file.read_text()}/numa_maps").read_text()
    assert {line.split()[1] for line in maps.splitlines()} == {"bind:0"}


@pytest.mark.parametrize("mapped", [False, True])
def test_every_namespace(
    started: Callable[[], Run], runtime: Runtime, confined: Bundle, mapped: bool
) -> None:
    """Of all eight kinds, as the container's first process has them."""
    linux = confined.config["linux"]
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {"boottime": {"secs": 10**6}}
    confined.config["process"]["user"] = {"uid": 0, "gid": 0}
    if mapped:
        confined.in_user_namespace()
    run = started()
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    pid = runtime.state("one")["pid"]
    script = "cd /proc/self/ns; for kind in $*; do readlink $kind; done"
    found = run("sh", "-c", script, "sh", *kinds).split()
    assert found == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert [kind for kind, a, b in zip(kinds, found, own, strict=True) if a == b] == (
        [] if mapped else ["user"]
    )


def test_detached_with_a_pid_file_and_a_pidfd(
    runtime: Runtime, started: Callable[[], Run], tmp_path: Path
) -> None:
    started()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "pidfd"))
    listener.listen()
    pid_file = tmp_path / "pid"
    flags = ("--pid-file", str(pid_file), "--pidfd-socket", str(tmp_path / "pidfd"))
    runtime.detached("exec", "--detach", *flags, "one", "sleep", "500")
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00500\0"
    connection, _ = listener.accept()
    descriptors = array.array("i")
    _, ancillary, _, _ = connection.recvmsg(64, socket.CMSG_LEN(4))
    descriptors.frombytes(ancillary[0][2])
    assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{descriptors[0]}").read_text()
    os.close(descriptors[0])
    connection.close()
    listener.close()


def test_a_pid_file_that_cannot_be_written(
    runtime: Runtime, started: Callable[[], Run], tmp_path: Path
) -> None:
    """Nothing runs, and nothing is left beside it."""
    started()
    (tmp_path / "taken/inside").mkdir(parents=True)
    done = runtime.call("exec", "-d", "--pid-file", str(tmp_path / "taken"), "one", "sleep", "500")
    assert done.returncode == 255
    assert "pid file" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["bundle", "state", "taken"]
    assert len(json.loads(runtime.ok("ps", "-f", "json", "one"))) == 1


def test_cgroup(runtime: Runtime, started: Callable[[], Run], confined: Bundle) -> None:
    """Below the container's own, and nowhere else: not by .., not beside it under a longer name."""
    linux = confined.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "cgroup"]
    name = f"/exec-test-{os.getpid()}"
    linux["cgroupsPath"] = name
    run = started()
    freezer = Path("/sys/fs/cgroup/freezer") / name[1:]
    pids = Path("/sys/fs/cgroup/pids") / name[1:]
    if not pids.is_dir():
        pytest.skip("this machine has no cgroup v1 hierarchies")
    (pids / "sub").mkdir()
    (freezer / "sub").mkdir()
    beside = pids.parent / f"{pids.name}2"
    beside.mkdir()
    try:

        def place(*flags: str) -> dict[str, str]:
            lines = (line.split(":", 2) for line in run("cat", "/proc/self/cgroup", flags=flags).split())
            return {controllers: path for _, controllers, path in lines}

        assert {path[-len(name) :] for path in place().values()} == {name}
        found = place("--cgroup", "pids:sub", "--cgroup", "freezer:/")
        assert found["pids"].endswith(f"{name}/sub")
        assert found["freezer"].endswith(name)
        found = place("--cgroup", "pids,freezer:sub")
        assert found["pids"].endswith(f"{name}/sub")
        assert found["freezer"].endswith(f"{name}/sub")
        assert place("--cgroup", "pids:/sub")["pids"].endswith(f"{name}/sub"), "the container's is the root"
        base = pids.name
        for path in ("..", f"../{base}2", f"sub/../../{base}2", f"/../{base}2", f"../{base}/../{base}2"):
            done = runtime.call("exec", "--cgroup", f"pids:{path}", "one", "true")
            assert (done.returncode, done.stdout) == (255, ""), path
            assert "not a path below the container's cgroup" in done.stderr
        assert (beside / "cgroup.procs").read_text() == ""
        for missing in ("nosuch", f"/{base}2"):
            done = runtime.call("exec", "--cgroup", f"pids:{missing}", "one", "true")
            assert done.returncode == 255
            assert f"no cgroup {missing.lstrip('/')} below" in done.stderr
    finally:
        beside.rmdir()


def test_ignore_paused(runtime: Runtime, started: Callable[[], Run]) -> None:
    """The process waits in its cgroup until the container is resumed; an interrupt ends the wait."""
    started()
    runtime.ok("pause", "one")
    refused = runtime.call("exec", "one", "true")
    assert refused.returncode == 255
    assert "--ignore-paused" in refused.stderr
    words = runtime.command("exec", "--ignore-paused", "one", "sh", "-c", "exit 6")
    waiting = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    interrupted = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(json.loads(runtime.ok("ps", "-f", "json", "one"))) == 3)
    interrupted.send_signal(2)
    assert interrupted.wait(SECONDS) == 130
    until(lambda: len(json.loads(runtime.ok("ps", "-f", "json", "one"))) == 2)
    assert waiting.poll() is None
    runtime.ok("resume", "one")
    assert waiting.wait(SECONDS) == 6


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.mark.parametrize(("name", "flags"), [("ring", []), ("ringless", ["--no-new-keyring"])])
def test_the_session_keyring_is_the_containers_choice(
    runtime: Runtime, bundle: Bundle, name: str, flags: list[str]
) -> None:
    """exec makes none where create was told not to."""
    bundle.config["linux"]["maskedPaths"] = []
    runtime.create(bundle.args("sleep", "600"), name, *flags)
    runtime.ok("start", name)
    assert (f"_ses.{name}:" in runtime.ok("exec", name, "cat", "/proc/keys")) is (name == "ring")
    runtime.ok("delete", "--force", name)


def test_into_a_created_container(runtime: Runtime, confined: Bundle) -> None:
    runtime.create(confined.args("sleep", "600"), "one")
    assert facts(runtime.ok("exec", "one", "sh", "-c", PROBE)) == EXPECTED
    assert runtime.state("one")["status"] == "created"
    runtime.ok("delete", "one")


def test_into_a_stopped_container(runtime: Runtime, confined: Bundle, tmp_path: Path) -> None:
    """Also while its first process is a zombie that nobody has reaped."""
    runtime.create(confined.args("sleep", "600"), "one")
    runtime.ok("start", "one")
    pid = runtime.state("one")["pid"]
    os.kill(pid, 9)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    log = tmp_path / "log"
    words = runtime.command("--log", str(log), "--log-format", "json", "exec", "one", "true")
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (255, "")
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert (entry["level"], entry["code"]) == ("error", "wrong-state")
    assert "container not running" in entry["msg"]
    runtime.ok("delete", "one")


def test_beside_a_deletion(runtime: Runtime, confined: Bundle) -> None:
    """Each exec has run, was killed, or says why it couldn't; nothing of any is left."""
    for _ in range(5):
        runtime.create(confined.args("sleep", "600"), "one")
        runtime.ok("start", "one")
        words = runtime.command("exec", "one", "sh", "-c", "exit 7")
        execs = [
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        time.sleep(0.03)
        runtime.ok("delete", "--force", "one", own={process.pid for process in execs})
        for process in execs:
            _, error = process.communicate(timeout=SECONDS)
            assert process.returncode in (7, 137, 255)
            assert (process.returncode == 255) == error.startswith("pyoci exec: ")
            assert "internal error" not in error
            assert "Traceback" not in error
