"""The installed command beside runc's: the same command lines are understood, with the same exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.containers import PYOCI, SECONDS, Bundle, Runtime

# No container is there: what is understood fails with "does not exist", or does nothing.
LINES = [
    *("", "--help", "-h", "help", "h", "help state", "--version", "-v", "bogus", "--bogus", "--root"),
    *(
        "state",
        "state x",
        "state x y",
        "state -h",
        "state --help x",
        "state -- x",
        "state --bogus x",
        "state x --bogus",
    ),
    *("state --root /r x", "state ..", "state a/b", "start x", "start", "pause", "pause x", "resume x"),
    *(
        "kill",
        "kill x",
        "kill x 9",
        "kill x 9 3",
        "kill x 9 --all",
        "kill --all x 9",
        "kill -all x",
        "kill -a=1 x",
    ),
    *("kill --all=false x", "kill --all=maybe x", "kill x --all=false 9", "kill -- x 9", "kill x NOPE"),
    *(
        "delete",
        "delete x",
        "delete -f x",
        "delete --force x",
        "delete -force x",
        "delete x -f",
        "delete x --force",
    ),
    *("list", "list -q", "list -q=true", "list -f json", "list --format=table", "list extra", "list -f xml"),
    *("list -fjson", "list --format", "ps", "ps x", "ps -f json x", "ps --format xml x", "ps x -ef"),
    *(
        "exec",
        "exec x",
        "exec x id",
        "exec --bogus x id",
        "exec -u y x id",
        "exec -p /nowhere x",
        "exec x --bogus",
    ),
    *("create", "create -b /nowhere x", "create -bundle /nowhere x", "create --bundle=/nowhere x"),
    *(
        "create x --bundle /nowhere",
        "create --bundle",
        "create --preserve-fds z x",
        "run",
        "run -d -b /nowhere x",
    ),
    *(
        "spec extra",
        "spec --bundle /nowhere",
        "features extra",
        "--log /nowhere/log list",
        "--log-format json list",
    ),
    *("--log-format=xml list", "--debug state x", "--systemd-cgroup=no list", "--rootless true list"),
]


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.parametrize("line", LINES, ids=lambda line: line or "nothing")
def test_the_status_is_runcs(line: str, tmp_path: Path) -> None:
    def status(program: str) -> int:
        words = line.split() if line == "--root" else ["--root", str(tmp_path / "state"), *line.split()]
        done = subprocess.run(
            [program, *words],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert "internal error" not in done.stderr
        return done.returncode

    assert status(PYOCI) == status("runc")


def test_descriptors_that_the_caller_left_free_are_refused(runtime: Runtime, bundle: Bundle) -> None:
    """By then the number may be one of pyoci's own: a descriptor of the host's, kept by the container."""
    runtime.create(bundle.args("sleep", "300"), "box")
    runtime.ok("start", "box")
    done = runtime.call("exec", "--preserve-fds", "1", "box", "ls", "/proc/self/fd")
    assert (done.returncode, done.stdout) == (255, "")
    assert "descriptor 3 is to be preserved, but it isn't open" in done.stderr
    for command in ("create", "run"):
        done = runtime.call(command, "--preserve-fds", "1", "--bundle", str(bundle.path), "other")
        assert done.returncode == 1
        assert "descriptor 3 is to be preserved" in done.stderr
    runtime.ok("delete", "--force", "box")


def test_the_callers_descriptors_arrive_and_no_others(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "given").write_text("from the caller")
    bundle.shell("cat <&3; test -e /proc/self/fd/4 && echo one too many")
    words = runtime.command("run", "--preserve-fds", "1", "--bundle", str(bundle.save()), "box")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 3<given 4</dev/zero 5</', "sh", *words],
        cwd=bundle.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "from the caller"


def test_warnings_and_errors_in_the_log_of_an_engine(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    flags = ["--log", str(log), "--log-format", "json"]
    done = runtime.call(*flags, "run", "--bundle", str(bundle.args("true").save()), "box")
    assert (done.returncode, done.stderr) == (0, "")
    assert runtime.call(*flags, "start", "box").returncode == 1
    warning, error = map(json.loads, log.read_text().splitlines())
    assert warning["level"] == "warning"
    assert "/hooks/poststop/0" in warning["msg"]
    assert (error["level"], error["code"]) == ("error", "not-found")


def test_run_traces_its_steps(runtime: Runtime, bundle: Bundle) -> None:
    done = runtime.call("run", "--trace", "--bundle", str(bundle.args("true").save()), "box")
    assert done.returncode == 0
    assert any(
        "mount proc on /proc" in line and line.endswith("/mounts/0") for line in done.stderr.splitlines()
    )


def test_a_reader_that_goes_is_no_error(runtime: Runtime) -> None:
    words = runtime.command("help", "man")
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c 1; echo ${PIPESTATUS[0]}', "bash", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout[1:] in ("0\n", "141\n")  # whether the page fits into the pipe before head has gone
