"""Which namespaces the container's process is in, and what is set in them, as the kernel says from outside.

tests/unit/test_property_table.py says which property which test shows.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Sleeper

NS = {"network": "net", "mount": "mnt"}


def namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{NS.get(kind, kind)}")


KINDS = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")


def test_every_namespace_is_new(sleeper: Sleeper) -> None:
    sleeper.bundle.in_user_namespace()
    sleeper.linux["namespaces"] = [{"type": kind} for kind in KINDS]
    pid = sleeper.pid()
    assert [kind for kind in KINDS if namespace(pid, kind) == namespace("self", kind)] == []


def test_namespaces_that_are_not_listed_are_the_runtime_s(sleeper: Sleeper) -> None:
    sleeper.linux["namespaces"] = [{"type": "mount"}]
    del sleeper.bundle.config["hostname"]
    pid = sleeper.pid()
    assert [kind for kind in KINDS if namespace(pid, kind) != namespace("self", kind)] == ["mount"]


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A process in namespaces of its own, all of them, the others owned by the user namespace."""
    options = [f"--{kind}" for kind in KINDS if kind != "network"] + ["--net", "--fork", "--kill-child"]
    unshare = subprocess.Popen(["unshare", *options, "sleep", "300"])
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    pid = int(children.read_text())
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text("0 100000 65536\n")
    yield pid
    unshare.kill()
    unshare.wait()


@pytest.mark.parametrize("kinds", [KINDS, KINDS[1:]], ids=["all", "all but mount"])
def test_every_namespace_is_joined_by_its_path(
    kinds: tuple[str, ...], neighbour: int, sleeper: Sleeper
) -> None:
    """With the mappings of the user namespace given too, as engines do: they are those it has."""
    sleeper.bundle.in_user_namespace()
    sleeper.linux["namespaces"] = [
        {"type": kind, "path": f"/proc/{neighbour}/ns/{NS.get(kind, kind)}"}
        if kind in kinds
        else {"type": kind}
        for kind in KINDS
    ]
    pid = sleeper.pid()
    assert [kind for kind in KINDS if namespace(pid, kind) == namespace(neighbour, kind)] == list(kinds)


def test_other_mappings_than_a_joined_namespace_s(neighbour: int, sleeper: Sleeper) -> None:
    sleeper.bundle.in_user_namespace()
    sleeper.linux["namespaces"][-1]["path"] = f"/proc/{neighbour}/ns/user"
    sleeper.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65535}]
    message = "/linux/gidMappings: the user namespace that is joined has other mappings: 0 100000 65536"
    assert message in sleeper.refused()


def test_time_offsets(sleeper: Sleeper) -> None:
    sleeper.linux["namespaces"].append({"type": "time"})
    sleeper.linux["timeOffsets"] = {
        "monotonic": {"secs": 1000, "nanosecs": 5},
        "boottime": {"secs": 86400, "nanosecs": 999999999},
    }
    shown = Path(f"/proc/{sleeper.pid()}/timens_offsets").read_text()
    assert [line.split() for line in shown.splitlines()] == [
        ["monotonic", "1000", "5"],
        ["boottime", "86400", "999999999"],
    ]


def test_sysctls(sleeper: Sleeper) -> None:
    """With dots and with slashes; those of the host keep their values."""
    names = ("net/ipv4/ip_forward", "kernel/shm_rmid_forced", "kernel/msgmax", "fs/mqueue/msg_max")
    before = [Path("/proc/sys", name).read_text() for name in names]
    sleeper.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "kernel.shm_rmid_forced": "1",
        "kernel/msgmax": "4321",
        "fs.mqueue.msg_max": "7",
    }
    sleeper.pid()
    words = [f"/proc/sys/{name}" for name in names]
    assert sleeper.runtime.ok("exec", "box", "cat", *words).split() == ["1", "1", "4321", "7"]
    assert [Path("/proc/sys", name).read_text() for name in names] == before


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4.../../../kernel/core_pattern",
        "net/ipv4/../../kernel.core_pattern",
        "kernel.shm_rmid_forced/../core_pattern",
        "fs.mqueue/../../kernel/core_pattern",
        "/net/ipv4/ip_forward",
        "net//ipv4.ip_forward",
        "vm.overcommit_memory",
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "kernel.shm_rmid_forced\n",
        "net",
        "",
        "user",
    ],
)
def test_a_sysctl_of_the_host_is_refused(name: str, sleeper: Sleeper) -> None:
    """CVE-2022-0811 and its like: nothing is written, whatever the name looks like."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    sleeper.linux["sysctl"] = {name: "|/bin/evil"}
    assert "/linux/sysctl/" in sleeper.refused()
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
