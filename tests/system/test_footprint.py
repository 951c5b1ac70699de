"""What pyoci itself takes of a container's memory: little; and what it says when even that isn't there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup.layout import Layout
from support.cgroups import eventually, membership
from support.containers import Bundle, Runtime

pytestmark = pytest.mark.layout

MIB, KIB = 1 << 20, 1 << 10
# Without a library: it takes a stack and one page of code, and waits for a signal.
TINY = "void _start(void) { for (;;) %s; }"
PAUSE = {
    "x86_64": 'asm volatile("syscall" : : "a"(34) : "rcx", "r11", "memory")',
    "aarch64": 'asm volatile("mov x8, 73; mov x0, 0; mov x1, 0; mov x2, 0; mov x3, 0; svc 0" : : : '
    '"x0", "x1", "x2", "x3", "x8", "memory")',
}


@pytest.fixture(autouse=True)
def _in_every_mode(here: Layout) -> None:
    """Each test once as the machine is, and once with v1 alone."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that does nothing, static."""
    directory = tmp_path_factory.mktemp("tiny")
    (directory / "tiny.c").write_text(TINY % PAUSE[os.uname().machine])
    program = directory / "tiny"
    command = [
        "gcc",
        "-static",
        "-nostdlib",
        "-O2",
        "-fno-stack-protector",
        "-o",
        program,
        directory / "tiny.c",
    ]
    subprocess.run(command, check=True)
    return program


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle, tiny: Path) -> Iterator[Bundle]:
    (bundle.rootfs / "tiny").write_bytes(tiny.read_bytes())
    (bundle.rootfs / "tiny").chmod(0o755)
    yield bundle.args("/tiny")
    runtime.ok("delete", "--force", "box")


def counter(here: Layout, pid: int, v1: str, v2: str) -> int:
    """A file of the memory cgroup that a process is in."""
    controller = "memory" if "memory" in here.v1 else ""
    mount = here.v1.get("memory") or here.unified
    path = Path(f"{mount}{membership(pid)[controller]}/{v1 if controller else v2}")
    if not path.exists():
        pytest.skip(f"this kernel has no {path.name}")
    return int(path.read_text())


def limit(box: Bundle, size: int) -> None:
    box.config["linux"]["resources"] = {"memory": {"limit": size, "swap": size}}


@pytest.mark.parametrize("mapped", [False, True], ids=["", "user namespace"])
def test_what_a_container_is_charged_for(here: Layout, runtime: Runtime, box: Bundle, mapped: bool) -> None:
    """From before its process is born until its program, which takes next to nothing, runs.

    On one CPU: the kernel charges a cgroup in advance, 256 KiB for each on which memory was taken.
    """
    box.config["linux"]["resources"] = {"cpu": {"cpus": str(min(os.sched_getaffinity(0)))}}
    if mapped:
        box.in_user_namespace()
    runtime.create(box, "box")
    pid = runtime.state("box")["pid"]
    runtime.ok("start", "box")
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "tiny\n")
    assert 0 < counter(here, pid, "memory.max_usage_in_bytes", "memory.peak") < MIB


def test_one_mebibyte_is_enough(here: Layout, runtime: Runtime, box: Bundle) -> None:
    limit(box, MIB)
    runtime.create(box, "box")
    pid = runtime.state("box")["pid"]
    assert counter(here, pid, "memory.limit_in_bytes", "memory.max") == MIB
    runtime.ok("start", "box")
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "tiny\n")
    assert runtime.state("box")["status"] == "running"


def test_also_for_an_ordinary_program(runtime: Runtime, box: Bundle) -> None:
    limit(box, MIB)
    box.shell("exec echo it runs")
    assert runtime.ok("run", "--bundle", str(box.save()), "box") == "it runs\n"


@pytest.mark.parametrize("size", [4 * KIB, 16 * KIB, 32 * KIB])
def test_too_little_to_start_in_is_told_with_both_figures(runtime: Runtime, box: Bundle, size: int) -> None:
    limit(box, size)
    done = runtime.call("run", "--bundle", str(box.save()), "box")
    assert done.returncode == 1
    assert "/linux/resources/memory/limit: " in done.stderr, done.stderr
    assert f"a limit of {size} bytes" in done.stderr, done.stderr
    found = re.search(r"a peak of (\d+) bytes", done.stderr)
    assert found, done.stderr
    # On v2 it is born there before there is a limit, and the peak is what it had by then.
    assert int(found[1]) >= 4 * KIB
    assert "1 MiB is enough to start in" in done.stderr


@pytest.mark.parametrize("size", [64 * KIB, 4 * KIB])
def test_a_set_up_that_could_only_wait_for_memory(
    here: Layout, runtime: Runtime, box: Bundle, size: int
) -> None:
    """Nobody is killed for it then, and nobody is there to give some back."""
    if "memory" not in here.v1:
        pytest.skip("only cgroup v1 can do without the OOM killer")
    limit(box, size)
    box.config["linux"]["resources"]["memory"]["disableOOMKiller"] = True
    done = runtime.call("run", "--bundle", str(box.save()), "box")
    assert done.returncode == 1
    assert "/linux/resources/memory/disableOOMKiller: within a limit of" in done.stderr
    assert "1 MiB is enough to start in" in done.stderr
    limit(box, MIB)
    box.config["linux"]["resources"]["memory"]["disableOOMKiller"] = True
    box.shell("exec echo it runs")
    assert runtime.ok("run", "--bundle", str(box.save()), "box") == "it runs\n"
