"""The launcher begins the kernel's long wait where there is one, in a process that nobody notices."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.containers import PYOCI, SECONDS

NOWHERE = ["--bundle", "/nowhere", "x"]


def has_v1() -> bool:
    """Whether a cgroup v1 hierarchy is mounted where everybody expects it."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(
        line.split()[1].startswith("/sys/fs/cgroup/") and line.split()[2] == "cgroup" for line in mounts
    )


def trace(directory: Path, *arguments: str) -> list[list[str]]:
    """What each process of a pyoci asks of the kernel, in the order in which they were started."""
    calls = "trace=process,openat,close,write,close_range"
    log = directory / "log"
    command = ["strace", "-ff", "-q", "-e", "signal=none", "-e", calls, "-o", str(log), PYOCI, *arguments]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    files = sorted(directory.glob("log.*"), key=lambda file: int(file.suffix[1:]))
    return [file.read_text().splitlines() for file in files]


v1 = pytest.mark.skipif(not has_v1(), reason="this machine has no cgroup v1 hierarchy")


@v1
@pytest.mark.parametrize(
    "arguments",
    [
        ["create", *NOWHERE],
        ["run", *NOWHERE],
        ["exec", "x", "true"],
        ["--root", "/run/nowhere", "--log-format", "json", "--debug", "run", *NOWHERE],
        ["--log=/dev/null", "--systemd-cgroup", "create", *NOWHERE],
    ],
    ids=" ".join,
)
def test_migration_is_begun_by_a_process_of_its_own(arguments: list[str], tmp_path: Path) -> None:
    first, between, helper = trace(tmp_path, *arguments)[:3]

    # The one between ends at once, and the helper is nobody's to reap.
    assert any("exited with 0" in call for call in between)
    started = next(number for number, call in enumerate(first) if call.startswith(("clone", "fork", "vfork")))
    assert first[started + 1].startswith("wait4("), "pyoci goes on with a child that it hasn't waited for"
    # Every descriptor is closed first; so the first file opened is number 0.
    assert between[0].startswith("close_range(0, 4294967295, 0)")
    opened = next(call for call in helper if call.startswith("openat("))
    assert re.fullmatch(r'openat\(AT_FDCWD, "/proc/self/cgroup", .*\) = 0', opened)
    written = [call for call in helper if call.startswith("write(")]
    assert written != []
    assert [call for call in written if not re.fullmatch(r'write\(\d, "0", 1\) += 1', call)] == []
    assert helper[-1].startswith("+++ exited with 0")


@v1
@pytest.mark.parametrize(
    "arguments",
    [["state", "x"], ["list"], ["--root", "run", "state", "x"], ["--version"], ["kill", "run"], []],
)
def test_other_commands_begin_none(arguments: list[str], tmp_path: Path) -> None:
    first, *others = trace(tmp_path, *arguments)
    assert others == []
    assert not any("cgroup.procs" in call for call in first)


@v1
def test_helper_stays_in_its_cgroups(tmp_path: Path) -> None:
    """It writes itself only into groups that it, as any child of this test, is in already."""
    own = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    helper = trace(tmp_path, "run", *NOWHERE)[2]
    groups = re.findall(r'openat\(AT_FDCWD, "/sys/fs/cgroup/[^/"]+(/[^"]*)?/cgroup.procs"', "\n".join(helper))
    assert groups != []
    assert {group or "/" for group in groups} <= own


def test_pyoci_opens_everything_close_on_exec(tmp_path: Path) -> None:
    """What stays open in pyoci is not inherited by a hook or a container."""
    open_files: dict[str, str] = {}
    for call in trace(tmp_path, "state", "x")[0]:
        if opened := re.fullmatch(r"openat\((.*)\) += (\d+)", call):
            open_files[opened[2]] = opened[1]
        elif closed := re.match(r"close\((\d+)\)", call):
            open_files.pop(closed[1], None)
    assert [what for what in open_files.values() if "O_CLOEXEC" not in what] == []
