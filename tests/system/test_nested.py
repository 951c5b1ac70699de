"""Containers in a container that pyoci has made: made by pyoci too, and by others to compare."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import DELEGATE, layout
from support.cgroups import eventually, membership
from support.containers import PYOCI, Bundle, Runtime, open_to_everyone
from support.machine_root import bind, give_machine

pytestmark = pytest.mark.layout

HERE = layout.detect()
STATE = "/run/nested"
# What divides its cgroup does so at first: one that gives controllers to others has no processes of its own.
DIVIDE = """
cd /sys/fs/cgroup && mkdir init && echo $$ > init/cgroup.procs
for name in $(cat cgroup.controllers); do echo +$name > cgroup.subtree_control; done
exec sleep 1000
"""


class Nested(Runtime):
    """A runtime in the container `outer`; the bundle there is at /bundle."""

    def __init__(self, outer: Runtime, program: str, bundle: Bundle) -> None:
        super().__init__(Path(STATE), program)
        self.outer = outer
        self.bundle = bundle

    def command(self, *args: str) -> list[str]:
        return self.outer.command("exec", "outer", self.program, "--root", STATE, *args)

    def within(self, *args: str) -> str:
        """Another program in `outer`; what it says."""
        return self.outer.ok("exec", "outer", *args)

    def start(self, *args: str) -> None:
        """The container `inner`, which runs this program and nobody waits for."""
        self.bundle.args(*args).save()
        self.detached("create", "--bundle", "/bundle", "inner")
        self.ok("start", "inner")

    def cgroups(self) -> list[Path]:
        """Where the containers of `outer` have their cgroups, as the host names it."""
        paths = membership(self.outer.state("outer")["pid"])
        mounts = {",".join(hierarchy.controllers): hierarchy.mount for hierarchy in HERE.hierarchies}
        # On v2 the first process of outer is in one below, so that the one above can have others.
        return [Path(mounts[names] + path.removesuffix("/init")) for names, path in paths.items()]

    def value(self, controller: str, *files: str) -> str:
        """What the first of these files that is there holds for `inner`, as the host sees it."""
        for directory in self.cgroups():
            for file in files:
                if (path := directory / "nested" / file).exists():
                    return path.read_text().strip()
        raise AssertionError(f"no file of {controller}'s")


Make = Callable[..., Nested]


@pytest.fixture
def make(runtime: Runtime, tmp_path: Path) -> Iterator[Make]:
    """Starts `outer`, after a change of its bundle, and gives the runtime in it."""

    def start(program: str = PYOCI, change: Callable[[Bundle], Any] = lambda bundle: None) -> Nested:
        outer, inner = give_machine(Bundle(tmp_path / "outer")), Bundle(tmp_path / "inner")
        inner.config["ociVersion"] = "1.0.2"
        inner.config["linux"]["cgroupsPath"] = "/nested"
        outer.config["mounts"].append(bind(inner.path, at="/bundle"))
        if HERE.mode == "v2":
            outer.shell(DIVIDE)
        change(outer)
        runtime.create(outer, "outer")
        runtime.ok("start", "outer")
        name = Path(f"/proc/{runtime.state('outer')['pid']}/comm")
        eventually(lambda: name.read_text() == "sleep\n")
        return Nested(runtime, program, inner)

    yield start
    runtime.ok("delete", "--force", "outer")


@pytest.fixture(params=["pyoci", "runc", "crun"])
def nested(request: pytest.FixtureRequest, make: Make) -> Nested:
    program = PYOCI if request.param == "pyoci" else shutil.which(request.param)
    if not program:
        pytest.skip(f"{request.param} isn't installed")
    return make(program)


def test_run(nested: Nested) -> None:
    nested.bundle.shell("echo out; hostname; cat /proc/self/cgroup; exit 5").save()
    done = nested.call("run", "--bundle", "/bundle", "inner")
    assert done.returncode == 5, done.stderr
    out, name, *groups = done.stdout.splitlines()
    assert (out, name) == ("out", "box")
    assert groups and all(group.endswith(":/") for group in groups)  # its own, wherever that is


def test_from_create_to_delete(nested: Nested) -> None:
    linux = nested.bundle.config["linux"]
    linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}, "cpu": {"shares": 512}}
    nested.start("sleep", "1000")
    assert nested.state("inner")["status"] == "running"
    assert nested.value("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert nested.value("pids", "pids.max") == "30"
    assert nested.ok("exec", "inner", "cat", "/proc/1/cmdline") == "sleep\x001000\x00"
    assert nested.call("exec", "inner", "sh", "-c", "exit 9").returncode == 9
    nested.ok("pause", "inner")
    eventually(lambda: nested.state("inner")["status"] == "paused")
    nested.ok("resume", "inner")
    nested.ok("kill", "inner", "KILL")
    eventually(lambda: nested.state("inner")["status"] == "stopped")
    nested.ok("delete", "inner")
    assert not [path for path in nested.cgroups() if (path / "nested").exists()]


def test_a_user_namespace_in_a_container(nested: Nested) -> None:
    """Whose users are the container's, and by that the host's."""
    nested.bundle.in_user_namespace().shell("cat /proc/self/uid_map").save()
    done = nested.call("run", "--bundle", "/bundle", "inner")
    assert done.stdout.split() == ["0", "100000", "65536"], done.stderr


def test_the_outer_ones_end_is_everybodys(make: Make) -> None:
    """Nothing stays of what was made in it, however it ends."""
    nested = make()
    nested.start("sleep", "1000")
    groups = nested.cgroups()
    assert any((path / "nested").exists() for path in groups)
    nested.outer.ok("delete", "--force", "outer")
    assert not [path for path in groups if path.exists()]


def test_a_container_in_a_container_in_a_container(make: Make) -> None:
    """The innermost is made from the same bundle, by a pyoci in a container that a pyoci in one has made."""
    nested = make()
    middle, innermost = give_machine(Bundle(nested.bundle.path / "middle")), nested.bundle
    innermost.shell("echo deep; exit 4").save()
    middle.config["mounts"].append(bind("/bundle", at="/bundle"))
    middle.args(PYOCI, "--root", STATE, "run", "--bundle", "/bundle", "innermost").save()
    if HERE.mode == "v2":
        middle.config["annotations"] = {DELEGATE: "init"}
        middle.save()
    done = nested.call("run", "--bundle", "/bundle/middle", "middle")
    assert (done.returncode, done.stdout) == (4, "deep\n"), done.stderr


def covered(bundle: Bundle) -> None:
    bundle.config["linux"].update(maskedPaths=["/proc/kcore"], readonlyPaths=["/proc/sys"])


def test_a_covered_proc_is_told(make: Make) -> None:
    """The kernel gives a user namespace no proc where the one there is covered in parts. Which ones, is said;
    and the remedy that is named is one."""
    nested = make(change=covered)
    bundle = nested.bundle.in_user_namespace()
    bundle.args("cat", "/proc/self/status").save()
    done = nested.call("run", "--bundle", "/bundle", "inner")
    assert done.returncode == 1
    for phrase in ("/mounts/0", "covered", "/proc/sys", "bind /proc, with rbind"):
        assert phrase in done.stderr, done.stderr
    bundle.config["mounts"][0] = bind("/proc")
    bundle.save()
    assert nested.call("run", "--bundle", "/bundle", "inner").returncode == 0


class TestInAUserNamespace:
    """`outer` has one of its own: root there is nobody on the host."""

    @pytest.fixture
    def unprivileged(self, make: Make, request: pytest.FixtureRequest) -> Nested:
        def change(bundle: Bundle) -> None:
            bundle.in_user_namespace()
            for path in (bundle.path.parent / "inner", bundle.rootfs):
                for each in (path, *path.rglob("*")):
                    shutil.chown(each, 100000, 100000) if not each.is_symlink() else None
            prefix = bundle.rootfs / PYOCI.lstrip("/")
            prefix.parent.parent.mkdir(parents=True, exist_ok=True)
            open_to_everyone(bundle.path.parent / "inner")

        return make(PYOCI, change)

    def test_run(self, unprivileged: Nested) -> None:
        del unprivileged.bundle.config["linux"]["cgroupsPath"]
        unprivileged.bundle.shell("cat /proc/self/uid_map; stat -c %u:%F /dev/null; exit 5").save()
        done = unprivileged.call("run", "--bundle", "/bundle", "inner")
        assert done.returncode == 5, done.stderr
        assert done.stdout.split() == ["0", "100000", "65536", "65534:character", "special", "file"]

    def test_sysfs_without_a_network_of_its_own(self, unprivileged: Nested) -> None:
        """Only the owner of the network namespace may mount one: what is there is bound in its place."""
        linux = unprivileged.bundle.config["linux"]
        del linux["cgroupsPath"]
        linux["namespaces"] = [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc")]
        mapping = [{"containerID": 0, "hostID": 0, "size": 1000}]
        linux.update(uidMappings=mapping, gidMappings=mapping)
        unprivileged.bundle.shell("ls /sys/kernel >/dev/null && ! touch /sys/x && echo seen").save()
        done = unprivileged.call("run", "--bundle", "/bundle", "inner")
        assert done.stdout == "seen\n", done.stderr

    def test_a_user_namespace_of_its_own(self, unprivileged: Nested) -> None:
        linux = unprivileged.bundle.config["linux"]
        del linux["cgroupsPath"]
        mapping = [{"containerID": 0, "hostID": 1000, "size": 100}]
        linux.update(uidMappings=mapping, gidMappings=mapping)
        linux["namespaces"].append({"type": "user"})
        unprivileged.bundle.shell("cat /proc/self/uid_map").save()
        done = unprivileged.call("run", "--bundle", "/bundle", "inner")
        assert done.stdout.split() == ["0", "1000", "100"], done.stderr

    def test_limits(self, unprivileged: Nested) -> None:
        """On v2 its cgroup is its own to divide; v1's are nobody's but the host's root."""
        unprivileged.bundle.config["linux"]["resources"] = {"pids": {"limit": 30}}
        if HERE.mode != "v2":
            unprivileged.bundle.args("true").save()
            done = unprivileged.call("run", "--bundle", "/bundle", "inner")
            assert done.returncode == 1
            assert "/linux/cgroupsPath: no right to make the cgroup" in done.stderr
            return
        unprivileged.start("sleep", "1000")
        assert unprivileged.value("pids", "pids.max") == "30"
        unprivileged.ok("delete", "--force", "inner")


def test_the_state_of_a_nested_one_names_it(make: Make) -> None:
    """Process ids are those of the namespace in which pyoci is."""
    nested = make()
    nested.start("sleep", "1000")
    pid = nested.state("inner")["pid"]
    assert nested.within("cat", f"/proc/{pid}/cmdline") == "sleep\x001000\x00"
    assert pid in json.loads(nested.ok("ps", "--format", "json", "inner"))
