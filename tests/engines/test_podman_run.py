"""podman run in the foreground: output, input, exit codes, terminals, --init, and that nothing stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support.podman import Podman
from support.screen import FOLLOWING, SIZE


def test_run_hands_on_output_and_status(podman: Podman) -> None:
    done = podman.run("box", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_run_hands_on_input_to_its_end(podman: Podman) -> None:
    text = "line\n" * 50_000
    done = podman.run("--interactive", "box", "md5sum", given=text)
    expected = podman.run("box", "sh", "-c", "yes line | head -n 50000 | md5sum")
    assert (done.returncode, done.stdout) == (0, expected.stdout)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("/bin/nothing",), 127),
        (("nothing",), 127),
        (("/etc/passwd",), 126),
        (("/etc",), 126),
        (("sh", "-c", "kill -KILL $$"), 0),  # a namespace's first process is safe from its own
        (("sh", "-c", "sh -c 'kill -KILL $$'; exit $?"), 137),
        (("sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"), 139),
    ],
)
def test_exit_codes(podman: Podman, words: tuple[str, ...], status: int) -> None:
    done = podman.run("box", *words)
    assert done.returncode == status, done.stderr
    if status in (126, 127) and podman.runtime != "crun":  # which doesn't say
        assert words[0] in done.stderr


@pytest.mark.parametrize(("signal", "status"), [("KILL", 137), ("HUP", 129), ("INT", 130), ("TERM", 143)])
def test_exit_codes_of_containers_that_a_signal_ends(podman: Podman, signal: str, status: int) -> None:
    """In the host's pid namespace: the first process of another has only what it handles, and KILL."""
    podman.service("box", "--pid", "host", script="echo ready; exec sleep 300")
    podman.ok("kill", "--signal", signal, "box")
    assert podman.ok("wait", "box") == f"{status}\n"
    assert podman.inspect("box", "{{.State.ExitCode}}") == str(status)


def test_a_terminal(podman: Podman) -> None:
    """Its size follows ours, control-C is a signal inside, and the exit code is the program's."""
    rows, columns = SIZE
    words = ("run", "--rm", "--network", "none", "-it", "box", "sh", "-c", FOLLOWING)
    screen = podman.screen(*words, rows=rows, columns=columns)
    try:
        screen.follows()
    finally:
        screen.close()


def test_a_shell_in_a_terminal(podman: Podman) -> None:
    screen = podman.screen("run", "--rm", "--network", "none", "-it", "box", "sh")
    try:
        screen.expect("# ")
        screen.type("echo $((6 * 7)) $TERM\n")
        screen.expect("42 xterm")
        screen.type("exit 5\n")
        assert screen.finish() == 5
    finally:
        screen.close()


def test_a_terminal_is_left_and_taken_again(podman: Podman) -> None:
    """podman detaches by a key, and attach finds the same terminal."""
    flags = ("--name", "box", "--network", "none", "--detach-keys", "ctrl-x")
    screen = podman.screen("run", *flags, "-it", "box", "sh")
    try:
        screen.type("value=kept; echo $((6 * 7))\n")
        screen.expect("42")
        screen.type("\x18")  # podman knows a key only if it comes alone
        assert screen.finish() == 0
    finally:
        screen.close()
    assert podman.status("box") == "running"
    screen = podman.screen("attach", "box")
    try:
        screen.type("echo it is $value\n")
        screen.expect("it is kept")
        screen.type("exit 9\n")
        screen.finish()
    finally:
        screen.close()
    assert podman.ok("wait", "box") == "9\n"


def test_descriptors_are_handed_on_only_as_asked(podman: Podman) -> None:
    words = ["podman", "run", "--rm", "--network", "none", "--preserve-fds", "1", "box"]
    script = 'exec 3<<< "through the descriptor"; exec "$@"'
    inside = "cat <&3; ls /proc/self/fd"
    done = podman.finish(["bash", "-c", script, "-", *words, "sh", "-c", inside])
    # ls has the directory it lists open too
    assert done.stdout.split("\n")[:5] == ["through the descriptor", "0", "1", "2", "3"], done
    assert podman.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_environment_directory_user_and_entrypoint(podman: Podman) -> None:
    flags = [
        "--env",
        "A=b c",
        "--workdir",
        "/tmp",
        "--user",
        "1000:50",
        "--group-add",
        "77",
        "--umask",
        "027",
    ]
    printed = podman.sh(
        'echo "$A"; pwd; id -u; id -g; id -G; umask; echo $HOME $HOSTNAME', *flags, "--hostname", "pod"
    )
    assert printed.splitlines() == ["b c", "/tmp", "1000", "50", "50 77", "0027", "/home/user pod"]
    assert podman.run("--entrypoint", '["echo", "entry"]', "box", "more").stdout == "entry more\n"


def test_a_working_directory_that_is_missing(podman: Podman) -> None:
    done = podman.run("--workdir", "/missing", "box", "true")
    assert done.returncode in (126, 127) and "/missing" in done.stderr


def test_an_init_reaps_what_the_program_leaves(podman: Podman) -> None:
    script = "(sleep 0.01 & ); sleep 0.1; tr '\\0' ' ' < /proc/1/cmdline; echo;"
    script += " grep -l zombie /proc/[0-9]*/status; exit 6"
    done = podman.run("--init", "box", "sh", "-c", script)
    assert done.returncode == 6 and done.stdout.startswith("/run/podman-init -- sh -c"), done
    assert len(done.stdout.splitlines()) == 1, done


def test_an_init_hands_signals_on(podman: Podman) -> None:
    podman.service("box", "--init", script="trap 'exit 21' TERM; echo ready; while :; do sleep 0.05; done")
    podman.ok("stop", "--time", "30", "box")
    assert podman.inspect("box", "{{.State.ExitCode}}") == "21"


def test_nothing_stays_of_a_container_that_is_run_with_rm(podman: Podman, tmp_path: Path) -> None:
    """In the runtime's state, in the cgroups, in podman's store."""

    def cgroups() -> list[str]:
        return [
            name
            for hierarchy in layout.detect().hierarchies
            if (parent := Path(hierarchy.mount, "libpod_parent")).exists()
            for name in os.listdir(parent)
            if name.startswith("libpod-")
        ]

    id_file = tmp_path / "id"
    podman.ok(
        "run",
        "--rm",
        "--network",
        "none",
        "--cidfile",
        str(id_file),
        "--name",
        "box",
        "--detach",
        "box",
        "sleep",
        "300",
    )
    container_id = id_file.read_text()
    states = [found for found in Path("/run").glob(f"*/{container_id}") if found.is_dir()]
    assert states and cgroups() != []
    podman.ok("kill", "box")
    podman.eventually(lambda: podman.call("container", "exists", "box").returncode == 1)
    assert not any(found.exists() for found in states)
    assert podman.ok("ps", "--all", "--quiet") == ""
    podman.eventually(lambda: cgroups() == [])
    assert [
        name for name in os.listdir(podman.directory / "graph/vfs-containers") if container_id in name
    ] == []
