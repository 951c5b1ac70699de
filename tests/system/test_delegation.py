"""What of its cgroup a container may manage itself (config-linux.md, "Cgroup ownership"; cgroups(7))."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout
from support.cgroups import eventually, membership
from support.containers import Bundle, Runtime, Sleeper

MODE = layout.detect().mode
pytestmark = pytest.mark.layout
v2_alone = pytest.mark.skipif(MODE != "v2", reason=f"cgroups are {MODE} here, not v2 alone")

LISTED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


@pytest.fixture
def delegating(bundle: Bundle) -> Bundle:
    """With a cgroup namespace, a user namespace, and a mount of its cgroups to write to."""
    bundle.in_user_namespace()
    bundle.config["mounts"].append(mount())
    return bundle


def mount() -> dict[str, Any]:
    """Shows the container's cgroups, to be written to."""
    options = ["nosuid", "nodev"]
    return {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}


def owners(pid: int) -> dict[str, int]:
    """The owner of the process's cgroup in each hierarchy and of each file in it, by path."""
    found = {}
    for hierarchy in layout.detect().hierarchies:
        path = Path(hierarchy.mount + membership(pid)[",".join(hierarchy.controllers)])
        found |= {str(file): file.stat().st_uid for file in (path, *path.iterdir()) if not file.is_dir()}
        found[str(path)] = path.stat().st_uid
    return found


def given(pid: int) -> dict[str, int]:
    """What doesn't belong to root, by name; "" is the cgroup itself."""
    found = owners(pid)
    group = min(found, key=len)
    return {path.removeprefix(group).strip("/"): owner for path, owner in found.items() if owner}


def test_v1_is_never_given_away(delegating: Bundle, sleeper: Sleeper) -> None:
    if MODE == "v2":
        pytest.skip("no v1 hierarchy is mounted here")
    assert set(owners(sleeper.pid()).values()) == {0}


@v2_alone
def test_the_containers_root_gets_what_may_be_delegated(
    delegating: Bundle, sleeper: Sleeper, runtime: Runtime
) -> None:
    found = given(sleeper.pid())
    assert set(found.values()) == {100000}
    assert {"", *LISTED} <= set(found) <= {"", *Path("/sys/kernel/cgroup/delegate").read_text().split()}
    script = (
        "cd /sys/fs/cgroup && busybox mkdir below && echo 0 > below/cgroup.procs && cat /proc/self/cgroup"
    )
    assert "0::/below" in runtime.ok("exec", "box", "sh", "-c", script).split()
    refused = runtime.call("exec", "box", "sh", "-c", "echo max > /sys/fs/cgroup/pids.max")
    assert "Permission denied" in refused.stderr


@v2_alone
def test_the_owner_is_who_the_process_is(delegating: Bundle, sleeper: Sleeper) -> None:
    sleeper.process["user"] = {"uid": 1000, "gid": 1000}
    assert set(given(sleeper.pid()).values()) == {101000}


@v2_alone
def test_a_user_of_the_hosts(bundle: Bundle, sleeper: Sleeper) -> None:
    bundle.config["mounts"].append(mount())
    sleeper.process["user"] = {"uid": 1000, "gid": 1000}
    assert set(given(sleeper.pid()).values()) == {1000}


@v2_alone
@pytest.mark.parametrize("what", ["ro", "shared namespace", "no mount"])
def test_whoever_cannot_use_it_gets_nothing(delegating: Bundle, sleeper: Sleeper, what: str) -> None:
    config = delegating.config
    if what == "ro":
        config["mounts"][-1]["options"].append("ro")
    elif what == "no mount":
        config["mounts"].pop()
    else:
        config["mounts"].pop()  # which shows the host's, and so can't be mounted
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "cgroup"]
    assert given(sleeper.pid()) == {}


@v2_alone
def test_a_cgroup_below_is_delegated(delegating: Bundle, sleeper: Sleeper, runtime: Runtime) -> None:
    """crun's annotation: the container's limits stay out of its reach, in the cgroup above."""
    delegating.config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    delegating.config["linux"]["resources"] = {"pids": {"limit": 50}}
    pid = sleeper.pid()
    group = Path("/sys/fs/cgroup" + membership(pid)[""])
    assert group.name == "payload"
    assert set(given(pid).values()) == {100000}
    assert group.parent.stat().st_uid == 0
    assert (group.parent / "pids.max").read_text() == "50\n"
    assert "memory" in (group / "cgroup.controllers").read_text().split()
    assert "0::/payload" in runtime.ok("exec", "box", "cat", "/proc/self/cgroup").split()
    script = (
        "cd /sys/fs/cgroup/payload && busybox mkdir a && echo 0 > a/cgroup.procs && cat /proc/self/cgroup"
    )
    assert "0::/payload/a" in runtime.ok("exec", "box", "sh", "-c", script).split()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../above", "is no cgroup below the container's own"),
        ("a//b", "is no cgroup below the container's own"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(sleeper: Sleeper, name: str, message: str) -> None:
    sleeper.bundle.config["annotations"] = {"run.oci.delegate-cgroup": name}
    assert "/annotations/run.oci.delegate-cgroup" in (said := sleeper.refused()) and message in said


def test_v1_cannot_delegate(sleeper: Sleeper) -> None:
    if MODE == "v2":
        pytest.skip("no v1 hierarchy is mounted here")
    sleeper.bundle.config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    said = sleeper.refused()
    assert f"a cgroup can be delegated on cgroup v2 only, and here is {MODE}" in said
    assert "/annotations/run.oci.delegate-cgroup" in said


@v2_alone
def test_a_further_process_is_born_in_the_containers_cgroup(
    bundle: Bundle, sleeper: Sleeper, runtime: Runtime, tmp_path: Path
) -> None:
    """Nobody is moved: cgroup.procs isn't even opened."""
    sleeper.pid()
    trace = tmp_path / "trace"
    command = runtime.command("exec", "box", "cat", "/proc/self/cgroup")
    strace = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-o", str(trace)]
    done = subprocess.run([*strace, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    assert b"0::/" in done.stdout.split()
    assert "/proc/self/cgroup" in trace.read_text() and "cgroup.procs" not in trace.read_text()


@v2_alone
def test_exec_works_where_the_container_has_enabled_controllers(
    bundle: Bundle, sleeper: Sleeper, runtime: Runtime
) -> None:
    """As a nested engine or systemd does: then the container's own cgroup takes no process (EBUSY)."""
    bundle.config["mounts"].append(mount())
    bundle.shell(
        "cd /sys/fs/cgroup; busybox mkdir leaf; echo 1 > leaf/cgroup.procs; "
        "echo +pids > cgroup.subtree_control; : > /tmp/ready; exec sleep 300"
    )
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
    eventually((bundle.rootfs / "tmp/ready").exists)
    assert "0::/leaf" in runtime.ok("exec", "box", "cat", "/proc/self/cgroup").split()
    refused = runtime.call("exec", "--cgroup", "/", "box", "true")
    assert refused.returncode == 255 and "device or resource busy" in refused.stderr
