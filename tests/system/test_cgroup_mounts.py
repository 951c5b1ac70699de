"""Mounts of type cgroup and cgroup2: the container's own cgroups, in every layout, and no others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout
from pyoci.cgroup.layout import Layout
from support.cgroups import eventually
from support.containers import Bundle, Runtime
from support.mounts import own_mounts

pytestmark = pytest.mark.layout

# A process asks its mounts, what is in them, and which of them it may write to.
SCRIPT = """
cat /proc/self/mountinfo
for point in /ro /rw; do for name in $point $point/*; do
    test -L $name && echo "link $name $(busybox readlink $name)" && continue
    test -e $name/cgroup.procs && grep -qx 1 $name/cgroup.procs && echo "own $name"
    busybox mkdir $name/made 2>/dev/null && busybox rmdir $name/made && echo "writable $name"
done; done; true
"""


class Seen:
    """What SCRIPT printed: mounts by mount point, and what was found at paths."""

    def __init__(self, output: str) -> None:
        self.mounts: dict[str, dict[str, Any]] = {}
        self.found: set[str] = set()
        for line in output.splitlines():
            before, middle, after = line.partition(" - ")
            if not middle:
                self.found.add(line)
                continue
            fields, end = before.split(), after.split(" ")
            self.mounts[fields[4]] = {
                "root": fields[3],
                "options": set(fields[5].split(",")),
                "tags": fields[6:],
                "type": end[0],
                "super": set(end[2].split(",")),
            }

    def below(self, point: str) -> list[str]:
        return [other for other in self.mounts if other == point or other.startswith(point + "/")]


def asked(bundle: Bundle, kind: str = "cgroup", *, namespace: bool = True, **options: list[str]) -> Bundle:
    """A bundle with cgroup mounts at /ro and /rw, and whatever else has options given."""
    linux = bundle.config["linux"]
    if not namespace:
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "cgroup"]
    linux["cgroupsPath"] = f"/{name()}"
    given = {"ro": ["nosuid", "noexec", "ro"], "rw": ["nosuid", "nodev"], **options}
    for place, words in given.items():
        (bundle.rootfs / place).mkdir()  # the root of a user namespace may not
        mount = {"destination": f"/{place}", "type": kind, "source": "cgroup", "options": words}
        bundle.config["mounts"].append(mount)
    return bundle.shell(SCRIPT)


def name() -> str:
    return f"pyoci-test-{os.getpid()}"


def run(runtime: Runtime, bundle: Bundle) -> Seen:
    return Seen(runtime.ok("run", "--bundle", str(bundle.save()), name()))


def directory(controllers: list[str], mount: str) -> str:
    """What a hierarchy's directory is called in a container."""
    if controllers == [""]:
        return "/unified"
    named = controllers[0].startswith("name=")
    return "/" + (controllers[0].removeprefix("name=") if named else os.path.basename(mount))


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize("namespace", [False, True], ids=["", "in a cgroup namespace"])
def test_every_hierarchy(runtime: Runtime, bundle: Bundle, here: Layout, namespace: bool, user: bool) -> None:
    if user:
        bundle.in_user_namespace()
    seen = run(runtime, asked(bundle, namespace=namespace))
    places = [""]
    if here.mode != "v2":
        places += sorted(directory(one.controllers, one.mount) for one in here.hierarchies)
        assert seen.mounts["/ro"]["type"] == "tmpfs"
    for point, options in (("/ro", {"nosuid", "noexec", "ro"}), ("/rw", {"nosuid", "nodev", "rw"})):
        assert sorted(seen.below(point)) == [point + place for place in places]
        for mount in seen.below(point):
            assert options <= seen.mounts[mount]["options"], mount
            if seen.mounts[mount]["type"] != "tmpfs":
                assert seen.mounts[mount]["root"] == ("/" if namespace else f"/{name()}"), mount
                assert f"own {mount}" in seen.found
    writable = {line for line in seen.found if line.startswith("writable ")}
    assert not any(line.startswith("writable /ro") for line in writable)
    if not user:  # the cgroups are the host root's, who is nobody in there
        assert writable == {f"writable /rw{place}" for place in places}


def test_options_are_those_of_every_mount(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    asked(
        bundle, shared=["rshared", "noatime"], several=["slave", "unbindable"], recursive=["rro", "rnoexec"]
    )
    seen = run(runtime, bundle)
    many = 1 if here.mode == "v2" else 1 + len(here.hierarchies)
    for point in ("/shared", "/several", "/recursive"):
        assert len(seen.below(point)) == many
    for mount in seen.below("/shared"):
        assert "noatime" in seen.mounts[mount]["options"]
        assert [tag.split(":")[0] for tag in seen.mounts[mount]["tags"]] == ["shared"]
    for mount in seen.below("/several"):
        assert seen.mounts[mount]["tags"] == ["unbindable"]
    for mount in seen.below("/recursive"):
        assert {"ro", "noexec"} <= seen.mounts[mount]["options"], mount


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_the_unified_hierarchy(runtime: Runtime, bundle: Bundle, here: Layout, user: bool) -> None:
    """Without a cgroup namespace, too, it is the container's part of it."""
    if here.unified is None:
        asked(bundle, "cgroup2", namespace=False)
        done = runtime.call("run", "--bundle", str(bundle.save()), name())
        assert done.returncode == 1
        assert "/mounts/4/type: cgroup2 isn't mounted here" in done.stderr
        return
    if user:
        bundle.in_user_namespace()
    seen = run(runtime, asked(bundle, "cgroup2", namespace=False))
    for point in ("/ro", "/rw"):
        assert (seen.mounts[point]["type"], seen.mounts[point]["root"]) == ("cgroup2", f"/{name()}")
        assert f"own {point}" in seen.found
    assert "ro" in seen.mounts["/ro"]["options"] and "rw" in seen.mounts["/rw"]["options"]
    assert "writable /ro" not in seen.found


@pytest.mark.parametrize("namespace", [False, True], ids=["", "in a cgroup namespace"])
def test_a_cgroup_that_isnt_the_containers_is_read_only(
    runtime: Runtime, bundle: Bundle, here: Layout, namespace: bool
) -> None:
    words = (
        "--cgroup-manager",
        "disabled",
        "run",
        "--bundle",
        str(asked(bundle, namespace=namespace).save()),
    )
    done = runtime.call(*words, name())
    assert done.returncode == 0, done.stderr
    assert "/mounts/5: is made read-only" in done.stderr and "/mounts/4" not in done.stderr
    seen = Seen(done.stdout)
    assert all("ro" in seen.mounts[mount]["options"] for mount in seen.below("/rw"))
    assert not any(line.startswith("writable") for line in seen.found)
    assert seen.below("/rw")


def test_an_option_that_no_hierarchy_could_take(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    asked(bundle, namespace=False, rw=["nosuid", "size=1m"])
    done = runtime.call("run", "--bundle", str(bundle.save()), name())
    assert done.returncode == 1
    assert "/mounts/5/options: " in done.stderr and "'size=1m'" in done.stderr


def test_only_the_hierarchy_of_systemd(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """crun's annotation, for a systemd that knows no cgroup2."""
    bundle.config["annotations"] = {"run.oci.systemd.force_cgroup_v1": "/ro"}
    asked(bundle)
    if "name=systemd" not in here.v1:
        done = runtime.call("run", "--bundle", str(bundle.save()), name())
        assert done.returncode == 1
        assert "/annotations/run.oci.systemd.force_cgroup_v1: the hierarchy name=systemd isn't" in done.stderr
        return
    seen = run(runtime, bundle)
    assert seen.below("/ro") == ["/ro", "/ro/systemd"]
    assert len(seen.below("/rw")) == 1 + len(here.hierarchies)
    assert "own /ro/systemd" in seen.found


def only_roots() -> bool:
    """Whether the shared hierarchies have no cgroup any more, not even a removed one with references.

    The kernel keeps a hierarchy for good that is unmounted before.
    """
    counted = (line.split() for line in Path("/proc/cgroups").read_text().splitlines())
    return {number for name, _, number, _ in counted if name in ("freezer", "net_cls")} == {"1"}


@pytest.fixture
def shared_hierarchies() -> Iterator[Layout]:
    """v1 as distributions had it, with controllers that share hierarchies: those that cgroup2 hasn't."""
    if layout.detect().mode != "v2":
        pytest.skip("this machine's v1 hierarchies are there already, with one controller each")
    with own_mounts():
        top = "/sys/fs/cgroup"
        subprocess.run(["umount", top], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top], check=True)
        for place, data in (
            ("devices,freezer", "devices,freezer"), ("both", "net_cls,net_prio"),
            ("systemd", "none,name=systemd"),
        ):  # fmt: skip
            Path(top, place).mkdir()
            mount = ["mount", "-t", "cgroup", "-o", data, "cgroup", f"{top}/{place}"]
            if subprocess.run(mount, check=False, capture_output=True).returncode:
                pytest.skip(f"this kernel doesn't mount {data} as v1 hierarchies (cgroup_no_v1)")
        yield layout.detect()
        eventually(only_roots)


@pytest.mark.parametrize("namespace", [False, True], ids=["", "in a cgroup namespace"])
def test_hierarchies_that_controllers_share(
    runtime: Runtime, bundle: Bundle, shared_hierarchies: Layout, namespace: bool
) -> None:
    assert shared_hierarchies.mode == "v1"
    seen = run(runtime, asked(bundle, namespace=namespace))
    for point in ("/ro", "/rw"):
        assert {link for link in seen.found if link.startswith(f"link {point}")} == {
            f"link {point}/devices devices,freezer",
            f"link {point}/freezer devices,freezer",
            f"link {point}/net_cls both",
            f"link {point}/net_prio both",
        }
        for place in ("devices,freezer", "both", "systemd"):
            assert seen.mounts[f"{point}/{place}"]["root"] == ("/" if namespace else f"/{name()}")
            assert f"own {point}/{place}" in seen.found
    assert {"net_cls", "net_prio"} <= seen.mounts["/ro/both"]["super"]
    assert "ro" in seen.mounts["/ro"]["options"]
