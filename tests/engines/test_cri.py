"""Pods as a kubelet makes them, through containerd's CRI plugin: sandboxes, and containers that share one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from support import containerd as programs
from support.cgroups import eventually, membership, remove_named
from support.containerd import Containerd
from support.containers import status
from support.cri import Kubelet, add_network
from support.cri_stream import STDERR, STDOUT, Stream

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

OBEDIENT = ("/bin/sh", "-c", "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
SLEEP = ("/bin/sleep", "300")


@pytest.fixture(scope="module")
def kubelet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    add_network(containerd.directory / "cni")
    kubelet = Kubelet(containerd.address, containerd.parent, tmp_path_factory.mktemp("logs"))
    yield kubelet
    for pod in list(kubelet.pods):
        kubelet.remove_pod(pod)
    kubelet.close()


@pytest.fixture(scope="module")
def pod(kubelet: Kubelet) -> str:
    """A sandbox with a network of its own."""
    sysctls = {"net.ipv4.ip_forward": "1"}
    pod = kubelet.run_pod("pod", sysctls=sysctls)
    # What the daemon keeps open of a container that has run once.
    container = kubelet.run(pod, "first", *SLEEP)
    assert kubelet.execute(container, "true")[0] == 0
    kubelet.stop(container, 0)
    kubelet.remove(container)
    return pod


@pytest.fixture
def container(kubelet: Kubelet, pod: str) -> Iterator[str]:
    container = kubelet.run(pod, "container", *SLEEP)
    yield container
    kubelet.stop(container, 0)
    kubelet.remove(container)


def namespaces(pid: int, *kinds: str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]


def log(kubelet: Kubelet, name: str) -> list[str]:
    """What a container has printed, as its log has it: time, stream, whether the line is whole, text."""
    return [line.split(" ", 1)[1] for line in (kubelet.logs / f"{name}.log").read_text().splitlines()]


def test_a_sandbox(kubelet: Kubelet, pod: str) -> None:
    found = kubelet.pod_status(pod)
    assert (found.state, found.runtime_handler) == (0, "tested"), found
    assert found.network.ip == "10.99.0.2"
    assert [each.id for each in kubelet.call("ListPodSandbox").items] == [pod]
    groups = set(membership(kubelet.pod_pid(pod)).values())
    assert all(group.endswith(f"/{kubelet.parent}/pod/{pod}") for group in groups), groups


def test_a_runtime_class_chooses_the_runtime(kubelet: Kubelet) -> None:
    """Its handler: without one it would be the default, which isn't there."""
    with pytest.raises(grpc.RpcError, match="no runtime for"):
        kubelet.run_pod("lost", handler="unknown")
    with pytest.raises(grpc.RpcError, match=programs.MISSING):
        kubelet.run_pod("lost", handler="")


def test_containers_share_the_sandboxs_namespaces(kubelet: Kubelet, pod: str, container: str) -> None:
    other = kubelet.run(pod, "other", *SLEEP, security={"namespace_options": {"pid": "POD"}})
    target = {"pid": "TARGET", "target_id": container}
    debugger = kubelet.run(pod, "debugger", *SLEEP, security={"namespace_options": target})
    shared = ("net", "ipc", "uts")
    sandbox = kubelet.pod_pid(pod)
    for each in (container, other, debugger):
        assert namespaces(kubelet.pid(each), *shared) == namespaces(sandbox, *shared)
        assert namespaces(kubelet.pid(each), "mnt") != namespaces(sandbox, "mnt")
    assert namespaces(kubelet.pid(container), "pid") != namespaces(sandbox, "pid")
    assert namespaces(kubelet.pid(other), "pid") == namespaces(sandbox, "pid")
    assert namespaces(kubelet.pid(debugger), "pid") == namespaces(kubelet.pid(container), "pid")
    assert kubelet.execute(container, "hostname") == (0, "pod\n", "")
    assert kubelet.execute(container, "cat", "/proc/sys/net/ipv4/ip_forward") == (0, "1\n", "")
    assert "inet 10.99.0.2/24" in kubelet.execute(container, "/bin/busybox", "ip", "address")[1]
    kubelet.execute(container, "/bin/sh", "-c", "echo shared >/dev/shm/file")
    assert kubelet.execute(other, "cat", "/dev/shm/file") == (0, "shared\n", "")
    for each in (debugger, other):
        kubelet.stop(each, 0)
        kubelet.remove(each)


def test_exec_sync(kubelet: Kubelet, container: str) -> None:
    assert kubelet.execute(container, "/bin/sh", "-c", "echo out; echo err >&2; exit 42") == (
        42,
        "out\n",
        "err\n",
    )
    with pytest.raises(grpc.RpcError) as failed:
        kubelet.execute(container, "/bin/nothing")
    assert "OCI runtime exec failed" in failed.value.details()
    assert "no such file or directory" in failed.value.details().lower()


def test_exec_sync_that_takes_too_long(kubelet: Kubelet, container: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        kubelet.execute(container, "sleep", "301", seconds=1)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: len(members(kubelet, container)) == 1)


def test_exec_with_streams(kubelet: Kubelet, container: str) -> None:
    """`kubectl exec -i`: its input comes while it runs, output and error output each on their own."""
    script = (
        'while read -r line; do echo "got $line"; [ "$line" = end ] && break; done; echo err >&2; exit 42'
    )
    with kubelet.stream(container, "/bin/sh", "-c", script) as stream:
        stream.send("one\n")
        stream.expect("got one\n")
        stream.send("end\n")
        assert stream.finish()[0] == 42
        assert (stream.seen[STDOUT], stream.seen[STDERR]) == (b"got one\ngot end\n", b"err\n")


def use_terminal(stream: Stream, status: int) -> None:
    """A shell there hears of a new size, and ends as it is told."""
    stream.resize(33, 99)
    stream.send("until [ \"$(stty size)\" = '33 99' ]; do sleep 0.05; done; echo si''zed; tty\n")
    stream.expect("sized\r\n/dev/pts/0\r\n")
    stream.send(f"exit {status}\n")


def test_exec_with_a_terminal(kubelet: Kubelet, container: str) -> None:
    """`kubectl exec -it`: a shell that is typed to, and whose window changes."""
    with kubelet.stream(container, "/bin/sh", terminal=True) as stream:
        stream.expect("# ")
        use_terminal(stream, 7)
        assert stream.finish()[0] == 7


def test_exec_with_streams_of_what_cannot_run(kubelet: Kubelet, container: str) -> None:
    with kubelet.stream(container, "/bin/nothing", stdin=False) as stream:
        status, why = stream.finish()
    assert status == -1
    assert "OCI runtime exec failed" in why and "no such file or directory" in why.lower()


def test_attach(kubelet: Kubelet, pod: str) -> None:
    """`kubectl attach -i`: to a program that reads, once and again; its log has all of it."""
    script = 'echo ready; while read -r line; do echo "got $line"; done; sleep 300; exit'
    container = kubelet.run(pod, "reader", "/bin/sh", "-c", script, stdin=True)
    for word in ("one", "two"):
        with kubelet.stream(container) as stream:
            stream.send(f"{word}\n")
            stream.expect(f"got {word}\n")
    eventually(lambda: log(kubelet, "reader") == ["stdout F ready", "stdout F got one", "stdout F got two"])
    kubelet.stop(container, 0)
    kubelet.remove(container)


def test_attach_to_a_terminal(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "shell", "/bin/sh", stdin=True, tty=True)
    with kubelet.stream(container, terminal=True) as stream:
        use_terminal(stream, 5)
        stream.finish()
    eventually(lambda: kubelet.state(container) == "CONTAINER_EXITED")
    assert kubelet.status(container).exit_code == 5
    kubelet.remove(container)


def members(kubelet: Kubelet, container: str) -> list[str]:
    """The processes in a container's cgroup."""
    groups = membership(kubelet.pid(container))
    group = f"pids{groups['pids']}" if "pids" in groups else groups[""].lstrip("/")
    return Path("/sys/fs/cgroup", group, "cgroup.procs").read_text().split()


def test_a_container_that_cannot_start(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.create(pod, "broken", "/bin/nothing")
    with pytest.raises(grpc.RpcError) as failed:
        kubelet.start(container)
    assert "OCI runtime create failed" in failed.value.details()
    found = kubelet.status(container)
    assert (kubelet.state(container), found.reason, found.exit_code) == (
        "CONTAINER_EXITED",
        "StartError",
        128,
    )
    assert "no such file or directory" in found.message.lower()
    kubelet.remove(container)


def test_logs_and_the_status_of_one_that_ended(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "short", "/bin/sh", "-c", "echo out; echo err >&2; exit 4")
    eventually(lambda: kubelet.state(container) == "CONTAINER_EXITED")
    assert (kubelet.status(container).exit_code, kubelet.status(container).reason) == (4, "Error")
    assert sorted(log(kubelet, "short")) == ["stderr F err", "stdout F out"]
    kubelet.remove(container)


def test_stop_with_and_without_patience(kubelet: Kubelet, pod: str) -> None:
    obedient = kubelet.run(pod, "obedient", *OBEDIENT)
    eventually(lambda: "stdout F ready" in log(kubelet, "obedient"))
    kubelet.stop(obedient, 60)
    assert (kubelet.state(obedient), kubelet.status(obedient).exit_code) == ("CONTAINER_EXITED", 3)
    deaf = kubelet.run(pod, "deaf", "/bin/sh", "-c", "trap '' TERM; sleep 300; exit")
    kubelet.stop(deaf, 1)
    assert (kubelet.state(deaf), kubelet.status(deaf).exit_code) == ("CONTAINER_EXITED", 137)
    for container in (obedient, deaf):
        kubelet.remove(container)


def test_stats(kubelet: Kubelet, pod: str) -> None:
    busy = kubelet.run(pod, "busy", "/bin/sh", "-c", "while :; do :; done")
    stats = kubelet.call("ContainerStats", "ContainerId", container_id=busy).stats
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert stats.memory.working_set_bytes.value > 0
    kubelet.stop(busy, 0)
    kubelet.remove(busy)


def test_resources_and_their_update(kubelet: Kubelet, pod: str) -> None:
    resources = {
        "cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512,
        "memory_limit_in_bytes": 64 << 20, "oom_score_adj": 500,
    }  # fmt: skip
    container = kubelet.run(pod, "limited", *SLEEP, resources=resources)
    assert limits(kubelet, container) == (64 << 20, 50000)
    assert Path(f"/proc/{kubelet.pid(container)}/oom_score_adj").read_text() == "500\n"
    before = kubelet.pid(container)
    kubelet.update(container, memory_limit_in_bytes=96 << 20, cpu_period=100000, cpu_quota=70000)
    assert limits(kubelet, container) == (96 << 20, 70000)
    assert (kubelet.state(container), kubelet.pid(container)) == ("CONTAINER_RUNNING", before)
    kubelet.stop(container, 0)
    kubelet.remove(container)


def limits(kubelet: Kubelet, container: str) -> tuple[int, int]:
    """A container's limit of memory in bytes, and the time of a CPU that it gets in 0.1 s, in µs."""
    groups = membership(kubelet.pid(container))
    base = Path("/sys/fs/cgroup")
    if "memory" in groups:
        memory = base / f"memory{groups['memory']}/memory.limit_in_bytes"
        cpu = base / f"cpu{groups['cpu']}/cpu.cfs_quota_us"
    else:
        memory, cpu = (base / groups[""].lstrip("/") / name for name in ("memory.max", "cpu.max"))
    return int(memory.read_text()), int(cpu.read_text().split()[0])


def test_a_security_context(kubelet: Kubelet, pod: str) -> None:
    security = {
        "run_as_user": {"value": 1000}, "run_as_group": {"value": 1001}, "supplemental_groups": [1002],
        "readonly_rootfs": True, "no_new_privs": True, "capabilities": {"drop_capabilities": ["ALL"]},
        "seccomp": {"profile_type": "RuntimeDefault"},
        "masked_paths": ["/proc/timer_list"], "readonly_paths": ["/proc/sys"],
    }  # fmt: skip
    container = kubelet.run(pod, "secured", *SLEEP, security=security)
    found = status(kubelet.pid(container))
    assert (found["Uid"][0], found["Gid"][0], found["NoNewPrivs"], found["Seccomp"]) == (
        "1000",
        "1001",
        ["1"],
        ["2"],
    )
    assert "1002" in found["Groups"] and set(found["CapBnd"]) == {"0" * 16}
    assert kubelet.execute(container, "id", "-u")[1] == "1000\n"
    code, _, error = kubelet.execute(container, "touch", "/etc/x")
    assert code == 1 and "Read-only file system" in error
    kubelet.stop(container, 0)
    kubelet.remove(container)


def test_a_privileged_container(containerd: Containerd, kubelet: Kubelet) -> None:
    ours = int(status(os.getpid())["CapEff"][0], 16)
    if not ours & 1 << 24 and not containerd.tests("pyoci"):
        pytest.skip("we have no CAP_SYS_RESOURCE, and this runtime gives all or nothing")
    pod = kubelet.run_pod("privileged", privileged=True)
    container = kubelet.run(pod, "all", *SLEEP, security={"privileged": True})
    assert int(status(kubelet.pid(container))["CapEff"][0], 16) == ours
    assert kubelet.execute(container, "mount", "-t", "tmpfs", "t", "/tmp") == (0, "", "")
    kubelet.remove_pod(pod)
    remove_named(f"{kubelet.parent}/privileged")


def test_volumes_and_surroundings(kubelet: Kubelet, pod: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    mounts = [
        {"container_path": "/data", "host_path": str(tmp_path)},
        {"container_path": "/sealed", "host_path": str(tmp_path), "readonly": True},
    ]
    script = "cat /data/file; echo $WORD; busybox pwd; touch /data/new; touch /sealed/other; sleep 300"
    envs = [{"key": "WORD", "value": "a b"}]
    container = kubelet.run(
        pod, "volumes", "/bin/sh", "-c", script, mounts=mounts, envs=envs, working_dir="/etc"
    )
    eventually(lambda: len(log(kubelet, "volumes")) == 4)
    assert [line.split(" ", 2)[2] for line in log(kubelet, "volumes")] == [
        "content", "a b", "/etc", "touch: /sealed/other: Read-only file system",
    ]  # fmt: skip
    assert (tmp_path / "new").exists()
    kubelet.stop(container, 0)
    kubelet.remove(container)


def test_a_pod_on_the_hosts_network(kubelet: Kubelet) -> None:
    pod = kubelet.run_pod("host", hostname="", namespaces={"network": "NODE", "pid": "NODE", "ipc": "NODE"})
    container = kubelet.run(
        pod, "node", *SLEEP,
        security={"namespace_options": {"network": "NODE", "pid": "NODE", "ipc": "NODE"}},
    )  # fmt: skip
    kinds = ("net", "pid", "ipc")
    assert namespaces(kubelet.pid(container), *kinds) == namespaces(os.getpid(), *kinds)
    assert kubelet.execute(container, "hostname")[0] == 0
    kubelet.remove_pod(pod)  # with a container that still runs
    assert container not in [each.id for each in kubelet.call("ListContainers").containers]
    remove_named(f"{kubelet.parent}/host")


def test_a_pod_that_ends(kubelet: Kubelet) -> None:
    pod = kubelet.run_pod("brief")
    container = kubelet.run(pod, "inside", *SLEEP)
    pids = [kubelet.pod_pid(pod), kubelet.pid(container)]
    kubelet.call("StopPodSandbox", "PodSandboxId", pod_sandbox_id=pod)
    assert kubelet.pod_status(pod).state == 1
    assert (kubelet.state(container), kubelet.status(container).exit_code) == ("CONTAINER_EXITED", 137)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)
    kubelet.remove_pod(pod)
    assert pod not in [each.id for each in kubelet.call("ListPodSandbox").items]
    remove_named(f"{kubelet.parent}/brief")
