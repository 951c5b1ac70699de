"""/dev, linux.devices, and the links and nodes that every container has."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime
from support.documents import SCHEMAS

# name, type, major, minor; config-linux.md#default-devices
DEFAULTS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
# runtime-linux.md#dev-symbolic-links
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


def device(path: str, kind: str = "c", major: int = 1, minor: int = 3, **properties: int) -> dict[str, Any]:
    numbers = {} if kind == "p" else {"major": major, "minor": minor}
    return {"path": path, "type": kind, **numbers, **properties}


def without(bundle: Bundle, *destinations: str) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] not in destinations]


def run(runtime: Runtime, bundle: Bundle) -> str:
    done = runtime.call("run", "--bundle", str(bundle.save()), "nodes")
    return done.stdout + done.stderr


def described(runtime: Runtime, bundle: Bundle, *paths: str) -> dict[str, str]:
    """path -> its kind, numbers, mode and owner, in stat's words."""
    bundle.args("stat", "-c", "%n %F %t:%T %a %u:%g", *paths)
    lines = [line for line in run(runtime, bundle).splitlines() if line.startswith("/")]
    return dict(line.split(" ", 1) for line in lines)


@pytest.mark.parametrize("image", [False, True], ids=["tmpfs", "of the image"])
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_every_container_has_these(runtime: Runtime, bundle: Bundle, image: bool, user: bool) -> None:
    if image:
        without(bundle, "/dev")
        (bundle.rootfs / "dev/pts").mkdir()
        bundle.rootfs.joinpath("dev").chmod(0o777)
    if user:
        bundle.in_user_namespace()
    found = described(runtime, bundle, *(f"/dev/{name}" for name in (*DEFAULTS, *LINKS, "ptmx")))
    for name, number in DEFAULTS.items():
        kind, numbers, mode, _ = found[f"/dev/{name}"].rsplit(" ", 3)
        assert (kind, numbers, mode) == ("character special file", number, "666")
    for name in (*LINKS, "ptmx"):
        assert found[f"/dev/{name}"].startswith("symbolic link")
    bundle.shell("for n in fd stdin stdout stderr ptmx core; do readlink /dev/$n; done")
    (bundle.rootfs / "bin/readlink").symlink_to("busybox")
    core = ["/proc/kcore"] if os.path.exists("/proc/kcore") else []
    assert run(runtime, bundle).split() == [*LINKS.values(), "pts/ptmx", *core]


def test_the_default_devices_work(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "bin/head").symlink_to("busybox")
    (bundle.rootfs / "bin/wc").symlink_to("busybox")
    bundle.shell(
        "echo x > /dev/null; cat /dev/null; head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c;"
        "echo x > /dev/full; echo to > /dev/stdout; ls /dev/fd/ > /dev/null && echo fd"
    )
    said = run(runtime, bundle)
    assert "5\n5\n" in said and "to\nfd\n" in said
    assert "No space left on device" in said


DEVICES = [
    device("/dev/x", fileMode=0o640, uid=5, gid=6),
    device("/dev/u", "u", 1, 5),
    device("/dev/b", "b", 7, 9, fileMode=0o604),
    device("/dev/pipe", "p", fileMode=0o600, uid=7),
    device("/opt/deep/z", minor=9, fileMode=0o1777),
    device("/dev/with/type", fileMode=0o20600),  # as stat(2) has it, and podman writes it
]


def test_every_type_is_here() -> None:
    schema = json.loads((SCHEMAS / "config-schema.json").read_text())
    entry = schema["definitions"]["linux"]["properties"]["devices"]["items"]
    assert {device["type"] for device in DEVICES} == set(entry["properties"]["type"]["enum"])


def test_devices(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["devices"] = DEVICES
    bundle.config["process"]["umask"] = 0o077
    assert described(runtime, bundle, *(entry["path"] for entry in DEVICES)) == {
        "/dev/x": "character special file 1:3 640 5:6",
        "/dev/u": "character special file 1:5 666 0:0",
        "/dev/b": "block special file 7:9 604 0:0",
        "/dev/pipe": "fifo 0:0 600 7:0",
        "/opt/deep/z": "character special file 1:9 1777 0:0",
        "/dev/with/type": "character special file 1:3 600 0:0",
    }


def test_an_asked_one_instead_of_a_default(runtime: Runtime, bundle: Bundle) -> None:
    """However its path is written."""
    bundle.config["linux"]["devices"] = [
        device("/dev/./null", uid=5), device("//dev//zero", minor=5, fileMode=0o600), device("/dev/fd", "p"),
    ]  # fmt: skip
    assert described(runtime, bundle, "/dev/null", "/dev/zero", "/dev/fd") == {
        "/dev/null": "character special file 1:3 666 5:0",
        "/dev/zero": "character special file 1:5 600 0:0",
        "/dev/fd": "fifo 0:0 666 0:0",
    }


def test_one_that_is_there_already(runtime: Runtime, bundle: Bundle) -> None:
    """Is taken if it's this device, with the mode and owner asked for (config-linux.md#devices)."""
    os.mknod(bundle.rootfs / "there", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mkfifo(bundle.rootfs / "pipe")
    entries = [device("/there", uid=5, fileMode=0o640), device("/pipe", "p"), device("/there", uid=5)]
    bundle.config["linux"]["devices"] = entries[:2]
    assert described(runtime, bundle, "/there") == {"/there": "character special file 1:3 640 5:0"}
    bundle.config["linux"]["devices"] = entries  # the same twice: the last one's mode
    assert described(runtime, bundle, "/there") == {"/there": "character special file 1:3 666 5:0"}


@pytest.mark.parametrize("there", ["file", "directory", "link", "other device", "other type", "fifo"])
def test_something_else_is_there(runtime: Runtime, bundle: Bundle, there: str) -> None:
    """config-linux.md: an error; above all it's never followed, replaced or changed."""
    place = bundle.rootfs / "there"
    if there == "file":
        place.write_text("of the image")
    elif there == "directory":
        place.mkdir()
    elif there == "link":
        place.symlink_to("/dev/null")
    elif there == "fifo":
        os.mkfifo(place)
    else:
        kind = stat.S_IFBLK if there == "other type" else stat.S_IFCHR
        os.mknod(place, kind | 0o600, os.makedev(1, 3 if there == "other type" else 5))
    before = place.lstat()
    bundle.config["linux"]["devices"] = [device("/there", uid=5)]
    said = run(runtime, bundle)
    assert said.startswith("pyoci run: /linux/devices/0: "), said
    assert "/there: something else is there" in said
    after = place.lstat()
    assert (after.st_mode, after.st_uid, after.st_rdev) == (before.st_mode, before.st_uid, before.st_rdev)


# ------------------------------------------------------------------- in a user namespace


def test_in_a_user_namespace_a_device_is_the_hosts(runtime: Runtime, bundle: Bundle) -> None:
    """Bound, so it works; its mode and owner aren't the container's to choose, and that is said."""
    status = os.stat("/dev/full")
    own = {"fileMode": stat.S_IMODE(status.st_mode), "uid": 65534, "gid": 65534}
    bundle.in_user_namespace().config["linux"]["devices"] = [
        device("/dev/full", minor=7, **own),
        device("/dev/pipe", "p", fileMode=0o640, uid=3, gid=4),
        device("/dev/zero", minor=5, fileMode=0o640),
        device("/dev/random", minor=8, uid=3),
        device("/dev/urandom", minor=9, gid=3),
    ]
    bundle.shell("echo x > /dev/full; stat -c '%n %t:%T %a %u:%g' /dev/full /dev/pipe")
    said = run(runtime, bundle)
    assert "No space left on device" in said
    assert f"/dev/full 1:7 {own['fileMode']:o} 65534:65534\n/dev/pipe 0:0 640 3:4\n" in said
    warnings = [line for line in said.splitlines() if "warning" in line]
    assert len(warnings) == 3
    for index, line in zip((2, 3, 4), warnings, strict=True):
        assert line.startswith(f"pyoci run: warning: /linux/devices/{index}: in a user namespace the device")
        assert "with fileMode 438 (octal 666), uid 65534 and gid 65534" in line
    after = os.stat("/dev/full")
    assert (after.st_mode, after.st_uid, after.st_gid) == (status.st_mode, status.st_uid, status.st_gid)


@pytest.mark.parametrize(
    ("entry", "phrases"),
    [
        (device("/dev/nosuch"), ("the host's /dev/nosuch: no such file", "the host's own of the same path")),
        (device("/dev/full", minor=3), ("the host's /dev/full is 1:7", "the host's own of the same path")),
        (device("/dev/full", "b", minor=7), ("the host's /dev/full is no device of this type",)),
        (device("/etc/hostname"), ("the host's /etc/hostname is no device of this type",)),
    ],
    ids=["missing", "another number", "another type", "a file"],
)
def test_a_device_that_the_host_hasnt(
    runtime: Runtime, bundle: Bundle, entry: dict[str, Any], phrases: tuple[str, ...]
) -> None:
    bundle.in_user_namespace().config["linux"]["devices"] = [entry]
    said = run(runtime, bundle)
    assert said.startswith("pyoci run: /linux/devices/0: can't bind the host's device"), said
    assert all(phrase in said for phrase in phrases), said


@pytest.mark.parametrize("there", ["directory", "link"])
def test_something_else_is_there_in_a_user_namespace(runtime: Runtime, bundle: Bundle, there: str) -> None:
    without(bundle, "/dev", "/dev/pts")
    (bundle.rootfs / "etc/file").write_text("of the image")
    if there == "directory":
        (bundle.rootfs / "dev/full").mkdir()
    else:
        (bundle.rootfs / "dev/full").symlink_to("/etc/file")
    bundle.rootfs.joinpath("dev").chmod(0o777)
    bundle.in_user_namespace().config["linux"]["devices"] = [device("/dev/full", minor=7)]
    said = run(runtime, bundle)
    assert said.startswith("pyoci run: /linux/devices/0: "), said
    assert "/dev/full: something else is there" in said


# ------------------------------------------------------------------- what /dev itself may be


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "bind", "options": ["rbind"]},
        {"type": "none", "options": ["bind"]},
        {"type": "bind"},
        {"type": "bind", "destination": "/dev/"},
        {"type": "bind", "destination": "//./dev"},
        {"type": "bind", "destination": "dev"},
    ],
    ids=json.dumps,
)
def test_nothing_is_made_in_a_dev_that_is_bound(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """It may be the host's own: /dev/ptmx would be replaced there, for everybody."""
    hosts = tmp_path / "dev"
    hosts.mkdir()
    (hosts / "ptmx").write_text("of the host")
    without(bundle, "/dev", "/dev/pts")
    bundle.config["mounts"].append({"destination": "/dev", "source": str(hosts), **entry})
    bundle.config["linux"]["devices"] = [device("/dev/x"), device("/other/x")]
    bundle.shell("ls /dev /other")
    assert run(runtime, bundle).startswith("/dev:\nptmx\n\n/other:\nx\n")
    assert os.listdir(hosts) == ["ptmx"]


def test_a_read_only_dev_is_filled_first(runtime: Runtime, bundle: Bundle) -> None:
    entry = next(entry for entry in bundle.config["mounts"] if entry["destination"] == "/dev")
    entry["options"].append("ro")
    bundle.config["linux"]["devices"] = [device("/dev/x")]
    bundle.config["process"]["terminal"] = True
    bundle.shell("test -c /dev/null -a -c /dev/x -a -c /dev/console && echo nodes; touch /dev/y")
    assert run(runtime, bundle).splitlines() == ["nodes", "touch: /dev/y: Read-only file system"]


def test_dev_as_a_link_within_the_image(runtime: Runtime, bundle: Bundle) -> None:
    """Odd, but no harm: what is made is made where it leads."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to("tmp/elsewhere")
    bundle.shell(
        "test -c /tmp/elsewhere/null -a -c /dev/null && grep -c ' /tmp/elsewhere ' /proc/self/mountinfo"
    )
    assert run(runtime, bundle) == "1\n"


def test_a_missing_dev_is_made(runtime: Runtime, bundle: Bundle) -> None:
    without(bundle, "/dev", "/dev/pts")
    (bundle.rootfs / "dev").rmdir()
    bundle.shell("stat -c '%a %u:%g' /dev; test -c /dev/null && echo null")
    assert run(runtime, bundle) == "755 0:0\nnull\n"


def test_the_console_is_the_terminal(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.shell("stat -c %t:%T /dev/console /dev/pts/0; echo words > /dev/console")
    console, slave, words = run(runtime, bundle).split()
    assert console == slave == "88:0"
    assert words == "words"


def test_without_a_terminal_there_is_no_console(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("test -e /dev/console || echo none")
    assert run(runtime, bundle) == "none\n"
