"""linux.netDevices: devices move into the container and come back, all in network namespaces of the test's.

The namespace that stands for the host's is kept by a process; pyoci is started inside it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime, reap_orphans

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Network:
    """A network namespace, as long as its process lives."""

    def __init__(self) -> None:
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(self.path) == ours:
            time.sleep(0.01)

    @property
    def path(self) -> str:
        return f"/proc/{self.keeper.pid}/ns/net"

    def enter(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        assert LIBC.setns(descriptor, CLONE_NEWNET) == 0
        os.close(descriptor)

    def ip(self, *words: str) -> str:
        return subprocess.run(
            ["ip", *words], preexec_fn=self.enter, check=True, capture_output=True, text=True
        ).stdout

    def links(self) -> dict[str, dict[str, Any]]:
        """What `ip address` shows of each device but the loopback, by name."""
        shown = json.loads(self.ip("-json", "address"))
        return {link["ifname"]: link for link in shown if link["ifname"] != "lo"}

    def close(self) -> None:
        self.keeper.kill()
        self.keeper.wait()


@pytest.fixture
def network() -> Iterator[Network]:
    """With a pair of virtual Ethernet devices, v0 with addresses of every kind."""
    network = Network()
    network.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for address in (
        ("10.1.2.3/24",),
        ("10.1.2.4/32",),
        ("fd00::5/64", "nodad"),
        ("10.9.9.9/24", "valid_lft", "1000", "preferred_lft", "1000"),
        ("169.254.1.1/16", "scope", "link"),
    ):
        network.ip("address", "add", *address[:1], "dev", "v0", *address[1:])
    network.ip("link", "set", "v0", "mtu", "1400", "up")
    network.ip("link", "set", "v1", "up")
    yield network
    network.close()


@pytest.fixture
def other() -> Iterator[Network]:
    """A namespace that outlives the container, as that of a pod."""
    network = Network()
    yield network
    network.close()


KEPT = {("10.1.2.3", 24), ("10.1.2.4", 32), ("fd00::5", 64)}


def lasting(link: dict[str, Any]) -> set[tuple[str, int]]:
    return {
        (address["local"], address["prefixlen"])
        for address in link["addr_info"]
        if address["scope"] == "global" and not address.get("dynamic")
    }


def join(bundle: Bundle, network: Network) -> None:
    for entry in bundle.config["linux"]["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = network.path


def shows(network: Network, bundle: Bundle, runtime: Runtime) -> dict[str, dict[str, Any]]:
    """The devices of a running container, from outside."""
    bundle.args("sleep", "300").save()
    create = runtime.command("create", "--bundle", str(bundle.path), "box")
    subprocess.run(create, preexec_fn=network.enter, stdin=subprocess.DEVNULL, check=True, timeout=60)
    runtime.ok("start", "box")
    pid = runtime.state("box")["pid"]
    shown = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-json", "address"], capture_output=True)
    return {link["ifname"]: link for link in json.loads(shown.stdout) if link["ifname"] != "lo"}


def call(runtime: Runtime, network: Network, *words: str) -> subprocess.CompletedProcess[str]:
    return runtime.call(*words, preexec_fn=network.enter, own={network.keeper.pid})


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_a_device_is_moved_renamed_and_up_with_its_addresses(
    user: bool, network: Network, bundle: Bundle, runtime: Runtime
) -> None:
    before = network.links()
    if user:
        bundle.in_user_namespace()
        bundle.config["mounts"] = bundle.config["mounts"][:3]
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    inside = shows(network, bundle, runtime)
    assert inside.keys() == {"eth0"}
    assert "UP" in inside["eth0"]["flags"]
    assert inside["eth0"]["mtu"] == 1400
    assert inside["eth0"]["address"] == before["v0"]["address"]
    assert lasting(inside["eth0"]) == KEPT
    # Neither what expires nor what is this link's alone was carried over.
    assert not {"10.9.9.9", "169.254.1.1"} & {entry["local"] for entry in inside["eth0"]["addr_info"]}
    assert network.links().keys() == {"v1"}
    done = call(runtime, network, "delete", "--force", "box")
    assert (done.returncode, done.stderr) == (0, "")
    after = network.links()
    assert after.keys() == {"v0", "v1"}
    assert lasting(after["v0"]) == KEPT
    assert "UP" in after["v0"]["flags"]


def test_without_a_name_it_keeps_its_own(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    network.ip("link", "set", "v1", "down")
    bundle.config["linux"]["netDevices"] = {"v1": {}, "v0": {"name": ""}}
    assert shows(network, bundle, runtime).keys() == {"v0", "v1"}
    assert network.links() == {}
    call(runtime, network, "delete", "--force", "box")
    up = {name: "UP" in link["flags"] for name, link in network.links().items()}
    assert up == {"v0": True, "v1": False}


def test_a_template_is_a_free_number(
    network: Network, other: Network, bundle: Bundle, runtime: Runtime
) -> None:
    other.ip("link", "add", "eth0", "type", "veth", "peer", "name", "x")
    join(bundle, other)
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth%d"}, "v1": {"name": "eth%d"}}
    inside = shows(network, bundle, runtime)
    assert inside.keys() == {"eth0", "x", "eth1", "eth2"}
    assert lasting(inside["eth1"]) == KEPT
    call(runtime, network, "delete", "--force", "box")
    assert other.links().keys() == {"eth0", "x"}
    assert network.links().keys() == {"v0", "v1"}


def test_its_own_sysctls_find_it(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    bundle.config["linux"]["sysctl"] = {"net.ipv4.conf.eth0.rp_filter": "2"}
    bundle.args("cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter")
    done = call(runtime, network, "run", "--bundle", str(bundle.save()), "box")
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_hooks_find_it_there(network: Network, bundle: Bundle, runtime: Runtime, tmp_path: Path) -> None:
    """As both other runtimes move devices before the first hook."""
    script = 'pid=$(sed "s/.*\\"pid\\":\\s*\\([0-9]*\\).*/\\1/"); nsenter -t $pid -n ip -br link > ' + str(
        tmp_path / "seen"
    )
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script],
                                                 "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]}  # fmt: skip
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    done = call(runtime, network, "run", "--bundle", str(bundle.save()), "box")
    assert done.stderr == ""
    assert "eth0" in (tmp_path / "seen").read_text()


def test_a_foreground_container_gives_it_back(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    before = network.links()["v0"]
    done = call(runtime, network, "run", "--bundle", str(bundle.args("true").save()), "box")
    assert (done.returncode, done.stderr) == (0, "")
    after = network.links()["v0"]
    assert (lasting(after), after["mtu"], after["address"]) == (KEPT, 1400, before["address"])


def test_a_namespace_that_stays_gives_it_back_at_delete(
    network: Network, other: Network, bundle: Bundle, runtime: Runtime
) -> None:
    """Also when the process has ended: else the next container with this device couldn't have it."""
    join(bundle, other)
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    for _ in range(2):
        assert shows(network, bundle, runtime).keys() == {"eth0"}
        runtime.ok("kill", "box", "KILL")
        while runtime.state("box")["status"] != "stopped":
            reap_orphans({network.keeper.pid, other.keeper.pid})
            time.sleep(0.01)
        assert other.links().keys() == {"eth0"}
        assert call(runtime, network, "delete", "box").stderr == ""
        assert other.links() == {}
        assert lasting(network.links()["v0"]) == KEPT


def refused(
    runtime: Runtime, network: Network, bundle: Bundle, pointer: str, message: str, hint: str
) -> None:
    before = network.links()
    done = call(runtime, network, "run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert f"{pointer}: {message}" in done.stderr
    assert hint in done.stderr
    after = network.links()
    assert {name: lasting(link) for name, link in after.items()} == {
        name: lasting(link) for name, link in before.items()
    }


def test_a_missing_device(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["linux"]["netDevices"] = {"v0": {}, "v9": {}}
    message = "can't find the network device v9: no such device"
    refused(runtime, network, bundle, "/linux/netDevices/v9", message, "in the network namespace that has it")


def test_a_name_that_is_taken(network: Network, other: Network, bundle: Bundle, runtime: Runtime) -> None:
    """v1 has moved already when v0 can't: it comes back."""
    other.ip("link", "add", "eth0", "type", "veth", "peer", "name", "x")
    join(bundle, other)
    bundle.config["linux"]["netDevices"] = {"v1": {"name": "eth1"}, "v0": {"name": "eth0"}}
    message = "can't move the network device v0 to the container as eth0: file exists"
    refused(runtime, network, bundle, "/linux/netDevices/v0/name", message, "give the device another by name")
    assert other.links().keys() == {"eth0", "x"}


def test_a_device_that_may_not_move(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["linux"]["netDevices"] = {"lo": {"name": "eth0"}}
    message = "can't move the network device lo to the container as eth0: invalid argument"
    refused(runtime, network, bundle, "/linux/netDevices/lo", message, "stay in the network namespace")


def test_the_runtime_s_own_namespace(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    join(bundle, network)
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    message = "the container's network namespace is pyoci's own"
    refused(runtime, network, bundle, "/linux/netDevices", message, "make the network namespace a new one")


def test_a_failure_afterwards_brings_it_back(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    bundle.args("/no/such/program")
    refused(runtime, network, bundle, "/process/args/0", "exec:", "")


def test_without_a_network_namespace(network: Network, bundle: Bundle, runtime: Runtime) -> None:
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "network"]
    bundle.config["linux"]["netDevices"] = {"v0": {}}
    refused(runtime, network, bundle, "/linux/netDevices", "devices were found without", "a new one would do")
