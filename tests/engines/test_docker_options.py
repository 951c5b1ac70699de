"""What `docker run` can ask for: limits, security, mounts, devices, namespaces; as seen from within."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import docker as programs
from support.cgroups import eventually, membership, remove_named
from support.containers import status
from support.docker import Docker

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")


def pid_of(docker: Docker, container: str) -> int:
    return int(docker.inspect(container, "{{.State.Pid}}"))


def limit(docker: Docker, container: str, controller: str, v1: str, v2: str) -> str:
    """The container's value in a controller's file, of the machine's kind of cgroups."""
    groups = membership(pid_of(docker, container))
    if controller in groups:
        return Path(f"/sys/fs/cgroup/{controller}{groups[controller]}/{v1}").read_text().strip()
    return Path(f"/sys/fs/cgroup{groups['']}/{v2}").read_text().strip()


def test_limits_of_memory_processes_and_cpu(docker: Docker) -> None:
    flags = ("--memory", "64m", "--memory-reservation", "32m", "--pids-limit", "50", "--cpus", "0.5")
    with docker.service(*flags, "--cpu-shares", "512", "--cpuset-cpus", "0") as container:
        assert limit(docker, container, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
        assert limit(docker, container, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
        assert limit(docker, container, "pids", "pids.max", "pids.max") == "50"
        assert limit(docker, container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
        assert limit(docker, container, "cpu", "cpu.shares", "cpu.weight") in ("512", "20", "59")
        assert limit(docker, container, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
        assert status(pid_of(docker, container))["Cpus_allowed_list"] == ["0"]


def test_update(docker: Docker) -> None:
    """Docker sends 0 for each limit that nobody names: it stays."""
    if docker.tests("crun"):
        pytest.skip("this crun takes these zeros for limits")

    def limits(container: str) -> list[str]:
        return [
            limit(docker, container, "memory", "memory.limit_in_bytes", "memory.max"),
            limit(docker, container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
            limit(docker, container, "pids", "pids.max", "pids.max"),
            limit(docker, container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0],
            limit(docker, container, "cpuset", "cpuset.cpus", "cpuset.cpus"),
        ]

    def memory(container: str, limit: int, together: int) -> list[str]:
        """In MiB; v2's second file is of swap alone."""
        alone = "memory" not in membership(pid_of(docker, container))
        return [str(limit << 20), str((together - limit if alone else together) << 20)]

    flags = ("--memory", "64m", "--memory-swap", "96m", "--pids-limit", "50", "--cpuset-cpus", "0")
    with docker.service(*flags) as container:
        before = memory(container, 64, 96)
        docker.ok("update", "--cpu-period", "100000", "--cpu-quota", "30000", container)
        assert limits(container) == [*before, "50", "30000", "0"]
        docker.ok("update", "--memory", "80m", "--memory-swap", "112m", "--pids-limit", "60", container)
        assert limits(container) == [*memory(container, 80, 112), "60", "30000", "0"]


def test_an_update_that_cannot_be(docker: Docker) -> None:
    """The runtime's message reaches the client, and the container goes on as it was."""
    if docker.tests("crun"):
        pytest.skip("this crun takes the zeros for what nobody names for limits")
    with docker.service("--cpuset-cpus", "0") as container:
        done = docker.call("update", "--cpu-period", "50000", "--cpu-quota", "20000000000000000", container)
        assert done.returncode == 1 and "invalid argument" in done.stderr.lower(), done.stderr
        if docker.tests("pyoci"):
            assert "/cpu/quota: " in done.stderr
        assert limit(docker, container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
        assert docker.inspect(container, "{{.State.Status}}") == "running"


def test_too_much_memory_is_the_programs_end(docker: Docker) -> None:
    flags = ("--memory", "32m", "--memory-swap", "32m")
    eater = ("/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
    with docker.service(*flags, command=eater) as container:
        assert docker.ok("wait", container) == "137\n"
    # What Docker hears of it only after the end it doesn't note any more.
    with docker.service(*flags, command=("/bin/sh", "-c", f"{' '.join(eater)}; sleep 1000")) as container:
        told = ("events", "--since", "0", "--until", "0s", "--filter", f"container={container}")
        eventually(lambda: docker.ok(*told, "--filter", "event=oom"))
        docker.ok("kill", container)
        assert docker.inspect(container, "{{.State.OOMKilled}}") == "true"


def test_too_many_processes(docker: Docker) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; echo all"
    done = docker.run("--pids-limit", "5", "box", "/bin/sh", "-c", script)
    assert done.returncode != 0 and "can't fork" in done.stderr and "all" not in done.stdout


def test_a_read_only_root(docker: Docker) -> None:
    script = "touch /etc/x; touch /t/x && echo tmpfs; touch /v/x && echo volume"
    done = docker.run("--read-only", "--tmpfs", "/t", "--volume", "/v", "box", "/bin/sh", "-c", script)
    assert done.stdout == "tmpfs\nvolume\n"
    assert "/etc/x: Read-only file system" in done.stderr


def test_capabilities(docker: Docker) -> None:
    show = "grep -E '^Cap(Eff|Bnd)' /proc/self/status"
    nothing, chown, raw = 0, 1 << 0, 1 << 13

    def sets(*flags: str) -> list[int]:
        return [int(line.split()[1], 16) for line in docker.shell(show, *flags).splitlines()]

    assert sets("--cap-drop", "ALL") == [nothing, nothing]
    assert sets("--cap-drop", "ALL", "--cap-add", "CHOWN") == [chown, chown]
    effective, bounding = sets("--cap-drop", "NET_RAW")
    assert effective == bounding == sets()[0] & ~raw != sets()[0]
    assert sets("--user", "1000")[0] == nothing


def test_no_new_privileges(docker: Docker) -> None:
    show = "grep NoNewPrivs /proc/self/status"
    assert docker.shell(show) == "NoNewPrivs:\t0\n"
    assert docker.shell(show, "--security-opt", "no-new-privileges") == "NoNewPrivs:\t1\n"


def test_seccomp(docker: Docker, tmp_path: Path) -> None:
    show = "grep Seccomp: /proc/self/status"
    unshare = ("box", "/bin/busybox", "unshare", "-m", "true")
    assert docker.shell(show) == "Seccomp:\t2\n"
    assert docker.shell(show, "--security-opt", "seccomp=unconfined") == "Seccomp:\t0\n"
    assert docker.run("--cap-add", "SYS_CHROOT", *unshare).returncode != 0
    profile = tmp_path / "profile.json"
    forbidden = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    flags = ("--security-opt", f"seccomp={profile}")
    done = docker.run(*flags, "box", "/bin/sh", "-c", "echo hello; busybox mkdir /x")
    assert done.stdout == "hello\n" and done.returncode == 1
    assert "Operation not supported" in done.stderr, "the profile's own errno, EOPNOTSUPP"


def test_privileged(docker: Docker) -> None:
    """As far as those can be given that give it: without one capability of ours, it goes on without."""
    ours = int(status(os.getpid())["CapEff"][0], 16)
    if not ours & 1 << 24 and not docker.tests("pyoci"):
        pytest.skip("we have no CAP_SYS_RESOURCE, and this runtime gives all or nothing")
    script = "grep -E '^(CapEff|Seccomp:)' /proc/self/status; ls /dev/; mount -t tmpfs t /tmp && echo mounted"
    shown = docker.shell(script, "--privileged").splitlines()
    given = int(shown[0].split()[1], 16)
    known_to_docker = (1 << 38) - 1  # it is older than CAP_PERFMON and what came after
    assert given & known_to_docker == ours & known_to_docker
    assert shown[1] == "Seccomp:\t0"
    devices = {path.name for path in Path("/dev").iterdir() if path.is_char_device()}
    assert devices - {"console"} <= set(shown), "the host's own"
    assert shown[-1] == "mounted"
    with docker.service("--privileged") as container:
        done = docker.ok("exec", "--privileged", container, "grep", "CapEff", "/proc/self/status")
        assert int(done.split()[1], 16) == given


def test_hidden_paths_and_systempaths_unconfined(docker: Docker) -> None:
    script = "busybox wc -c </proc/timer_list; grep -c ' /proc/sys ' /proc/mounts"
    done = docker.run("box", "/bin/sh", "-c", script)
    assert done.stdout == "0\n1\n"
    done = docker.run(
        "--security-opt", "systempaths=unconfined", "box", "grep", "-c", "/proc/", "/proc/mounts"
    )
    assert done.stdout == "0\n"


def test_users_and_groups(docker: Docker) -> None:
    assert docker.shell("id -u; id -g; id -G", "--user", "1000:1001", "--group-add", "1002") == (
        "1000\n1001\n1001 1002\n"
    )
    assert docker.shell("id -un", "--user", "user") == "user\n"


def test_the_programs_surroundings(docker: Docker) -> None:
    flags = (
        "--hostname",
        "pod",
        "--workdir",
        "/new/directory",
        "--env",
        "A=b c",
        "--ulimit",
        "nofile=64:128",
    )
    script = "hostname; busybox pwd; echo $A; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; umask"
    shown = docker.shell(script, *flags, "--oom-score-adj", "500")
    assert shown == "pod\n/new/directory\nb c\n64\n128\n500\n0022\n"


def test_sysctls(docker: Docker) -> None:
    flags = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096")
    assert docker.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", *flags) == "1\n4096\n"


def test_volumes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("content\n")
    flags = ("--volume", f"{tmp_path}/volume:/v", "--volume", f"{tmp_path}/volume:/w:ro")
    done = docker.run(*flags, "box", "/bin/sh", "-c", "cat /v/file /w/file; touch /v/new; touch /w/new")
    assert done.stdout == "content\ncontent\n" and "/w/new: Read-only file system" in done.stderr
    assert (tmp_path / "volume/new").exists()
    docker.ok("volume", "create", "kept")
    docker.shell("echo kept >/k/file", "--volume", "kept:/k")
    assert docker.shell("cat /k/file", "--mount", "type=volume,src=kept,dst=/k,readonly") == "kept\n"
    docker.ok("volume", "rm", "kept")


def test_a_tmpfs_and_shared_memory(docker: Docker) -> None:
    options = ("--tmpfs", "/t:size=1m,mode=700,noexec", "--shm-size", "2m")
    shown = docker.shell("grep -E ' /(t|dev/shm) ' /proc/mounts; stat -c %a /t", *options)
    lines = {line.split()[1]: line.split()[3].split(",") for line in shown.splitlines()[:2]}
    assert {"size=1024k", "mode=700", "noexec"} <= set(lines["/t"])
    assert "size=2048k" in lines["/dev/shm"]
    assert shown.splitlines()[2] == "700"


def test_devices(docker: Docker) -> None:
    script = "stat -c %t:%T /dev/naught; echo x >/dev/naught; cat /dev/naught"
    done = docker.run("--device", "/dev/null:/dev/naught:r", "box", "/bin/sh", "-c", script)
    assert done.stdout == "1:3\n" and done.returncode == 0
    # A device that no driver has: the kernel looks for it only if the container may use it.
    make = ("box", "/bin/sh", "-c", "busybox mknod /dev/local c 60 1; cat /dev/local")
    assert "Operation not permitted" in docker.run(*make).stderr
    assert "No such device or address" in docker.run("--device-cgroup-rule", "c 60:1 r", *make).stderr


def test_shared_namespaces(docker: Docker) -> None:
    with docker.service("--name", "first", "--ipc", "shareable") as first:
        pid = pid_of(docker, first)
        kinds = ("pid", "net", "ipc")
        flags = ("--pid", "container:first", "--network", "container:first", "--ipc", "container:first")
        with docker.service(*flags) as second:
            other = pid_of(docker, second)
            for kind in kinds:
                assert os.readlink(f"/proc/{other}/ns/{kind}") == os.readlink(f"/proc/{pid}/ns/{kind}")
            for kind in ("mnt", "uts"):
                assert os.readlink(f"/proc/{other}/ns/{kind}") != os.readlink(f"/proc/{pid}/ns/{kind}")
            _, *lines = docker.ok("top", second).splitlines()
            assert len(lines) == 1 and str(other) in lines[0].split()
            docker.ok("rm", "--force", second)
        assert docker.inspect(first, "{{.State.Status}}") == "running"


@pytest.mark.parametrize(
    ("flag", "kind"), [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")]
)
def test_namespaces_of_the_hosts(docker: Docker, flag: str, kind: str) -> None:
    with docker.service(f"--{flag}", "host") as container:
        assert docker.daemon
        theirs = os.readlink(f"/proc/{pid_of(docker, container)}/ns/{kind}")
        assert theirs == os.readlink(f"/proc/{docker.daemon.pid}/ns/{kind}")


def test_a_network_of_its_own(docker: Docker) -> None:
    """Docker sets it up through a hook of the runtime's: a loopback interface that is up."""
    shown = docker.shell("busybox ip -o link", "--network", "none").splitlines()
    assert [line.split()[1] for line in shown if ",UP" in line] == ["lo:"]
    with docker.service("--network", "none") as container:
        key = docker.inspect(container, "{{.NetworkSettings.SandboxKey}}")
        inside = docker.ok("exec", container, "stat", "-L", "-c", "%i", "/proc/self/ns/net")
        assert docker.daemon
        seen = os.stat(f"/proc/{docker.daemon.pid}/root{key}")
        assert str(seen.st_ino) == inside.strip()


def test_a_cgroup_namespace(docker: Docker) -> None:
    shown = docker.shell("cat /proc/self/cgroup; ls /sys/fs/cgroup/memory/", "--cgroupns", "private")
    assert ":memory:/\n" in shown and "memory.limit_in_bytes" in shown


def test_a_cgroup_parent_of_the_callers(docker: Docker) -> None:
    with docker.service("--cgroup-parent", f"/{docker.parent}/deeper") as container:
        paths = set(membership(pid_of(docker, container)).values())
        assert all(path.endswith(f"/{docker.parent}/deeper/{container}") for path in paths), paths
    remove_named(f"{docker.parent}/deeper")
