"""Tasks under containerd, through its shim and ctr: run, exec, signals, pause, metrics, and why one fails."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import containerd as programs
from support.cgroups import eventually, membership
from support.containerd import Containerd
from support.containers import status
from support.screen import Screen

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

COUNTER = ("/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.01; done")


def shell(containerd: Containerd, script: str, *options: str) -> str:
    """What a script in a container of its own says; it must succeed."""
    done = containerd.run("one", *options, command=("/bin/sh", "-c", script))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_output_and_status(containerd: Containerd) -> None:
    done = containerd.run("one", command=("/bin/sh", "-c", "echo out; echo err >&2; exit 42"))
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_a_configuration_of_the_callers(containerd: Containerd, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(containerd.ok("oci", "spec"))
    config = json.loads(path.read_text())
    config["process"]["args"] = ["/bin/sh", "-c", "echo configured; hostname"]
    config["hostname"] = "named"
    config["root"]["path"] = str(tmp_path / "rootfs")
    config["linux"]["cgroupsPath"] = f"/{containerd.parent}/one"
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "rootfs", "-xf", containerd.layer], check=True)
    path.write_text(json.dumps(config))
    flags = ("--runc-binary", containerd.runtime, "--rm", "--config", str(path))
    assert containerd.ok("run", *flags, "one") == "configured\nnamed\n"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("nothing", "executable file not found in $PATH"),
        ("/bin/nothing", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_why_a_program_cannot_run(containerd: Containerd, program: str, words: str) -> None:
    done = containerd.run("one", command=(program,))
    assert done.returncode == 1
    assert "OCI runtime create failed: " in done.stderr
    assert words.lower() in done.stderr.lower().replace("`nothing` ", ""), done.stderr
    assert program in done.stderr or containerd.tests("crun")  # which doesn't always name it
    with containerd.task("task"):
        done = containerd.call("tasks", "exec", "--exec-id", "e", "task", program)
        assert done.returncode == 1
        assert "OCI runtime exec failed: " in done.stderr and words.lower().split()[-1] in done.stderr.lower()


def test_the_runtimes_own_message_reaches_the_client(containerd: Containerd) -> None:
    """The shim takes it from the JSON log."""
    done = containerd.run("one", "--cwd", "/etc/passwd", command=("true",))
    assert done.returncode == 1
    assert "OCI runtime create failed: " in done.stderr and "not a directory" in done.stderr.lower()
    if containerd.tests("pyoci"):
        assert "/process/cwd: " in done.stderr
    assert containerd.tasks() == {}, "nothing is left of it"


def test_exec(containerd: Containerd) -> None:
    with containerd.task("task", "--env", "FROM=container") as pid:
        flags = ("--exec-id", "e", "--cwd", "/etc", "--user", "1000")
        done = containerd.call(
            "tasks", "exec", *flags, "task", "/bin/sh", "-c", "id -u; busybox pwd; echo $FROM; exit 7"
        )
        assert (done.returncode, done.stdout) == (7, "1000\n/etc\ncontainer\n")
        assert containerd.tasks() == {"task": (pid, "RUNNING")}


def test_terminals(containerd: Containerd) -> None:
    """run -t, and exec -t in another container: each has a console that follows the client's size."""
    with containerd.task("task"):
        run = containerd.run_command("one", "--rm", "--tty", command=("/bin/sh",))
        execute = ["tasks", "exec", "--exec-id", "e", "--tty", "task", "/bin/sh"]
        for arguments, code in ((run, 5), (execute, 6)):
            screen = Screen(containerd.command(*arguments), descriptors=containerd.mounts.descriptors)
            screen.expect("# ")
            screen.type("busybox tty; until [ \"$(busybox stty size)\" = '40 100' ]; do sleep 0.05; done; ")
            screen.type("echo si''zed\n")
            screen.expect("/dev/pts/0")
            screen.expect("sized")
            screen.type(
                "until [ \"$(busybox stty size)\" = '50 120' ]; do sleep 0.05; done; echo res''ized\n"
            )
            screen.resize_until(50, 120, "resized")
            screen.type(f"exit {code}\n")
            assert screen.finish() == code
            screen.close()


def test_signals(containerd: Containerd) -> None:
    script = (
        "trap 'echo usr1 >/tmp/seen' USR1; trap 'exit 3' TERM; echo >/tmp/ready; while :; do sleep 0.05; done"
    )
    with containerd.task("task", command=("/bin/sh", "-c", script)) as pid:
        root = Path(f"/proc/{pid}/root")
        eventually((root / "tmp/ready").exists)
        containerd.ok("tasks", "kill", "--signal", "SIGUSR1", "task")
        eventually((root / "tmp/seen").exists)
        containerd.ok("tasks", "kill", "task")
        eventually(lambda: containerd.tasks()["task"][1] == "STOPPED")
        assert 'exit code 3"' in containerd.call("tasks", "delete", "task").stderr


def test_killing_every_process(containerd: Containerd) -> None:
    with containerd.task("task", command=("/bin/sh", "-c", "sleep 301 & sleep 302; exit")):
        eventually(lambda: len(pids(containerd, "task")) == 3)
        containerd.ok("tasks", "kill", "--all", "--signal", "SIGKILL", "task")
        eventually(lambda: containerd.tasks()["task"][1] == "STOPPED")
        assert 'exit code 137"' in containerd.call("tasks", "delete", "task").stderr


def pids(containerd: Containerd, name: str) -> set[int]:
    return {int(line.split()[0]) for line in containerd.ok("tasks", "ps", name).splitlines()[1:]}


def test_ps_tells_the_truth(containerd: Containerd) -> None:
    with containerd.task("task", command=("/bin/sh", "-c", "sleep 301 & sleep 302; exit")) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        eventually(lambda: len(children.read_text().split()) == 2)
        assert pids(containerd, "task") == {pid, *map(int, children.read_text().split())}


def test_pause_and_resume(containerd: Containerd) -> None:
    with containerd.task("task", command=COUNTER) as pid:
        count = Path(f"/proc/{pid}/root/tmp/n")
        eventually(lambda: count.exists() and count.read_text())
        containerd.ok("tasks", "pause", "task")
        assert containerd.tasks()["task"] == (pid, "PAUSED")
        before = count.read_text()
        done = containerd.call("tasks", "exec", "--exec-id", "e", "task", "true")
        assert done.returncode == 1 and "paused" in done.stderr
        assert count.read_text() == before
        containerd.ok("tasks", "resume", "task")
        assert containerd.tasks()["task"] == (pid, "RUNNING")
        eventually(lambda: count.read_text() not in ("", before))


def test_metrics(containerd: Containerd) -> None:
    flags = ("--memory-limit", str(64 << 20))
    with containerd.task("task", *flags, command=("/bin/sh", "-c", "while :; do :; done")):
        metrics = json.loads(containerd.ok("tasks", "metrics", "--format", "json", "task"))
        v2 = "usage_limit" in metrics["memory"]
        limit = metrics["memory"]["usage_limit"] if v2 else metrics["memory"]["usage"]["limit"]
        assert limit == 64 << 20
        assert metrics["pids"]["current"] == 1
        assert (metrics["cpu"]["usage_usec"] if v2 else metrics["cpu"]["usage"]["total"]) > 0


def test_limits(containerd: Containerd) -> None:
    flags = ("--memory-limit", str(64 << 20), "--cpus", "0.5")
    with containerd.task("task", *flags) as pid:
        paths = membership(pid)
        assert all(path.endswith(f"/{containerd.parent}/task") for path in paths.values()), paths
        if "memory" in paths:
            base = Path("/sys/fs/cgroup")
            file = base / f"memory{paths['memory']}/memory.limit_in_bytes"
            assert file.read_text() == f"{64 << 20}\n"
            file = base / f"cpu{paths['cpu']}/cpu.cfs_quota_us"
            assert file.read_text() == "50000\n"


def test_security_options(containerd: Containerd) -> None:
    show = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status"
    capabilities, no_new_privileges, seccomp = shell(containerd, show).splitlines()
    assert (no_new_privileges, seccomp) == ("NoNewPrivs:\t1", "Seccomp:\t0")
    flags = ("--seccomp", "--allow-new-privs", "--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_PTRACE")
    changed, no_new_privileges, seccomp = shell(containerd, show, *flags).splitlines()
    assert (no_new_privileges, seccomp) == ("NoNewPrivs:\t0", "Seccomp:\t2")
    assert int(changed.split()[1], 16) == int(capabilities.split()[1], 16) & ~1 | 1 << 19
    done = containerd.run("one", "--read-only", command=("touch", "/etc/x"))
    assert done.returncode == 1 and "Read-only file system" in done.stderr


def test_privileged(containerd: Containerd) -> None:
    ours = int(status(os.getpid())["CapEff"][0], 16)
    if not ours & 1 << 24 and not containerd.tests("pyoci"):
        pytest.skip("we have no CAP_SYS_RESOURCE, and this runtime gives all or nothing")
    shown = shell(
        containerd, "grep CapEff /proc/self/status; mount -t tmpfs t /tmp && echo mounted", "--privileged"
    )
    capabilities, mounted = shown.splitlines()
    assert (int(capabilities.split()[1], 16), mounted) == (ours, "mounted")


def test_mounts_and_namespaces(containerd: Containerd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    mount = f"type=bind,src={tmp_path},dst=/data,options=rbind:ro"
    assert shell(containerd, "cat /data/file", "--mount", mount) == "content\n"
    with containerd.task("task") as pid:
        flags = ("--with-ns", f"network:/proc/{pid}/ns/net", "--with-ns", f"pid:/proc/{pid}/ns/pid")
        shown = shell(
            containerd, "for kind in net pid uts; do stat -L -c %i /proc/self/ns/$kind; done", *flags
        )
        same = [os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in ("net", "pid", "uts")]
        net, pids_, uts = map(int, shown.split())
        assert [net, pids_] == same[:2] and uts != same[2]


def test_a_user_namespace(containerd: Containerd) -> None:
    flags = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    with containerd.task("task", *flags) as pid:
        assert status(pid)["Uid"] == ["100000"] * 4
        done = containerd.ok("tasks", "exec", "--exec-id", "e", "task", "cat", "/proc/self/uid_map")
        assert done.split() == ["0", "100000", "65536"]


@pytest.fixture(scope="module")
def survivors(containerd: Containerd) -> Iterator[dict[str, int]]:
    """Tasks by name, with their processes, under a daemon that isn't the one that made them."""
    with containerd.task("first", command=COUNTER) as first, containerd.task("second") as second:
        containerd.kill()
        count = Path(f"/proc/{first}/root/tmp/n")
        before = count.read_text()
        eventually(lambda: count.read_text() not in ("", before))
        containerd.start()
        yield {"first": first, "second": second}


def test_tasks_outlive_a_killed_daemon(containerd: Containerd, survivors: dict[str, int]) -> None:
    assert containerd.tasks() == {name: (pid, "RUNNING") for name, pid in survivors.items()}
    assert containerd.ok("tasks", "exec", "--exec-id", "e", "first", "echo", "here") == "here\n"
    containerd.ok("tasks", "pause", "first")
    containerd.ok("tasks", "resume", "first")
    containerd.ok("tasks", "kill", "--signal", "SIGKILL", "second")
    eventually(lambda: containerd.tasks()["second"][1] == "STOPPED")
