"""The life of a container as a caller sees it: create, start, state, kill, delete, run, exec, list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime

pytestmark = pytest.mark.layout


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_create_start_stop_delete(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("echo ran > /tmp/ran; exec sleep 60")
    runtime.create(bundle, "one")
    state = runtime.state("one")
    assert (state["status"], state["id"], state["bundle"]) == ("created", "one", str(bundle.path))
    assert not (bundle.rootfs / "tmp/ran").exists(), "create runs nothing"
    runtime.ok("start", "one")
    assert runtime.state("one")["status"] == "running"
    until((bundle.rootfs / "tmp/ran").exists)
    refused = runtime.call("delete", "one")
    assert refused.returncode == 1
    assert "running" in refused.stderr
    runtime.ok("kill", "one", "KILL")
    until(lambda: runtime.state("one")["status"] == "stopped")
    runtime.ok("delete", "one")
    assert runtime.call("state", "one").returncode == 1


def test_later_edits_of_the_config_have_no_effect(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("echo first > /tmp/out")
    runtime.create(bundle, "one")
    bundle.shell("echo second > /tmp/out").save()
    runtime.ok("start", "one")
    until(lambda: runtime.state("one")["status"] == "stopped")
    assert (bundle.rootfs / "tmp/out").read_text() == "first\n"
    runtime.ok("delete", "one")


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)])
def test_run_hands_the_exit_status_on(runtime: Runtime, bundle: Bundle, script: str, status: int) -> None:
    if "kill" in script:  # the first process of a pid namespace can't be killed from inside
        bundle.config["linux"]["namespaces"] = [
            entry for entry in bundle.config["linux"]["namespaces"] if entry["type"] != "pid"
        ]
    done = runtime.call("run", "--bundle", str(bundle.shell(script).save()), "one")
    assert done.returncode == status, done.stderr


def test_run_passes_output_and_input(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("cat")
    done = runtime.call("run", "--bundle", str(bundle.save()), "one", stdin=None, input="hello\n")
    assert (done.stdout, done.returncode) == ("hello\n", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_run_forwards_signals(runtime: Runtime, bundle: Bundle, number: int) -> None:
    bundle.shell(f"trap 'exit 7' {int(number)}; touch /tmp/ready; while :; do sleep 0.1; done")
    process = subprocess.Popen(runtime.command("run", "--bundle", str(bundle.save()), "one"))
    until((bundle.rootfs / "tmp/ready").exists)
    process.send_signal(number)
    assert process.wait(20) == 7


def test_an_interrupt_during_creation_takes_it_back(runtime: Runtime, bundle: Bundle) -> None:
    marker = bundle.path / "hook-runs"
    script = f"touch {marker}; exec sleep 60"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    }
    process = subprocess.Popen(
        runtime.command("run", "--bundle", str(bundle.save()), "one"), stderr=subprocess.DEVNULL
    )
    until(marker.exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert not (runtime.root / "one").exists()


def test_deleted_by_another_while_in_the_foreground(runtime: Runtime, bundle: Bundle) -> None:
    path = bundle.shell("touch /tmp/ready; exec sleep 60").save()
    process = subprocess.Popen(runtime.command("run", "--bundle", str(path), "one"))
    until((bundle.rootfs / "tmp/ready").exists)
    # The first process ends when we wait for it: so delete has to run beside.
    runtime.ok("delete", "--force", "one", own={process.pid})
    assert process.wait(10) == 137


def test_keep_keeps_the_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.ok("run", "--keep", "--bundle", str(bundle.save()), "one")
    assert runtime.state("one")["status"] == "stopped"
    runtime.ok("delete", "one")


def test_detached_run(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.args("sleep", "60")
    pid_file = tmp_path / "pid"
    runtime.detached("run", "-d", "--pid-file", str(pid_file), "--bundle", str(bundle.save()), "one")
    state = runtime.state("one")
    assert state["status"] == "running"
    assert int(pid_file.read_text()) == state["pid"]
    runtime.ok("delete", "--force", "one")


def test_delete_force_of_the_missing_is_fine_and_of_the_running_kills(
    runtime: Runtime, bundle: Bundle
) -> None:
    runtime.ok("delete", "--force", "nobody")
    assert runtime.call("delete", "nobody").returncode == 1
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    runtime.ok("delete", "--force", "one")


def test_list_and_ps(runtime: Runtime, bundle: Bundle) -> None:
    assert json.loads(runtime.ok("list", "--format", "json")) in ([], None)
    for name in ("a", "b"):
        runtime.create(bundle.args("sleep", "60"), name)
    listed = json.loads(runtime.ok("list", "--format", "json"))
    assert [entry["id"] for entry in listed] == ["a", "b"]
    assert runtime.ok("list", "-q").split() == ["a", "b"]
    table = runtime.ok("list").splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    pid = runtime.state("a")["pid"]
    assert json.loads(runtime.ok("ps", "--format", "json", "a")) == [pid]
    assert str(pid) in runtime.ok("ps", "a")
    for name in ("a", "b"):
        runtime.ok("delete", name)


def test_pause_and_resume(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.shell("while :; do echo x >> /tmp/ticks; sleep 0.01; done"), "one")
    runtime.ok("start", "one")
    ticks = bundle.rootfs / "tmp/ticks"
    until(ticks.exists)
    runtime.ok("pause", "one")
    assert runtime.state("one")["status"] == "paused"
    size = ticks.stat().st_size
    refused = runtime.call("exec", "one", "true")
    assert refused.returncode == 255
    assert "paused" in refused.stderr
    time.sleep(0.1)
    assert ticks.stat().st_size == size
    runtime.ok("resume", "one")
    until(lambda: ticks.stat().st_size > size)
    assert runtime.state("one")["status"] == "running"
    runtime.ok("pause", "one")
    runtime.ok("delete", "--force", "one")


def test_exec_joins_everything(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    pid = runtime.state("one")["pid"]
    script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup"
    seen = runtime.ok("exec", "one", "busybox", "sh", "-c", script.replace("readlink", "busybox readlink"))
    expected = [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("pid", "net", "ipc", "uts", "mnt", "cgroup")]
    assert seen.splitlines()[:6] == expected
    assert all(line.endswith(":/") for line in seen.splitlines()[6:]), "the cgroup namespace's root"
    assert runtime.call("exec", "one", "sh", "-c", "exit 9").returncode == 9
    missing = runtime.call("exec", "one", "nothing")
    assert missing.returncode == 255
    assert "executable file not found in $PATH" in missing.stderr
    out = runtime.ok("exec", "-u", "1000:7", "-g", "9", "-e", "A=b", "--cwd", "/tmp", "one", "sh", "-c",
                     "id -u; id -g; id -G; echo $A $HOME; pwd")  # fmt: skip
    assert out.split("\n")[:5] == ["1000", "7", "7 9", "b /home/user", "/tmp"]
    runtime.ok("delete", "--force", "one")


def test_exec_detached_writes_its_pid(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    pid_file = tmp_path / "pid"
    runtime.detached("exec", "-d", "--pid-file", str(pid_file), "one", "sleep", "50")
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0050\0"
    assert pid in json.loads(runtime.ok("ps", "-f", "json", "one"))
    runtime.ok("delete", "--force", "one")


def test_a_container_without_cgroups(runtime: Runtime, bundle: Bundle) -> None:
    """--cgroup-manager disabled, as podman's --cgroups=disabled calls it: every verb works, but those
    that are about cgroups say so."""
    before = Path("/proc/self/cgroup").read_text()
    path = bundle.args("sleep", "60").save()
    runtime.detached("--cgroup-manager", "disabled", "run", "-d", "--bundle", str(path), "one")
    pid = runtime.state("one")["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == before
    assert runtime.call("exec", "one", "sh", "-c", "exit 4").returncode == 4
    refused = runtime.call("pause", "one")
    assert refused.returncode == 1
    assert "freezer" in refused.stderr
    refused = runtime.call("ps", "one")
    assert refused.returncode == 1
    assert "the container has no cgroups" in refused.stderr
    runtime.ok("kill", "one", "KILL")
    until(lambda: runtime.state("one")["status"] == "stopped")
    runtime.ok("delete", "one")
    runtime.detached("--cgroup-manager", "disabled", "run", "-d", "--bundle", str(path), "one")
    runtime.ok("delete", "--force", "one")
    assert runtime.call("state", "one").returncode == 1


def test_device_rules_without_cgroups(runtime: Runtime, bundle: Bundle) -> None:
    """podman writes some into every container's configuration, whether there are cgroups or not: a warning.
    What somebody has asked for is refused, and so is any update."""
    command = ("--cgroup-manager", "disabled", "run", "--bundle", str(bundle.path), "one")
    resources = bundle.config["linux"].setdefault("resources", {})
    resources["devices"] = [{"allow": False, "access": "rwm"}]
    bundle.args("echo", "runs").save()
    done = runtime.call(*command)
    assert done.stdout == "runs\n"
    assert "/linux/resources/devices: has no effect, because cgroups are disabled" in done.stderr
    resources["memory"] = {"limit": 1 << 30}
    bundle.save()
    refused = runtime.call(*command)
    assert refused.returncode == 1 and "/linux/resources/memory" in refused.stderr


def test_kill_by_every_kind_of_name(runtime: Runtime, bundle: Bundle) -> None:
    for name in ("TERM", "SIGTERM", "15", "RTMIN+3", None):
        runtime.create(bundle.shell("exec sleep 60"), "one")
        runtime.ok("start", "one")
        pid = runtime.state("one")["pid"]
        runtime.ok("kill", "one", *([name] if name else []))
        # sleep as first process ignores what it has no handler for; it is there all the same
        assert os.path.exists(f"/proc/{pid}")
        runtime.ok("kill", "one", "SIGKILL")
        until(lambda: runtime.state("one")["status"] == "stopped")
        late = runtime.call("kill", "one", "TERM")
        assert late.returncode == 1
        assert "not running" in late.stderr
        runtime.ok("delete", "one")
    assert runtime.call("kill", "one", "NOSUCH").returncode == 1


def test_explain_touches_nothing(runtime: Runtime, bundle: Bundle) -> None:
    text = runtime.ok("explain", "--bundle", str(bundle.save()))
    assert "/mounts/0" in text
    assert "/process/args" in text
    steps = json.loads(runtime.ok("explain", "--json", "--bundle", str(bundle.path)))
    assert any(step["pointer"] == "/hostname" for step in steps)
    assert not runtime.root.exists()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(("option", "seen"), [("bind", []), ("rbind", ["inner"])])
def test_only_a_recursive_bind_shows_what_is_mounted_below(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, mapped: bool, option: str, seen: list[str]
) -> None:
    """Also where the runtime opens the source, for a container's root that may not."""
    below = tmp_path / "source/below"
    below.mkdir(parents=True)
    (bundle.rootfs / "x").mkdir()
    bundle.config["mounts"].append(
        {"destination": "/x", "type": "none", "source": str(below.parent), "options": [option]}
    )
    if mapped:
        bundle.in_user_namespace()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", below], check=True)
    try:
        (below / "inner").touch()
        out = runtime.ok("run", "--bundle", str(bundle.args("ls", "/x/below").save()), "one")
    finally:
        subprocess.run(["umount", below], check=True)
    assert out.split() == seen
