"""Namespaces under podman: their own, the host's, another container's, users', and what systemd is given."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mounts import own_mounts
from support.podman import Podman

KINDS = ("ipc", "mnt", "net", "pid", "uts")


def namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_each_of_its_own(podman: Podman) -> None:
    podman.start("box")
    pid = podman.pid("box")
    assert all(namespace(pid, kind) != namespace("self", kind) for kind in KINDS)
    assert namespace(pid, "user") == namespace("self", "user")


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "network", "cgroupns"])
def test_the_hosts(podman: Podman, kind: str) -> None:
    podman.start("box", f"--{kind}=host")
    link = {"network": "net", "cgroupns": "cgroup"}.get(kind, kind)
    assert namespace(podman.pid("box"), link) == namespace("self", link)
    podman.ok("exec", "box", "true")
    podman.ok("stop", "--time", "30", "box")


def test_a_cgroup_namespace(podman: Podman) -> None:
    """Its root is the container's own cgroup."""
    paths = {
        line.rsplit(":", 1)[1]
        for line in podman.sh("cat /proc/self/cgroup", "--cgroupns=private").splitlines()
    }
    assert paths == {"/"}


def test_another_containers(podman: Podman) -> None:
    podman.start("first", "--ipc=shareable", "--hostname", "first")
    flags = [
        "--pid=container:first",
        "--ipc=container:first",
        "--network=container:first",
        "--uts=container:first",
    ]
    podman.start("second", *flags, script="sleep 300")
    first, second = podman.pid("first"), podman.pid("second")
    for kind in ("pid", "ipc", "net", "uts"):
        assert namespace(first, kind) == namespace(second, kind), kind
    assert namespace(first, "mnt") != namespace(second, "mnt")
    commands = podman.ok("exec", "first", "ps", "-o", "pid,args")
    assert "sleep 300" in commands and podman.ok("exec", "second", "hostname") == "first\n"
    podman.ok("exec", "first", "touch", "/dev/shm/shared")
    podman.ok("exec", "second", "test", "-e", "/dev/shm/shared")
    podman.ok("rm", "--force", "--time", "0", "second")
    assert podman.status("first") == "running"


def test_a_network_namespace_by_its_path(podman: Podman) -> None:
    with own_mounts():
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        subprocess.run(["ip", "netns", "add", "made"], check=True)
        link = podman.ok(
            "run", "--rm", "--network", "ns:/run/netns/made", "box", "readlink", "/proc/1/ns/net"
        )
        assert link == f"net:[{os.stat('/run/netns/made').st_ino}]\n"
        subprocess.run(["ip", "netns", "delete", "made"], check=True)


def test_a_hostname_is_the_containers_alone(podman: Podman) -> None:
    before = os.uname().nodename
    assert podman.sh("hostname; cat /etc/hostname", "--hostname", "pod.example") == "pod.example\npod.example"
    assert os.uname().nodename == before


def mapping(podman: Podman, *flags: str) -> list[list[str]]:
    script = "cat /proc/self/uid_map; echo; cat /proc/self/gid_map"
    parts = podman.sh(script, *flags).split("\n\n")
    return [part.split() for part in parts]


def test_users_are_mapped(podman: Podman) -> None:
    flags = ["--uidmap", "0:200000:1000", "--gidmap", "0:300000:2000"]
    assert mapping(podman, *flags) == [["0", "200000", "1000"], ["0", "300000", "2000"]]
    podman.start("box", *flags, "--user", "5:6")
    found = Path(f"/proc/{podman.pid('box')}/status").read_text()
    assert "Uid:\t200005\t200005\t200005\t200005" in found and "Gid:\t300006\t300006\t300006\t300006" in found
    assert (
        podman.ok("exec", "--user", "0", "box", "sh", "-c", "id -u; touch /new; stat -c %u:%g /new")
        == "0\n0:0\n"
    )
    assert podman.ok("exec", "box", "id", "-u") == "5\n"


def test_a_user_namespace_in_which_much_happens(podman: Podman) -> None:
    flags = [
        "--uidmap",
        "0:200000:1000",
        "--gidmap",
        "0:200000:1000",
        "--read-only",
        "--tmpfs",
        "/t",
        "--init",
    ]
    flags += [
        "--memory",
        "64m",
        "--hostname",
        "pod",
        "--security-opt",
        "no-new-privileges",
        "--sysctl",
        "kernel.msgmax=4096",
    ]
    script = "id -u; hostname; touch /t/new; stat -c %u /t/new; cat /proc/sys/kernel/msgmax; : > /dev/null;"
    script += " echo end"
    assert podman.sh(script, *flags).split() == ["0", "pod", "0", "4096", "end"]


@pytest.fixture
def subordinate() -> Iterator[None]:
    """Ids that podman may give away by itself, written where nobody else sees them."""
    with own_mounts():
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
        for name in ("subuid", "subgid"):
            Path(f"/mnt/{name}").write_text("containers:500000:200000\n")
            if not (target := Path(f"/etc/{name}")).exists():
                pytest.skip(f"{target} is missing: Debian's passwd makes it")
            subprocess.run(["mount", "--bind", f"/mnt/{name}", target], check=True)
        yield


def test_user_namespaces_that_podman_chooses(podman: Podman, subordinate: None) -> None:
    """--userns=auto: ranges that don't overlap, as large as an image needs or as is said."""
    podman.start("first", "--userns=auto")
    podman.start("second", "--userns=auto:size=3000")
    maps = [Path(f"/proc/{podman.pid(name)}/uid_map").read_text().split() for name in ("first", "second")]
    (start, size), (other, other_size) = ([int(number) for number in entry[1:]] for entry in maps)
    assert start >= 500000 and other_size == 3000
    assert start + size <= other or other + other_size <= start
    assert podman.ok("exec", "second", "id", "-u") == "0\n"
    assert namespace(podman.pid("first"), "user") != namespace(podman.pid("second"), "user")
    podman.clean()


def test_a_user_namespace_is_shared(podman: Podman) -> None:
    podman.start("first", "--uidmap", "0:200000:1000", "--gidmap", "0:200000:1000")
    podman.start("second", "--userns=container:first")
    assert namespace(podman.pid("first"), "user") == namespace(podman.pid("second"), "user")
    assert podman.ok("exec", "second", "cat", "/proc/self/uid_map").split() == ["0", "200000", "1000"]


def test_systemd_is_given_what_it_needs(podman: Podman) -> None:
    """--systemd=always: tmpfs where it writes, its own hierarchy to manage, the signal that halts it."""
    podman.start(
        "box", "--systemd=always", script="trap 'exit 17' 37; echo ready; while :; do sleep 0.05; done"
    )
    podman.eventually(lambda: "ready" in podman.ok("logs", "box"))
    script = "grep -E ' (/run|/run/lock|/tmp|/var/log/journal) ' /proc/mounts | wc -l; echo $container"
    assert podman.ok("exec", "box", "sh", "-c", script).split() == ["4", "podman"]
    if Path("/sys/fs/cgroup/systemd").exists():
        script = "mkdir /sys/fs/cgroup/systemd/$(sed -n s/.*name=systemd://p /proc/self/cgroup)/unit.slice"
        podman.ok("exec", "box", "sh", "-c", script)
    podman.ok("stop", "--time", "30", "box")  # SIGRTMIN+3
    assert podman.inspect("box", "{{.State.ExitCode}}") == "17"
