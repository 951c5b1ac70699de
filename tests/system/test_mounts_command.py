"""`mounts add` and `mounts remove`: the mounts of a container that runs already."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime

pytestmark = pytest.mark.usefixtures("box")


@pytest.fixture(params=["host's users", "user namespace"])
def box(runtime: Runtime, bundle: Bundle, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A running container, with and without a user namespace, and a directory to be shown to it."""
    if request.param == "user namespace":
        bundle.in_user_namespace()
        for name in ("", "tmp", "etc"):
            os.chown(bundle.rootfs / name, 100000, 100000)
    bundle.config["process"]["cwd"] = "/tmp"
    runtime.detached("run", "--detach", "--bundle", str(bundle.args("sleep", "300").save()), "box")
    (tmp_path / "source/deep").mkdir(parents=True)
    (tmp_path / "source/file").write_text("hello")
    (tmp_path / "source").chmod(0o755)
    yield
    runtime.call("delete", "--force", "box")


def bind(source: Path, destination: str, *options: str, **more: Any) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["bind", *options], **more}


def listed(tmp_path: Path, *mounts: Any) -> str:
    path = tmp_path / "mounts.json"
    path.write_text(json.dumps({"mounts": mounts}))
    return str(path)


def add(runtime: Runtime, tmp_path: Path, *mounts: Any) -> None:
    assert runtime.ok("mounts", "add", "box", listed(tmp_path, *mounts)) == ""


def refused(runtime: Runtime, verb: str, path: str) -> str:
    before = mountinfo(runtime)
    done = runtime.call("mounts", verb, "box", path)
    assert done.returncode == 1
    assert mountinfo(runtime) == before, "nothing has changed"
    return done.stderr


def inside(runtime: Runtime, script: str) -> str:
    return runtime.ok("exec", "box", "sh", "-c", script).strip()


def mountinfo(runtime: Runtime) -> str:
    return Path(f"/proc/{runtime.state('box')['pid']}/mountinfo").read_text()


def mounted(runtime: Runtime) -> dict[str, tuple[str, str, str]]:
    """Mount point -> options, propagation, filesystem; of what is on top."""
    found = {}
    for line in mountinfo(runtime).splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        found[words[4]] = (words[5], " ".join(words[6:]), rest.split()[0])
    return found


def test_a_bind(runtime: Runtime, tmp_path: Path) -> None:
    """Its target is made, and the program that runs already sees it."""
    add(runtime, tmp_path, bind(tmp_path / "source", "/made/here", "ro", "nosuid"))
    assert inside(runtime, "cat /made/here/file") == "hello"
    options, propagation, _ = mounted(runtime)["/made/here"]
    assert {"ro", "nosuid"} <= set(options.split(","))
    assert "shared" not in propagation
    pid = runtime.state("box")["pid"]
    assert Path(f"/proc/{pid}/root/made/here/file").read_text() == "hello"


def test_filesystems_of_its_own(runtime: Runtime, tmp_path: Path) -> None:
    add(
        runtime,
        tmp_path,
        {"destination": "/tmp/fs", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=711"]},
        {"destination": "/tmp/fs/proc", "type": "proc", "source": "proc"},
    )
    assert inside(runtime, "stat -c '%a %u' /tmp/fs") == "711 0"
    assert inside(runtime, "cat /tmp/fs/proc/1/comm") == "sleep", "that of its own pid namespace"
    assert [mounted(runtime)[point][2] for point in ("/tmp/fs", "/tmp/fs/proc")] == ["tmpfs", "proc"]


def test_a_tmpfs_begins_with_what_it_covers(runtime: Runtime, tmp_path: Path) -> None:
    covering = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    before = inside(runtime, "ls -ln /etc; cat /etc/passwd")
    add(runtime, tmp_path, covering)
    assert mounted(runtime)["/etc"][2] == "tmpfs"
    assert inside(runtime, "ls -ln /etc; cat /etc/passwd") == before


def test_an_option_without_effect_is_a_warning(runtime: Runtime, tmp_path: Path) -> None:
    path = listed(tmp_path, bind(tmp_path / "source", "/made", "sync"))
    done = runtime.call("mounts", "add", "box", path)
    assert done.returncode == 0
    assert "/mounts/0/options/1: sync has no effect on a bind mount" in done.stderr


def test_one_file_and_a_relative_source(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "beside").write_text("the bundle's")
    add(runtime, tmp_path, bind(Path("beside"), "/etc/beside"))
    assert inside(runtime, "cat /etc/beside") == "the bundle's"
    runtime.ok("mounts", "remove", "box", listed(tmp_path, {"destination": "/etc/beside"}))
    assert inside(runtime, "cat /etc/beside") == ""


def test_propagation_and_what_is_below(runtime: Runtime, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "source/deep")], check=True)
    add(
        runtime, tmp_path,
        bind(tmp_path / "source", "/tmp/all", "rbind", "rshared"), bind(tmp_path / "source", "/tmp/one"),
    )  # fmt: skip
    subprocess.run(["umount", str(tmp_path / "source/deep")], check=True)
    found = mounted(runtime)
    assert "shared" in found["/tmp/all"][1]
    assert "/tmp/all/deep" in found and "/tmp/one/deep" not in found


def test_idmapped(runtime: Runtime, tmp_path: Path) -> None:
    os.chown(tmp_path / "source/file", 7, 8)
    ids = [{"containerID": 0, "hostID": 100000, "size": 100}]
    add(
        runtime,
        tmp_path,
        bind(tmp_path / "source", "/tmp/mapped", uidMappings=ids, gidMappings=ids),
        bind(tmp_path / "source", "/tmp/other", "idmap=uids=@7-70-1;gids=@8-80-1"),
    )
    expected = "7 8" if "100000" in inside(runtime, "cat /proc/self/uid_map") else "100007 100008"
    assert inside(runtime, "stat -c '%u %g' /tmp/mapped/file") == expected
    assert inside(runtime, "stat -c '%u %g' /tmp/other/file") == "70 80"


def test_cgroups(runtime: Runtime, tmp_path: Path) -> None:
    add(runtime, tmp_path, {"destination": "/tmp/cgroup", "type": "cgroup", "source": "cgroup"})
    found = mounted(runtime)
    assert found["/tmp/cgroup"][2] in ("tmpfs", "cgroup2")
    assert any(kind.startswith("cgroup") for place, (*_, kind) in found.items() if "/tmp/cgroup" in place)


def test_a_symbolic_link_is_copied(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "source/link").symlink_to("/no/where")
    link = bind(tmp_path / "source/link", "/tmp/link", "copy-symlink")
    add(runtime, tmp_path, link)
    assert inside(runtime, "ls -l /tmp/link").endswith("/tmp/link -> /no/where")
    add(runtime, tmp_path, link)
    (tmp_path / "source/link").unlink()
    (tmp_path / "source/link").symlink_to("/else/where")
    assert "/mounts/0: can't link /tmp/link" in refused(runtime, "add", listed(tmp_path, link))


def test_links_in_the_container_lead_nowhere_else(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Neither absolute ones, nor up, nor its own /proc/self/root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "tmp/absolute").symlink_to(outside)
    (bundle.rootfs / "tmp/up").symlink_to("../" * 30 + str(outside).lstrip("/"))
    add(runtime, tmp_path, bind(tmp_path / "source", "/tmp/absolute"), bind(tmp_path / "source", "/tmp/up"))
    assert inside(runtime, f"cat {outside}/file") == "hello", "in the container's own tree"
    assert os.listdir(outside) == []
    (bundle.rootfs / "tmp/magic").symlink_to("/proc/1/root")
    assert "/mounts/0" in refused(runtime, "add", listed(tmp_path, bind(tmp_path / "source", "/tmp/magic/x")))


def test_an_array_alone_and_a_whole_configuration(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "mounts.json"
    path.write_text(json.dumps([bind(tmp_path / "source", "/tmp/a")]))
    runtime.ok("mounts", "add", "box", str(path))
    runtime.ok("mounts", "remove", "box", str(path))
    path.write_text(json.dumps({"ociVersion": "1.3.0", "mounts": [bind(tmp_path / "source", "/tmp/a")]}))
    runtime.ok("mounts", "add", "box", str(path))
    assert "/tmp/a" in mounted(runtime)


# ------------------------------------------------------------------- removing


def test_removal(runtime: Runtime, tmp_path: Path) -> None:
    """In the opposite order, and all that is mounted there with it."""
    before = mounted(runtime)
    path = listed(
        tmp_path,
        bind(tmp_path / "source", "/tmp/a"),
        {"destination": "/tmp/a/deep", "type": "tmpfs", "source": "tmpfs"},
    )
    runtime.ok("mounts", "add", "box", path)
    runtime.ok("mounts", "remove", "box", path)
    assert mounted(runtime) == before
    runtime.ok("mounts", "add", "box", path)
    runtime.ok("mounts", "remove", "box", listed(tmp_path, {"destination": "/tmp/a"}))
    assert mounted(runtime) == before


def test_removal_of_what_is_in_use(runtime: Runtime, tmp_path: Path) -> None:
    """It goes at once; who has it open keeps it."""
    path = listed(tmp_path, bind(tmp_path / "source", "/tmp/a"))
    runtime.ok("mounts", "add", "box", path)
    runtime.detached("exec", "--detach", "--cwd", "/tmp/a", "box", "sleep", "300")
    runtime.ok("mounts", "remove", "box", path)
    assert "/tmp/a" not in mounted(runtime)
    assert inside(runtime, "ls /tmp/a") == ""


def test_removal_through_a_link(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.rootfs / "tmp/link").symlink_to("a")
    (bundle.rootfs / "tmp/a").mkdir()
    runtime.ok("mounts", "add", "box", listed(tmp_path, bind(tmp_path / "source", "/tmp/link")))
    assert "/tmp/a" in mounted(runtime)
    runtime.ok("mounts", "remove", "box", listed(tmp_path, {"destination": "/tmp/link"}))
    assert "/tmp/a" not in mounted(runtime)


@pytest.mark.parametrize(
    ("destination", "phrases"),
    [
        ("/tmp", ("can't unmount /tmp: umount2: invalid argument", "nothing that can be unmounted")),
        ("/bin/busybox", ("umount2: invalid argument", "nothing that can be unmounted")),
        ("/none", ("no such file or directory", "nothing that can be unmounted")),
        ("/", ("it is the container's root",)),
        ("/proc/../tmp/..", ("it is the container's root",)),
    ],
)
def test_what_cant_be_removed(
    runtime: Runtime, tmp_path: Path, destination: str, phrases: tuple[str, ...]
) -> None:
    said = refused(runtime, "remove", listed(tmp_path, {"destination": destination}))
    assert "/mounts/0/destination: can't unmount" in said
    for phrase in phrases:
        assert phrase in said


# ------------------------------------------------------------------- what can't be


WRONG = {"destination": "/tmp/a", "type": "tmpfs", "source": "x", "options": ["sise=1"]}
PROC = bind(Path("/proc"), "/tmp/a", "idmap=uids=0-1-1;gids=0-1-1")
# the second mount of the file, the property that is named, what is said
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no source": ({"destination": "/tmp/a", "options": ["bind"]}, "/source", "nothing was found"),
    "a source of the container's": (bind(Path("/tmp/first"), "/tmp/a"), "/source", "on the host"),
    "a missing source": (bind(Path("/no/such"), "/tmp/a"), "/source", "must exist on the host"),
    "no destination": ({"source": "/x"}, "/destination", "required"),
    "the root": (bind(Path("/etc"), "/"), "/destination", "a path below /"),
    "the root by a detour": (
        bind(Path("/etc"), "/tmp/.."),
        "/destination",
        "the target is the container's root",
    ),
    "an unknown filesystem": ({"destination": "/tmp/a", "type": "nofs"}, "/type", "/proc/filesystems"),
    "a wrong option": (WRONG, "/options", "sise"),
    "a file on a directory": (bind(Path("/etc/passwd"), "/tmp"), "/destination", "a file on a file"),
    "an unmappable one": (PROC, "/options/1", "of type proc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_after_a_failure_nothing_stays(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """Not even what came before it in the file."""
    mount, pointer, phrase = REFUSED[name]
    first = {"destination": "/tmp/first", "type": "tmpfs", "source": "tmpfs"}
    said = refused(runtime, "add", listed(tmp_path, first, mount))
    assert f"/mounts/1{pointer}: " in said and phrase in said


def test_files_that_hold_no_mounts(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "mounts.json"
    assert f"can't read the file of mounts {path}: no such file" in refused(runtime, "add", str(path))
    for text in ('{"mount": []}', "3", '"mounts"'):
        path.write_text(text)
        assert f"{path} has no mounts" in refused(runtime, "remove", str(path))
    path.write_text("[")
    assert "mounts.json" in refused(runtime, "add", str(path))


def test_the_words_of_the_command(runtime: Runtime, tmp_path: Path) -> None:
    done = runtime.call("mounts", "move", "box", listed(tmp_path))
    assert done.returncode == 1 and "mounts can't 'move'" in done.stderr
    assert "requires exactly 3" in runtime.call("mounts", "add", "box").stderr
    assert "does not exist" in runtime.call("mounts", "add", "nobody", listed(tmp_path)).stderr


def test_states(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """A created container and a paused one have mounts, a stopped one has none."""
    path = listed(tmp_path, bind(tmp_path / "source", "/tmp/a"))
    runtime.ok("pause", "box")
    runtime.ok("mounts", "add", "box", path)
    runtime.ok("resume", "box")
    assert "/tmp/a" in mounted(runtime)
    runtime.ok("delete", "--force", "box")
    runtime.create(bundle.shell("cat /tmp/a/file > /tmp/seen"), "box")
    runtime.ok("mounts", "add", "box", path)
    runtime.ok("start", "box")
    while runtime.state("box")["status"] != "stopped":
        continue
    assert (bundle.rootfs / "tmp/seen").read_text() == "hello"
    for verb in ("add", "remove"):
        done = runtime.call("mounts", verb, "box", path)
        assert done.returncode == 1
        assert "cannot change the mounts of container box: it is stopped" in done.stderr
