"""podman exec in all its forms, in one container that runs meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.podman import Podman

SHELL = ("/bin/sh", "-c")


@pytest.fixture
def box(podman: Podman) -> Iterator[Podman]:
    podman.start("box", "--env", "OF=container", "--workdir", "/tmp", "--hostname", "pod")
    yield podman


def test_output_input_and_status(box: Podman) -> None:
    done = box.call("exec", "box", *SHELL, "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
    assert box.ok("exec", "--interactive", "box", "cat", given="typed\n") == "typed\n"
    assert box.ok("exec", "box", "cat", given="not handed on\n") == ""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("/bin/nothing",), 127),
        (("nothing",), 127),
        (("/etc/passwd",), 126),
        (("sh", "-c", "exit 0"), 0),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("sh", "-c", "kill -SEGV $$"), 139),
    ],
)
def test_exit_codes(box: Podman, words: tuple[str, ...], status: int) -> None:
    done = box.call("exec", "box", *words)
    assert done.returncode == status, done.stderr
    if status in (126, 127) and box.runtime != "crun":  # which doesn't say
        assert words[0] in done.stderr


def test_it_is_in_the_containers_namespaces_and_cgroup(box: Podman) -> None:
    kinds = "cgroup ipc mnt net pid uts"
    script = f"for kind in {kinds}; do readlink /proc/1/ns/$kind; readlink /proc/self/ns/$kind; done"
    links = box.ok("exec", "box", *SHELL, script).splitlines()
    assert len(links) == 12 and links[::2] == links[1::2]
    script = "cat /proc/1/cgroup; echo; cat /proc/self/cgroup; hostname"
    first, _, own = box.ok("exec", "box", *SHELL, script).partition("\n\n")
    assert own == f"{first}\npod\n"


def test_environment_user_and_directory(box: Podman, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("OF=file\nFILE=yes\n")
    script = "echo $OF ${A-} ${FILE-}; pwd; id -u; id -g; id -G"
    assert box.ok("exec", "box", *SHELL, script).splitlines() == ["container", "/tmp", "0", "0", "0"]
    flags = ["-e", "A=b", "--env-file", str(tmp_path / "env"), "-u", "1000:50", "-w", "/etc"]
    printed = box.ok("exec", *flags, "box", *SHELL, script)
    assert printed.splitlines() == ["file b yes", "/etc", "1000", "50", "50"]
    assert box.ok("exec", "--user", "user", "box", "id", "-u") == "1000\n"
    missing = box.call("exec", "-w", "/missing", "box", "true")
    assert missing.returncode in (126, 127) and "/missing" in missing.stderr


def test_privileged_gives_every_capability_there_is(box: Podman) -> None:
    def bounds(*flags: str) -> int:
        return int(box.ok("exec", *flags, "box", "grep", "CapBnd", "/proc/self/status").split()[1], 16)

    ours = int(Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0], 16)
    assert bounds("--privileged") == ours
    assert bounds() & ~ours == 0 and bounds().bit_count() < ours.bit_count()


def test_an_exec_has_no_more_rights_than_its_container(podman: Podman) -> None:
    """podman gives a user who isn't root what was added as ambient capabilities too."""
    flags = ["--cap-drop", "all", "--cap-add", "chown", "--security-opt", "no-new-privileges"]
    podman.start("box", *flags, "--user", "1000")
    lines = podman.ok("exec", "box", "grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status")
    found = dict(line.split() for line in lines.splitlines())
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert int(found.pop(f"Cap{kind}:"), 16) == 1
    assert found == {"NoNewPrivs:": "1", "Seccomp:": "2"}


def test_a_terminal(box: Podman) -> None:
    script = "trap 'stty size' WINCH; tty; stty size; echo ready; while ! read -t 1 line; do :; done; exit 11"
    screen = box.screen("exec", "-it", "-e", "TERM=vt100", "box", *SHELL, script, rows=25, columns=81)
    try:
        screen.expect("ready")
        assert b"/dev/pts/0\r\n" in screen.seen and b"25 81\r\n" in screen.seen
        screen.resize_until(20, 50, "20 50")
        screen.type("\n")
        assert screen.finish() == 11
    finally:
        screen.close()


def test_a_control_key_interrupts_the_exec_and_not_the_container(box: Podman) -> None:
    screen = box.screen("exec", "-it", "box", *SHELL, "echo ready; exec sleep 300")
    try:
        screen.expect("ready")
        screen.type("\x03")
        assert screen.finish() == 130
    finally:
        screen.close()
    assert box.status("box") == "running"


def test_in_the_background(box: Podman) -> None:
    session = box.ok(
        "exec", "--detach", "box", *SHELL, "echo $$ > /tmp/pid; sleep 0.1; touch /tmp/done; exec sleep 300"
    )
    assert len(session.strip()) == 64
    box.eventually(lambda: box.call("exec", "box", "test", "-e", "/tmp/done").returncode == 0)
    box.ok("exec", "box", *SHELL, "kill $(cat /tmp/pid)")
    box.eventually(lambda: "sleep 300" not in box.ok("top", "box", "args"))
    done = box.call("exec", "--detach", "box", "nothing")
    assert done.returncode == 125 and "nothing" in done.stderr  # podman's for whatever fails here


def test_descriptors(box: Podman) -> None:
    words = ["podman", "exec", "--preserve-fds", "2", "box", *SHELL, "cat <&3; cat <&4; ls /proc/self/fd"]
    script = 'exec 3<<< three 4<<< four 5<<< five; exec "$@"'
    done = box.finish(["bash", "-c", script, "-", *words])
    assert done.stdout.split()[:7] == ["three", "four", "0", "1", "2", "3", "4"], done
    assert box.ok("exec", "box", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]  # 3: what ls lists


def test_many_at_once(box: Podman) -> None:
    script = 'for i in 1 2 3 4 5 6; do podman exec box sh -c "exit $i" & pids="$pids $!"; done;'
    script += " for pid in $pids; do wait $pid; echo $?; done"
    assert box.finish(["sh", "-c", script]).stdout.split() == ["1", "2", "3", "4", "5", "6"]


def test_an_exec_ends_with_its_container(box: Podman) -> None:
    screen = box.screen("exec", "-it", "box", *SHELL, "echo ready; exec sleep 300")
    try:
        screen.expect("ready")
        box.ok("kill", "box")
        assert screen.finish() == 137
    finally:
        screen.close()


def test_an_exec_in_what_has_ended_is_refused(podman: Podman) -> None:
    podman.start("box", script="exit 0")
    podman.ok("wait", "box")
    done = podman.call("exec", "box", "true")
    assert done.returncode == 255 and "running" in done.stderr
