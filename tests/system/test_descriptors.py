"""Which of the caller's descriptors reach the program: passed sockets, preserved ones, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import SECONDS, Bundle, Runtime

# Opens files as 3, 4, ..., sets the variables with its own
# process id for OWN, and becomes the command.
CALLER = """
import os, sys
files, command = sys.argv[1].split(), sys.argv[2:]
for number, path in enumerate(files, 3):
    opened = os.open(path, os.O_RDONLY)
    os.dup2(opened, 100 + number)
    os.close(opened)
for number in range(3, 3 + len(files)):
    os.dup2(100 + number, number)
    os.close(100 + number)
variables = {name: value.replace("OWN", str(os.getpid())) for name, value in os.environ.items()}
os.execve(command[0], command, variables)
"""
SCRIPT = """
cd /proc/self/fd
for n in *; do [ -e $n ] && [ $n -gt 2 ] && echo $n $(readlink $n); done
env | grep ^LISTEN_ | sort
echo own $$
"""


@pytest.fixture(params=["run", "exec"])
def words(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[list[str]]:
    """The command that runs SCRIPT; flags go before its last words."""
    for applet in ("env", "readlink", "sort"):
        (bundle.rootfs / "bin" / applet).symlink_to("busybox")
    for name in ("a", "b", "c"):
        (bundle.path / name).touch()
    if request.param == "run":
        yield ["run", "--bundle", str(bundle.shell(SCRIPT).save()), "one"]
    else:
        runtime.create(bundle.args("sleep", "600"), "one")
        runtime.ok("start", "one")
        yield ["exec", "one", "sh", "-c", SCRIPT]
        runtime.ok("delete", "--force", "one")


def called(runtime: Runtime, bundle: Bundle, words: list[str], *flags: str, **variables: str) -> list[str]:
    """What the script says, called with the files a, b and c as descriptors 3, 4 and 5."""
    files = " ".join(str(bundle.path / name) for name in ("a", "b", "c"))
    done = subprocess.run(
        [sys.executable, "-c", CALLER, files, *runtime.command(words[0], *flags, *words[1:])],
        env={"PATH": os.environ["PATH"], **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.replace(f"{bundle.path}/", "") for line in done.stdout.splitlines()]


def test_none_of_the_callers(runtime: Runtime, bundle: Bundle, words: list[str]) -> None:
    """Though they were left open for whoever is executed."""
    assert called(runtime, bundle, words)[:-1] == []


def test_sockets_and_descriptors(runtime: Runtime, bundle: Bundle, words: list[str]) -> None:
    """sd_listen_fds(3): the sockets first, then those of --preserve-fds; LISTEN_PID is the program."""
    bundle.config["process"]["env"] += ["LISTEN_FDS=9", "LISTEN_PID=9"]  # a mistake that mustn't prevail
    out = called(runtime, bundle, words, "--preserve-fds", "1", LISTEN_FDS="1", LISTEN_FDNAMES="web")
    own = out[-1].removeprefix("own ")
    assert out[:-1] == ["3 a", "4 b", "LISTEN_FDNAMES=web", "LISTEN_FDS=1", f"LISTEN_PID={own}"]
    out = called(runtime, bundle, words, LISTEN_FDS="2", LISTEN_PID="OWN")
    own = out[-1].removeprefix("own ")
    assert out[:-1] == ["3 a", "4 b", "LISTEN_FDS=2", f"LISTEN_PID={own}"]


def test_sockets_for_another(runtime: Runtime, bundle: Bundle, words: list[str]) -> None:
    """Variables of whom pyoci was called by: neither they nor what is open at those numbers is ours."""
    out = called(runtime, bundle, words, "--preserve-fds", "1", LISTEN_FDS="2", LISTEN_PID="1")
    assert out[:-1] == ["3 a"]


def test_a_container_in_the_callers_pid_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """There LISTEN_PID=1 would tell the program that the sockets are for somebody else."""
    (bundle.rootfs / "bin/env").symlink_to("busybox")
    linux = bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
    path = bundle.shell("echo $LISTEN_PID $$").save()
    for name in ("a", "b", "c"):
        (path / name).touch()
    (line,) = called(runtime, bundle, ["run", "--bundle", str(path), "one"], LISTEN_FDS="1")
    told, own = line.split()
    assert told == own != "1"


def test_a_missing_one_is_named(runtime: Runtime, bundle: Bundle) -> None:
    path = str(bundle.args("true").save())
    for flags, variables, missing in (
        (["--preserve-fds", "2"], {}, 3),
        ([], {"LISTEN_FDS": "1"}, 3),
    ):
        done = runtime.call("run", *flags, "--bundle", path, "one", env={**os.environ, **variables})
        assert done.returncode == 1
        assert f"descriptor {missing} is to be preserved, but it isn't open" in done.stderr


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_who_owns_the_standard_streams(runtime: Runtime, bundle: Bundle, tmp_path: Path, verb: str) -> None:
    """The user can open them again, but what isn't the container's to have stays as it was."""
    user = 54321
    bundle.config["process"]["user"] = {"uid": user, "gid": user}
    script = "echo again > /dev/stdout && echo more > /dev/stderr"
    if verb == "exec":
        runtime.create(bundle.args("sleep", "600"), "one")
        runtime.ok("start", "one")
        words = runtime.command("exec", "one", "sh", "-c", script)
    else:
        words = runtime.command("run", "--bundle", str(bundle.shell(script).save()), "one")
    read, write = os.pipe()
    with (tmp_path / "out").open("w") as out:
        os.fchown(out.fileno(), 0, 4)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=write, timeout=SECONDS, check=False
        )
        status = os.fstat(out.fileno())
    os.close(write)
    assert os.read(read, 100) == b"more\n"
    assert done.returncode == 0
    os.close(read)
    assert (tmp_path / "out").read_text() == "again\n"
    assert (status.st_uid, status.st_gid) == (user, 4)
    assert os.stat("/dev/null").st_uid != user
    if verb == "exec":
        runtime.ok("delete", "--force", "one")
