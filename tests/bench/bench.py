"""Compares pyoci with Debian's runc and crun: wall time, CPU time and memory, on the same bundles, in turns.

Usage: python tests/bench/bench.py [--pyoci PROGRAM] [--rounds N] [--json FILE]

Every round runs each case once under each runtime, in an order that rotates, so that what else the machine
does meets all of them alike. Figures are medians; a ratio below 1 means that pyoci needs less. It runs in a
mount namespace of its own without /sys/fs/cgroup/unified, because crun refuses a hybrid cgroup layout, and
adopts orphans, so that CPU time spent in processes that a runtime leaves behind is counted as the runtime's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configs

ROOT = Path(__file__).resolve().parent.parent.parent
UNIFIED = "/sys/fs/cgroup/unified"
IN_NAMESPACE = "PYOCI_BENCH_NAMESPACE"
PR_SET_CHILD_SUBREAPER = 36
WARM_UP = 3
# A cgroup v1 migration finds its wait for an RCU grace period already served when another one, of whatever
# process, went before it within some 20 ms: without a pause a runtime would profit from the one before it.
PAUSE = 0.06
IN_A_ROW = 5


class Runtime:
    """One runtime, with a state directory of its own."""

    def __init__(self, name: str, program: str, work: Path) -> None:
        self.name = name
        self.command = [program, "--root", str(work / f"state-{name}")]
        self.program = program
        self.count = 0

    def new_id(self) -> str:
        """A container id that hasn't been used."""
        self.count += 1
        return f"bench-{self.name}-{os.getpid()}-{self.count}"

    def call(self, *words: str) -> None:
        """Runs one command to its end. Raises RuntimeError with what it said if it fails."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
            )
            if process.wait() != 0:
                said.seek(0)
                text = said.read().decode(errors="replace")
                raise RuntimeError(f"{self.name} {' '.join(words)}: status {process.returncode}: {text}")

    def version(self) -> str:
        """The first line of --version."""
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split("\n")[
            0
        ]

    def init(self, container: str) -> int:
        """The pid of a container's process, from `state`."""
        state = subprocess.run([*self.command, "state", container], capture_output=True, check=True)
        return int(json.loads(state.stdout)["pid"])


def reap() -> None:
    """Waits for the processes that a runtime left to us, so that their CPU time is counted."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def measure(action: Callable[[], None], leaves_child: bool) -> tuple[float, float]:
    """Wall and CPU milliseconds of an action and of all processes that it starts and that end."""
    time.sleep(PAUSE)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    action()
    wall = time.perf_counter() - begin
    if not leaves_child:
        reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e3, cpu * 1e3


def pss(pid: int) -> float:
    """A process's share of memory in KiB; see proc(5) on smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError(f"no Pss of process {pid}")


class Bench:
    """The cases. Each returns wall ms, CPU ms, or for memory KiB."""

    def __init__(self, work: Path, runtimes: list[Runtime]) -> None:
        self.work = work
        self.runtimes = runtimes
        self.results: dict[str, dict[str, dict[str, list[float]]]] = {}

    def bundle(self, name: str, make: Callable[[Path, list[str]], dict[str, Any]], args: list[str]) -> str:
        """Makes a bundle's directory; its path."""
        directory = self.work / name
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(make(self.work / "rootfs", args)))
        return str(directory)

    def record(self, case: str, runtime: Runtime, **figures: float) -> None:
        """Adds figures of one round."""
        for figure, value in figures.items():
            self.results.setdefault(case, {}).setdefault(runtime.name, {}).setdefault(figure, []).append(
                value
            )

    def run(self, case: str, runtime: Runtime, bundle: str) -> None:
        """`run` of a program that ends at once."""
        wall, cpu = measure(lambda: runtime.call("run", "--bundle", bundle, runtime.new_id()), False)
        self.record(case, runtime, wall=wall, cpu=cpu)

    def run_in_a_row(self, runtime: Runtime, bundle: str) -> None:
        """`run` several times without a pause, where every runtime finds the grace period of its last run."""

        def several() -> None:
            for _ in range(IN_A_ROW):
                runtime.call("run", "--bundle", bundle, runtime.new_id())

        wall, cpu = measure(several, False)
        self.record("run in a row", runtime, wall=wall / IN_A_ROW, cpu=cpu / IN_A_ROW)

    def lifecycle(self, runtime: Runtime, bundle: str) -> None:
        """The commands an engine gives one by one; a container that one of them fails on is taken away."""
        container = runtime.new_id()
        try:
            self.commands(runtime, bundle, container)
        except BaseException:
            subprocess.run([*runtime.command, "delete", "--force", container], capture_output=True)
            raise

    def commands(self, runtime: Runtime, bundle: str, container: str) -> None:
        """From create to delete, and the memory of a container that waits for `start`."""
        wall, cpu = measure(lambda: runtime.call("create", "--bundle", bundle, container), True)
        init = runtime.init(container)
        self.record("create", runtime, wall=wall, cpu=cpu, memory=pss(init))
        for command in ("start", "state"):
            wall, cpu = measure(lambda words=(command, container): runtime.call(*words), True)
            self.record(command, runtime, wall=wall, cpu=cpu)
        wall, cpu = measure(lambda: runtime.call("exec", container, "/bin/true"), True)
        self.record("exec", runtime, wall=wall, cpu=cpu)
        wall, cpu = measure(lambda: runtime.call("kill", container, "KILL"), True)
        self.record("kill", runtime, wall=wall, cpu=cpu)
        os.waitpid(init, 0)
        wall, cpu = measure(lambda: runtime.call("delete", container), False)
        self.record("delete", runtime, wall=wall, cpu=cpu)

    def rounds(self, count: int) -> None:
        """All cases, `count` times and a few more at first that don't count."""
        plain = self.bundle("default", configs.default, ["/bin/true"])
        rich = self.bundle("docker", configs.docker, ["/bin/true"])
        sleeper = self.bundle("sleeper", configs.default, ["/bin/sleep", "1000"])
        for number in range(-WARM_UP, count):
            turn = number % len(self.runtimes)
            order = [*self.runtimes[turn:], *self.runtimes[:turn]]
            for runtime in order:
                self.run("run default", runtime, plain)
            for runtime in order:
                self.run("run docker", runtime, rich)
            for runtime in order:
                self.run_in_a_row(runtime, plain)
            for runtime in order:
                self.lifecycle(runtime, sleeper)
            if number == -1:
                self.results.clear()


def summary(results: dict[str, dict[str, dict[str, list[float]]]], names: list[str]) -> list[dict[str, Any]]:
    """One row a case and figure: the median of each runtime, and pyoci's ratio to the others."""
    rows = []
    for case, by_runtime in results.items():
        for figure, unit in (("wall", "ms"), ("cpu", "ms"), ("memory", "KiB")):
            if figure not in by_runtime[names[0]]:
                continue
            medians = {name: statistics.median(by_runtime[name][figure]) for name in names}
            ratios = {
                name: medians[names[0]] / medians[name] if medians[name] else None for name in names[1:]
            }
            rows.append({"case": case, "figure": figure, "unit": unit, "medians": medians, "ratios": ratios})
    return rows


def show(rows: list[dict[str, Any]], names: list[str]) -> None:
    """Prints the table."""
    others = names[1:]
    print(
        "".join([f"{'':24}", *(f"{name:>10}" for name in names), *(f"{'/' + name:>10}" for name in others)])
    )
    for row in rows:
        label = f"{row['case']}, {row['figure']} {row['unit']}"
        medians = "".join(f"{row['medians'][name]:10.1f}" for name in names)
        ratios = "".join(
            f"{row['ratios'][name]:10.2f}" if row["ratios"][name] else f"{'-':>10}" for name in others
        )
        print(f"{label:24}{medians}{ratios}")


def enter_namespace() -> None:
    """Starts this program anew in a private mount namespace without the cgroup v2 part of a hybrid layout."""
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def main() -> None:
    """Parses the command line, measures, reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pyoci", default=str(ROOT / ".venv/bin/pyoci"))
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "30")))
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench.json")
    options = parser.parse_args()
    if IN_NAMESPACE not in os.environ:
        enter_namespace()
    if os.path.ismount(UNIFIED):
        subprocess.run(["umount", UNIFIED], check=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    with tempfile.TemporaryDirectory(prefix="pyoci-bench-") as directory:
        work = Path(directory)
        programs = {
            "pyoci": os.path.abspath(options.pyoci),
            "runc": shutil.which("runc"),
            "crun": shutil.which("crun"),
        }
        missing = [name for name, program in programs.items() if program is None]
        if missing:
            raise SystemExit(f"bench: not installed: {', '.join(missing)}")
        runtimes = [Runtime(name, str(program), work) for name, program in programs.items()]
        subprocess.run(
            [sys.executable, ROOT / "bundles/make.py", work / "rootfs"], check=True, stdout=subprocess.DEVNULL
        )
        bench = Bench(work, runtimes)
        begin = time.monotonic()
        bench.rounds(options.rounds)
        names = list(programs)
        rows = summary(bench.results, names)
        machine = f"{os.cpu_count()} CPUs, kernel {platform.release()}"
        print(f"{machine}; {', '.join(runtime.version() for runtime in runtimes)}")
        print(f"medians of {options.rounds} interleaved rounds, {time.monotonic() - begin:.0f} s\n")
        show(rows, names)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps(
                {
                    "machine": machine,
                    "rounds": options.rounds,
                    "versions": {runtime.name: runtime.version() for runtime in runtimes},
                    "summary": rows,
                    "figures": bench.results,
                },
                indent=1,
            )
        )
        print(f"\nall figures: {options.json}")


if __name__ == "__main__":
    main()
