"""A container's life under Docker: run, exec, terminals, signals, pause, logs, and what Docker says of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support import docker as programs
from support.cgroups import eventually
from support.docker import Docker
from support.screen import Screen

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

OBEDIENT = ("/bin/sh", "-c", "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.05; done")


def state(docker: Docker, container: str, key: str = "Status") -> str:
    return docker.inspect(container, f"{{{{.State.{key}}}}}")


@pytest.mark.parametrize("name", ["default", "named"])
def test_output_and_status_of_run(docker: Docker, name: str) -> None:
    flags = ["--runtime", "tested"] if name == "named" else []
    done = docker.run(*flags, "box", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_a_runtime_is_chosen_by_its_name(docker: Docker) -> None:
    done = docker.run("--runtime", "missing", "box", "true")
    assert done.returncode != 0 and programs.MISSING in done.stderr


def test_input_of_run(docker: Docker) -> None:
    done = docker.call("run", "--rm", "--interactive", "box", "/bin/cat", input="line\n" * 10000)
    assert (done.returncode, done.stdout) == (0, "line\n" * 10000)


def test_the_runtime_that_docker_says_it_uses(docker: Docker) -> None:
    assert docker.ok("info", "--format", "{{.DefaultRuntime}} {{.Runtimes.tested.Path}}") == (
        f"tested {docker.runtime}\n"
    )
    with docker.service() as container:
        assert docker.inspect(container, "{{.HostConfig.Runtime}}") == "tested"


@pytest.mark.parametrize(
    ("program", "status", "of_exec"),
    [("/bin/nothing", 127, 126), ("nothing", 127, 126), ("/etc/passwd", 126, 126)],
)
def test_docker_knows_why_a_program_cannot_run(
    docker: Docker, program: str, status: int, of_exec: int
) -> None:
    """By what the runtime says: a status of the client's is made from it."""
    if docker.tests("crun"):
        pytest.skip("Docker doesn't know crun's words for it")
    done = docker.run("box", program)
    assert (done.returncode, done.stdout) == (status, "")
    assert "OCI runtime create failed: " in done.stderr and program in done.stderr
    with docker.service() as container:
        done = docker.call("exec", container, program)
        assert done.returncode == of_exec
        assert "OCI runtime exec failed: " in done.stdout and program in done.stdout


def test_the_runtimes_own_message_reaches_the_client(docker: Docker) -> None:
    """What Docker accepts and the kernel doesn't."""
    done = docker.run("--cpuset-cpus", "0", "--sysctl", "net.ipv4.ip_forward=x", "box", "true")
    assert done.returncode == 125
    assert "OCI runtime create failed: " in done.stderr and "invalid argument" in done.stderr.lower()
    if docker.tests("pyoci"):
        assert "/linux/sysctl/net.ipv4.ip_forward" in done.stderr


def test_a_shell_on_a_terminal(docker: Docker) -> None:
    command = docker.command("run", "--rm", "--interactive", "--tty", "box", "/bin/sh")
    screen = Screen(command, environment=docker.environment)
    screen.expect("# ")
    screen.type("busybox tty; busybox stty size; echo owner $(stat -c %u:%t:%T /dev/console)\n")
    screen.expect("/dev/pts/0")
    screen.expect("40 100")
    screen.expect("owner 0:88:0")
    screen.type("until [ \"$(busybox stty size)\" = '50 120' ]; do sleep 0.05; done; echo res''ized\n")
    screen.resize_until(50, 120, "resized")
    screen.type("echo asl''eep; sleep 300\n")
    screen.expect("asleep")
    screen.seen = b""
    screen.type("\x03")
    screen.expect("# ")
    screen.type("exit 5\n")
    assert screen.finish() == 5
    screen.close()


def test_exec_on_a_terminal(docker: Docker) -> None:
    with docker.service() as container:
        command = docker.command("exec", "--interactive", "--tty", container, "/bin/sh")
        screen = Screen(command, environment=docker.environment)
        screen.expect("# ")
        screen.type("busybox tty; busybox stty size\n")
        screen.expect("/dev/pts/0")
        screen.expect("40 100")
        screen.type("exit 6\n")
        assert screen.finish() == 6
        screen.close()


def test_exec(docker: Docker) -> None:
    with docker.service("--env", "FROM=container") as container:
        script = "id -u; busybox pwd; echo $FROM $OWN; exit 7"
        flags = ("--user", "1000", "--workdir", "/etc", "--env", "OWN=exec")
        done = docker.call("exec", *flags, container, "/bin/sh", "-c", script)
        assert (done.returncode, done.stdout) == (7, "1000\n/etc\ncontainer exec\n")
        done = docker.call("exec", "--interactive", container, "/bin/cat", input="given")
        assert (done.returncode, done.stdout) == (0, "given")
        assert docker.ok("exec", container, "cat", "/proc/1/cmdline") == "/bin/sleep\x00300\x00"
        docker.ok("exec", "--detach", container, "/bin/sh", "-c", "echo done >/tmp/file")
        eventually(lambda: docker.call("exec", container, "cat", "/tmp/file").stdout == "done\n")


def test_many_execs_at_once(docker: Docker) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def status(number: int) -> int:
        return docker.call("exec", container, "/bin/sh", "-c", f"exit {number}").returncode

    with docker.service() as container, ThreadPoolExecutor(6) as threads:
        assert list(threads.map(status, range(12))) == list(range(12))


def test_stop_lets_the_program_end(docker: Docker) -> None:
    with docker.service(command=OBEDIENT) as container:
        eventually(lambda: "ready" in docker.ok("logs", container))
        docker.ok("stop", "--time", "60", container)
        assert (state(docker, container), state(docker, container, "ExitCode")) == ("exited", "3")
        assert docker.ok("logs", container) == "ready\nended\n"


def test_stop_kills_what_does_not_listen(docker: Docker) -> None:
    with docker.service(command=("/bin/sh", "-c", "trap '' TERM; sleep 300")) as container:
        docker.ok("stop", "--time", "1", container)
        assert (state(docker, container), state(docker, container, "ExitCode")) == ("exited", "137")


def test_kill_sends_signals(docker: Docker) -> None:
    script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"
    with docker.service(command=("/bin/sh", "-c", script)) as container:
        for name, word in (("", "ready"), ("HUP", "hup"), ("USR1", "usr1")):
            if name:
                docker.ok("kill", "--signal", name, container)
            eventually(lambda word=word: word in docker.ok("logs", container))
        docker.ok("kill", container)
        assert docker.ok("wait", container) == "137\n"
        assert state(docker, container) == "exited"
        done = docker.call("kill", container)
        assert done.returncode == 1 and "is not running" in done.stderr


def test_pause_stops_the_clock(docker: Docker) -> None:
    script = "n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.01; done"
    with docker.service(command=("/bin/sh", "-c", script)) as container:
        pid = state(docker, container, "Pid")
        count = Path(f"/proc/{pid}/root/tmp/n")
        eventually(lambda: count.exists() and count.read_text())
        docker.ok("pause", container)
        assert state(docker, container) == "paused"
        assert "(Paused)" in docker.ok("ps", "--filter", f"id={container}")
        done = docker.call("exec", container, "true")
        assert done.returncode == 1 and "is paused" in done.stderr
        before = count.read_text()
        os.sched_yield()
        assert count.read_text() == before
        docker.ok("unpause", container)
        assert state(docker, container) == "running"
        eventually(lambda: count.read_text() not in ("", before))


def test_a_paused_container_can_be_removed(docker: Docker) -> None:
    with docker.service() as container:
        docker.ok("pause", container)
        docker.ok("rm", "--force", container)
        assert docker.ok("ps", "--all", "--quiet", "--filter", f"id={container}") == ""


def test_ps_and_top_tell_the_truth(docker: Docker) -> None:
    script = "sleep 301 & sleep 302 & sleep 300; exit"
    with docker.service("--name", "busy", command=("/bin/sh", "-c", script)) as container:
        pid = int(state(docker, container, "Pid"))
        children = Path(f"/proc/{pid}/task/{pid}/children")
        eventually(lambda: len(children.read_text().split()) == 3)
        here = {pid, *map(int, children.read_text().split())}
        title, *lines = docker.ok("top", container, "-eo", "pid,args").splitlines()
        assert title.split() == ["PID", "COMMAND"]
        assert {int(line.split()[0]) for line in lines} == here
        assert sorted(line.split()[-1] for line in lines) == ["300", "301", "302", "exit"]
        mine = ("--filter", f"id={container}")
        assert docker.ok("ps", *mine, "--format", "{{.Names}} {{.State}}") == "busy running\n"
        os.kill(pid, signal.SIGKILL)  # behind Docker's back
        eventually(lambda: docker.ok("ps", *mine, "--quiet") == "")
        listed = docker.ok("ps", "--all", *mine, "--format", "{{.Names}} {{.State}} {{.Status}}")
        assert listed.startswith("busy exited Exited (137)")


def test_stats(docker: Docker) -> None:
    script = "while :; do :; done"
    with docker.service("--memory", "64m", command=("/bin/sh", "-c", script)) as container:
        form = "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"
        shown = docker.ok("stats", "--no-stream", "--format", form, container)
        cpu, used, _, limit, pids = shown.split()
        assert float(cpu.rstrip("%")) > 0
        assert float(used[:-3]) > 0 and used.endswith("iB")
        assert (limit, pids) == ("64MiB", "1")


def test_logs_while_it_runs_and_afterwards(docker: Docker) -> None:
    script = "echo first; echo bad >&2; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last"
    with docker.service(command=("/bin/sh", "-c", script)) as container:
        eventually(lambda: docker.call("logs", container).stdout == "first\n")
        docker.ok("exec", container, "touch", "/tmp/go")
        done = docker.call("logs", "--follow", container)  # until the end
        assert (done.stdout, done.stderr) == ("first\nlast\n", "bad\n")
        assert docker.ok("logs", "--tail", "1", container) == "last\n"


def test_init(docker: Docker) -> None:
    """An init that reaps: its children's children don't stay as zombies, signals go on to the program."""
    with docker.service("--init", command=OBEDIENT) as container:
        first = docker.ok("exec", container, "cat", "/proc/1/cmdline")
        assert first.split("\0")[:2] == ["/sbin/docker-init", "--"]
        eventually(lambda: "ready" in docker.ok("logs", container))
        docker.ok("stop", "--time", "60", container)
        assert state(docker, container, "ExitCode") == "3"


def test_health(docker: Docker) -> None:
    flags = ("--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "1")
    with docker.service(*flags) as container:
        eventually(lambda: state(docker, container, "Health.Status") == "unhealthy")
        docker.ok("exec", container, "touch", "/tmp/well")
        eventually(lambda: state(docker, container, "Health.Status") == "healthy")
        assert "(healthy)" in docker.ok("ps")


def test_wait(docker: Docker) -> None:
    with docker.service(command=("/bin/sh", "-c", "sleep 0.2; exit 9")) as container:
        assert docker.ok("wait", container) == "9\n"


def test_restart_starts_anew(docker: Docker) -> None:
    with docker.service(command=OBEDIENT) as container:
        before = state(docker, container, "Pid")
        docker.ok("exec", container, "touch", "/etc/kept")
        docker.ok("restart", "--time", "60", container)
        after = state(docker, container, "Pid")
        assert after != before and state(docker, container) == "running"
        docker.ok("exec", container, "cat", "/etc/kept")


def test_restart_policies(docker: Docker) -> None:
    with docker.service("--restart", "on-failure:2", command=("/bin/sh", "-c", "exit 3")) as container:
        eventually(lambda: docker.inspect(container, "{{.RestartCount}} {{.State.Status}}") == "2 exited")
        assert state(docker, container, "ExitCode") == "3"
    with docker.service("--restart", "always") as container:
        before = state(docker, container, "Pid")
        os.kill(int(before), signal.SIGKILL)
        eventually(lambda: state(docker, container, "Pid") not in ("0", before))
        eventually(lambda: state(docker, container) == "running")


def test_create_then_start(docker: Docker) -> None:
    container = docker.ok("create", "--name", "later", "box", "/bin/sh", "-c", "echo begun; exit 4").strip()
    assert state(docker, container) == "created"
    assert docker.call("start", "--attach", container).stdout == "begun\n"
    assert docker.ok("wait", "later") == "4\n"
    docker.ok("rm", "later")


def test_copying_into_and_out_of_a_container(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host")
    with docker.service() as container:
        docker.ok("cp", f"{tmp_path}/in", f"{container}:/tmp/in")
        assert docker.ok("exec", container, "cat", "/tmp/in") == "from the host"
        docker.ok("exec", container, "/bin/sh", "-c", "echo from within >/tmp/out")
        docker.ok("cp", f"{container}:/tmp/out", f"{tmp_path}/out")
        assert (tmp_path / "out").read_text() == "from within\n"
        assert "A /tmp/out" in docker.ok("diff", container)
