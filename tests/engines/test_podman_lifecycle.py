"""Containers under podman from start to rm: logs, signals, pause, top, stats, health, hooks, notices."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from support.podman import Podman
from support.service_manager import Manager, build_say


def test_a_service_from_run_to_rm(podman: Podman) -> None:
    container_id = podman.service("web")
    assert podman.inspect("web", "{{.State.Status}} {{.OCIRuntime}}") == f"running {podman.runtime}"
    assert re.fullmatch(f"{container_id[:12]} .* Up .* web\n", podman.ok("ps", "--noheading"))
    podman.ok("stop", "--time", "30", "web")
    assert podman.ok("logs", "web") == "ready\nterm\n"
    assert podman.inspect("web", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
    assert "Exited (3)" in podman.ok("ps", "--all")
    podman.ok("rm", "web")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_logs_are_followed_to_the_end(podman: Podman) -> None:
    podman.start("box", script="for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.05; done")
    done = podman.call("logs", "--follow", "box")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["out 1", "out 2", "out 3"]
    assert done.stderr.splitlines() == ["err 1", "err 2", "err 3"]


def test_stop_kills_what_ignores_its_signal(podman: Podman) -> None:
    podman.service("box", script="trap '' TERM; echo ready; while :; do sleep 0.05; done")
    podman.ok("stop", "--time", "1", "box")
    assert podman.inspect("box", "{{.State.ExitCode}}") == "137"


def test_stop_sends_the_signal_that_was_chosen(podman: Podman) -> None:
    script = "trap 'exit 14' QUIT; echo ready; while :; do sleep 0.05; done"
    podman.service("box", "--stop-signal", "QUIT", script=script)
    podman.ok("stop", "--time", "30", "box")
    assert podman.inspect("box", "{{.State.ExitCode}}") == "14"


@pytest.mark.parametrize("signal", ["HUP", "SIGUSR1", "12", "RTMIN+3"])
def test_kill_sends_any_signal(podman: Podman, signal: str) -> None:
    script = 'for n in 1 10 12 37; do trap "echo got $n" $n; done; echo ready; while :; do sleep 0.05; done'
    podman.service("box", script=script)
    podman.ok("kill", "--signal", signal, "box")
    number = {"HUP": 1, "SIGUSR1": 10, "12": 12, "RTMIN+3": 37}[signal]
    podman.eventually(lambda: f"got {number}" in podman.ok("logs", "box"))
    assert podman.status("box") == "running"


def test_kill_and_rm_of_what_has_ended(podman: Podman) -> None:
    podman.start("box", script="exit 4")
    assert podman.ok("wait", "box") == "4\n"
    assert podman.call("kill", "box").returncode != 0
    podman.ok("rm", "box")
    assert podman.call("wait", "box").returncode != 0


def test_a_running_container_is_removed_only_by_force(podman: Podman) -> None:
    podman.service("box")
    pid = podman.pid("box")
    assert podman.call("rm", "box").returncode != 0 and podman.status("box") == "running"
    podman.ok("rm", "--force", "--time", "0", "box")
    assert not Path(f"/proc/{pid}").exists()


def test_restart_makes_a_new_process_in_the_same_root(podman: Podman) -> None:
    podman.service(
        "box",
        script="test -e /tmp/seen && echo again; touch /tmp/seen; trap 'exit 0' TERM;"
        " echo ready; while :; do sleep 0.05; done",
    )
    before = podman.pid("box")
    podman.ok("restart", "--time", "30", "box")
    assert podman.status("box") == "running" and podman.pid("box") != before
    podman.eventually(lambda: podman.ok("logs", "box").split() == ["ready", "again", "ready"])


def test_create_init_and_start_are_three_steps(podman: Podman) -> None:
    podman.ok("create", "--name", "box", "--network", "none", "box", "sh", "-c", "echo started; exit 7")
    assert podman.status("box") == "created"
    podman.ok("init", "box")
    assert podman.status("box") == "initialized" and podman.ok("logs", "box") == ""
    assert podman.call("start", "--attach", "box").returncode == 7
    assert podman.ok("logs", "box") == "started\n"


def test_restart_policy(podman: Podman) -> None:
    podman.start("box", "--restart", "on-failure:2", script="echo run; exit 1")
    podman.eventually(lambda: podman.ok("logs", "box").split() == ["run"] * 3)
    podman.eventually(lambda: podman.inspect("box", "{{.State.Status}} {{.RestartCount}}") == "exited 2")


def test_pause_freezes_and_unpause_thaws(podman: Podman) -> None:
    podman.service("box", script="echo ready; while :; do echo tick; sleep 0.02; done")
    podman.ok("pause", "box")
    assert podman.status("box") == "paused"
    before = podman.ok("logs", "box")
    assert podman.call("exec", "box", "true").returncode != 0
    assert podman.ok("logs", "box") == before
    podman.ok("unpause", "box")
    assert podman.status("box") == "running"
    podman.eventually(lambda: podman.ok("logs", "box") != before)


def test_a_paused_container_is_removed_by_force(podman: Podman) -> None:
    podman.service("box")
    podman.ok("pause", "box")
    podman.ok("rm", "--force", "--time", "0", "box")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_top_tells_of_every_process(podman: Podman) -> None:
    podman.start("box", script="sleep 301 & sleep 302 & wait")
    podman.eventually(lambda: "sleep 302" in podman.ok("top", "box"))
    lines = [line.split(maxsplit=3) for line in podman.ok("top", "box", "pid,user,hpid,args").splitlines()]
    assert lines[0] == ["PID", "USER", "HPID", "COMMAND"]
    assert lines[1][:3] == ["1", "root", str(podman.pid("box"))]
    assert {line[3].strip() for line in lines[2:]} == {"sleep 301", "sleep 302"}
    for _, _, pid, command in lines[2:]:
        assert Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() == command
    assert "sleep 301" in podman.ok("top", "box", "-o", "pid,args")  # ps(1) in the container


def test_stats_tell_what_the_cgroup_holds(podman: Podman) -> None:
    podman.start(
        "box",
        "--memory",
        "256m",
        script="head -c 50000000 /dev/zero | tail -c 50000000 > /dev/shm/f;"
        " sleep 300 & sleep 300 & echo ready; wait",
    )
    podman.eventually(lambda: "ready" in podman.ok("logs", "box"))
    told = json.loads(podman.ok("stats", "--no-stream", "--format", "json", "box"))[0]
    used, _, limit = told["mem_usage"].partition(" / ")
    assert told["name"] == "box" and limit == "268.4MB" and told["pids"] == "3", told
    assert re.fullmatch(r"[5-9]\d(\.\d+)?MB", used), told
    assert told["cpu_time"] != "0s"


def test_health_checks(podman: Podman) -> None:
    """podman's timers need systemd; the check itself is one more exec."""
    flags = ("--health-cmd", "test -e /tmp/well", "--health-retries", "1", "--health-interval", "disable")
    podman.service("box", *flags)
    assert podman.call("healthcheck", "run", "box").returncode == 1
    assert podman.inspect("box", "{{.State.Healthcheck.Status}}") == "unhealthy"
    podman.ok("exec", "box", "touch", "/tmp/well")
    podman.ok("healthcheck", "run", "box")
    assert podman.inspect("box", "{{.State.Healthcheck.Status}}") == "healthy"
    assert "(healthy)" in podman.ok("ps")


def test_a_container_notifies_the_callers_service_manager(podman: Podman, tmp_path: Path) -> None:
    """--sdnotify=container: ready when it says so itself; podman has a proxy of its own for that."""
    say = build_say(tmp_path)
    manager = Manager(str(tmp_path / "manager"))
    flags = ("--sdnotify", "container", "--volume", f"{say}:/bin/say")
    script = "say READY=1; exec sleep 0.2"
    done = podman.run(*flags, "box", "/bin/sh", "-c", script, env={"NOTIFY_SOCKET": manager.address})
    heard = manager.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert "READY=1" in "\n".join(heard).split("\n")


def test_conmon_notifies_of_the_container(podman: Podman, tmp_path: Path) -> None:
    """--sdnotify=conmon: ready as soon as it runs; the container hears of no socket."""
    manager = Manager(str(tmp_path / "manager"))
    done = podman.run(
        "--sdnotify", "conmon", "box", "sh", "-c", "echo ${NOTIFY_SOCKET-none}",
        env={"NOTIFY_SOCKET": manager.address},
    )  # fmt: skip
    words = "\n".join(manager.close()).split("\n")
    assert done.stdout == "none\n" and "READY=1" in words
    assert any(word.startswith("MAINPID=") for word in words)


def test_hooks_of_a_directory(podman: Podman, tmp_path: Path) -> None:
    """podman writes those that match into config.json; each gets the container's state on its stdin."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    stages = ["prestart", "createRuntime", "poststart", "poststop"]
    hook = {
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/$STAGE"], "env": []},
        "when": {"annotations": {"^hooked$": "^yes$"}},
    }
    for stage in stages:
        hook["hook"]["env"] = [f"STAGE={stage}", "PATH=/bin"]  # type: ignore[index]
        (hooks / f"{stage}.json").write_text(json.dumps({**hook, "stages": [stage]}))
    words = ["--hooks-dir", str(hooks), "run", "--rm", "--network", "none"]
    podman.ok(*words, "box", "true")
    assert not any((tmp_path / stage).exists() for stage in stages)
    podman.ok(*words, "--annotation", "hooked=yes", "--name", "box", "box", "true")
    states = {stage: json.loads((tmp_path / stage).read_text()) for stage in stages}
    assert [states[stage]["annotations"]["hooked"] for stage in stages] == ["yes"] * 4
    assert len({state["id"] for state in states.values()}) == 1
    assert states["poststop"]["status"] == "stopped"
    assert states["poststart"]["status"] == "running" or podman.runtime == "runc"  # which says "created"


def test_a_hook_that_fails_stops_the_container(podman: Podman, tmp_path: Path) -> None:
    hook = {
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", "echo no such luck >&2; exit 5"]},
        "when": {"always": True},
        "stages": ["createRuntime"],
    }
    (tmp_path / "hook.json").write_text(json.dumps(hook))
    done = podman.call("--hooks-dir", str(tmp_path), "run", "--rm", "--network", "none", "box", "echo", "ran")
    assert done.returncode == 126 and done.stdout == "", done
    if podman.runtime == "pyoci":
        assert "no such luck" in done.stderr and "/hooks/createRuntime/0" in done.stderr


def test_annotations_reach_the_runtime(podman: Podman) -> None:
    podman.service("box", "--annotation", "org.example.key=a value")
    assert podman.config("box")["annotations"]["org.example.key"] == "a value"
    if podman.runtime == "pyoci":
        state = json.loads(os.popen(f"{podman.path} state {podman.inspect('box', '{{.Id}}')}").read())
        assert state["annotations"]["org.example.key"] == "a value"


def test_a_container_is_copied_from_and_to_and_committed(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    podman.service("box")
    podman.ok("cp", str(tmp_path / "file"), "box:/tmp/file")
    assert podman.ok("exec", "box", "cat", "/tmp/file") == "from the host"
    podman.ok("exec", "box", "sh", "-c", "echo inside > /tmp/other")
    podman.ok("cp", "box:/tmp/other", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "inside\n"
    podman.ok("commit", "--quiet", "box", "made")
    try:
        assert podman.run("made", "cat", "/tmp/other").stdout == "inside\n"
    finally:
        podman.ok("rmi", "made")
