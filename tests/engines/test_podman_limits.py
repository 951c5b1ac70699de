"""podman's limits: in the container's cgroup, as its kernel enforces them, and rlimits."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pyoci.cgroup import layout
from support.podman import Podman

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
v1 = pytest.mark.skipif(V2, reason="what the container is asked to read are cgroup v1's files")


def cgroup(controller: str, file: str) -> str:
    return f"cat /sys/fs/cgroup/{controller}/{file};"


@v1
def test_memory(podman: Podman) -> None:
    script = "".join(
        cgroup("memory", f"memory.{name}")
        for name in ("limit_in_bytes", "soft_limit_in_bytes", "memsw.limit_in_bytes", "swappiness")
    )
    flags = [
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "128m",
        "--memory-swappiness",
        "10",
    ]
    has_swap = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    if not has_swap:
        del flags[4:6]
        script = script.replace(cgroup("memory", "memory.memsw.limit_in_bytes"), f"echo {128 << 20};")
    values = podman.sh(script, *flags).split()
    assert values == [str(64 << 20), str(32 << 20), str(128 << 20), "10"]


def test_a_program_that_outgrows_its_memory_is_killed(podman: Podman) -> None:
    podman.start("box", "--memory", "24m", script="tail -c 60000000 /dev/zero; echo $?; exit 9")
    assert podman.ok("wait", "box") == "9\n"
    assert podman.ok("logs", "box") == "137\n"


def test_a_first_process_that_outgrows_its_memory_is_killed(podman: Podman) -> None:
    podman.start("box", "--memory", "24m", script="exec tail -c 60000000 /dev/zero")
    assert podman.ok("wait", "box") == "137\n"


@v1
def test_processes(podman: Podman) -> None:
    script = (
        cgroup("pids", "pids.max")
        + "for i in 1 2 3 4 5 6 7 8; do sleep 300 & done; cat /sys/fs/cgroup/pids/pids.current"
    )
    done = podman.run("--pids-limit", "5", "box", "sh", "-c", script)
    assert done.stdout.split()[0] == "5" and done.returncode != 0, done
    assert "can't fork" in done.stderr
    assert podman.sh(cgroup("pids", "pids.max"), "--pids-limit", "-1") == "max\n"


@v1
def test_processors(podman: Podman) -> None:
    script = (
        cgroup("cpu", "cpu.shares") + cgroup("cpu", "cpu.cfs_quota_us") + cgroup("cpu", "cpu.cfs_period_us")
    )
    script += cgroup("cpuset", "cpuset.cpus") + cgroup("cpuset", "cpuset.mems") + "nproc"
    flags = ["--cpu-shares", "512", "--cpus", "0.5", "--cpuset-cpus", "0", "--cpuset-mems", "0"]
    assert podman.sh(script, *flags).split() == ["512", "50000", "100000", "0", "0", "1"]
    flags = ["--cpu-quota", "20000", "--cpu-period", "40000"]
    assert podman.sh(script, *flags).split()[1:3] == ["20000", "40000"]


@v1
def test_a_share_of_a_processor_is_kept_to(podman: Podman) -> None:
    """The kernel tells how often it held the container up."""
    script = "timeout 0.5 sh -c 'while :; do :; done'; grep nr_throttled /sys/fs/cgroup/cpu/cpu.stat"
    assert int(podman.sh(script, "--cpus", "0.1").split()[1]) > 0


@v1
def test_block_devices(podman: Podman) -> None:
    device = next(
        (
            f"/dev/{path.name}"
            for path in Path("/sys/block").iterdir()
            if Path(f"/dev/{path.name}").is_block_device()
        ),
        None,
    )
    if device is None or not Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").exists():
        pytest.skip("this machine's kernel has no block device that it can throttle")
    number = Path(f"/sys/class/block/{Path(device).name}/dev").read_text().strip()
    script = cgroup("blkio", "blkio.throttle.read_bps_device") + cgroup(
        "blkio", "blkio.throttle.write_iops_device"
    )
    flags = ["--device-read-bps", f"{device}:1mb", "--device-write-iops", f"{device}:100"]
    assert podman.sh(script, *flags).splitlines() == [f"{number} {1 << 20}", f"{number} 100"]


@v1
def test_update(podman: Podman) -> None:
    """Which hands the runtime a file. What isn't given stays, and a refusal changes nothing."""
    podman.start("box", "--memory", "64m", "--pids-limit", "50")
    names = ("memory/memory.limit_in_bytes", "cpu/cpu.shares", "cpu/cpu.cfs_quota_us", "cpuset/cpuset.cpus")
    show = ["exec", "box", "sh", "-c", f"cd /sys/fs/cgroup; cat {' '.join(names)} pids/pids.max"]
    flags = ["--memory", "128m", "--cpu-shares", "512", "--cpus", "0.5", "--cpuset-cpus", "0"]
    podman.ok("update", *flags, "box")
    limits = podman.ok(*show)
    assert limits.split() == [str(128 << 20), "512", "50000", "0", "50"]
    assert podman.call("update", "--cpu-shares", "700", "--cpuset-cpus", "4096", "box").returncode != 0
    assert podman.ok(*show) == limits or podman.runtime in ("runc", "crun")  # which have set the shares


def test_rlimits(podman: Podman) -> None:
    flags = ["--ulimit", "nofile=300:400", "--ulimit", "nproc=4000", "--ulimit", "core=0"]
    flags += ["--ulimit", "stack=1048576:2097152"]
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; grep -E 'Max (stack|proc)' /proc/self/limits"
    values = podman.sh(script, *flags).splitlines()
    assert values[:3] == ["300", "400", "0"]
    assert [line.split() for line in values[3:]] == [
        ["Max", "stack", "size", "1048576", "2097152", "bytes"],
        ["Max", "processes", "4000", "4000", "processes"],
    ]
    assert podman.sh("ulimit -Sn") == "1000\n"  # containers.conf's


def test_a_limit_above_the_machines(podman: Podman) -> None:
    """Refused where it can't be raised, by name."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    capabilities = int(Path("/proc/self/status").read_text().partition("CapEff:\t")[2].split()[0], 16)
    if capabilities >> 24 & 1:
        pytest.skip("with CAP_SYS_RESOURCE every limit can be raised")
    flags = ["--ulimit", f"nofile={hard + 1}:{hard + 1}", "--ulimit", "nproc=4000"]
    done = podman.run(*flags, "box", "true")
    assert done.returncode in (126, 127), done
    if podman.runtime == "pyoci":
        assert "RLIMIT_NOFILE" in done.stderr and "/process/rlimits/" in done.stderr


def test_the_killers_choice(podman: Podman) -> None:
    assert podman.sh("cat /proc/self/oom_score_adj", "--oom-score-adj", "700") == "700\n"


@v1
def test_the_parent_of_the_cgroup_is_the_callers_to_choose(podman: Podman) -> None:
    podman.start("box", "--cgroup-parent", "/podman-test")
    try:
        container_id = podman.inspect("box", "{{.Id}}")
        lines = Path(f"/proc/{podman.pid('box')}/cgroup").read_text().splitlines()
        memory = next(line for line in lines if ":memory:" in line)
        assert memory.endswith(f"/podman-test/libpod-{container_id}")
    finally:
        podman.clean()
        for hierarchy in layout.detect().hierarchies:
            for path in ("podman-test/conmon", "podman-test"):
                if (there := Path(hierarchy.mount, path)).exists():
                    podman.eventually(lambda there=there: removed(there))


def removed(cgroup: Path) -> bool:
    """Podman's monitor ends a moment after its container, and until then its cgroup is busy."""
    try:
        cgroup.rmdir()
    except OSError:
        return not cgroup.exists()
    return True


def test_without_cgroups(podman: Podman) -> None:
    """--cgroups=disabled: whether podman may ask for it is in containers.conf."""
    if podman.runtime == "runc":
        pytest.skip("runc can't do without cgroups")
    podman.start("box", "--cgroups", "disabled")
    assert Path(f"/proc/{podman.pid('box')}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert podman.call("exec", "box", "sh", "-c", "exit 5").returncode == 5
    podman.ok("stop", "--time", "0", "box")
    assert podman.inspect("box", "{{.State.ExitCode}}") in ("3", "137")


def test_split_cgroups(podman: Podman) -> None:
    done = podman.run("--cgroups", "no-conmon", "box", "true")
    assert done.returncode == 0, done.stderr
