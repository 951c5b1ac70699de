"""maskedPaths and readonlyPaths, as a process in the container sees them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime

MOUNTINFO = "cat /proc/self/mountinfo"


def seen(runtime: Runtime, bundle: Bundle, script: str) -> str:
    path = str(bundle.shell(script).save())
    return runtime.call("run", "--bundle", path, "masked", stderr=subprocess.STDOUT).stdout


def mount_of(mountinfo: str, point: str) -> list[str]:
    """The fields of the topmost mount on a path."""
    found = [line.split() for line in mountinfo.splitlines() if line.split()[4:5] == [point]]
    assert found, f"nothing is mounted on {point}"
    return found[-1]


def tmpfs(bundle: Bundle, destination: str, *options: str) -> None:
    entry = {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}
    bundle.config["mounts"].append(entry)


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    """With two directories and two files to hide."""
    for name in ("one", "two"):
        (bundle.rootfs / f"secret-{name}").mkdir()
        (bundle.rootfs / f"secret-{name}/file").write_text("a secret")
        (bundle.rootfs / f"etc/secret-{name}").write_text("a secret")
    paths = ["/secret-one", "/secret-two/", "/etc/secret-one", "/etc/secret-two"]
    bundle.config["linux"].update(maskedPaths=paths, readonlyPaths=[])
    return bundle


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_what_is_masked_is_empty_and_stays_so(runtime: Runtime, bundle: Bundle, user: bool) -> None:
    if user:
        bundle.in_user_namespace()
    said = seen(runtime, bundle, "ls -A /secret-*; cat /etc/secret-*; touch /secret-one/x; " + MOUNTINFO)
    assert "a secret" not in said
    assert "file\n" not in said
    assert "touch: /secret-one/x: Read-only file system" in said
    for point in ("/secret-one", "/secret-two"):
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount_of(said, point)[5].split(","))
    for point in ("/etc/secret-one", "/etc/secret-two"):
        assert mount_of(said, point)[3].endswith("/null")
        assert {"ro", "nosuid", "noexec"} <= set(mount_of(said, point)[5].split(","))


def test_directories_share_one_tmpfs(runtime: Runtime, bundle: Bundle) -> None:
    """A superblock less for each: one mount a masked directory, all of the same device."""
    names = [f"secret-{number}" for number in range(20)]
    for name in names:
        (bundle.rootfs / name).mkdir()
    bundle.config["linux"]["maskedPaths"] += [f"/{name}" for name in names]
    lines = [line.split() for line in seen(runtime, bundle, MOUNTINFO).splitlines()]
    masks = [line for line in lines if line[4].startswith("/secret-")]
    assert len(masks) == 22
    assert len({line[2] for line in masks}) == 1
    assert {line[3] for line in masks} == {"/"}


def test_a_link_is_masked_itself(runtime: Runtime, bundle: Bundle) -> None:
    """Whoever made it doesn't choose what else is hidden; on the way there links are followed."""
    (bundle.rootfs / "etc/link").symlink_to("passwd")
    (bundle.rootfs / "etc/directory").symlink_to("/tmp")
    (bundle.rootfs / "etc/dangling").symlink_to("/no/such")
    (bundle.rootfs / "way").symlink_to("secret-one")
    (bundle.rootfs / "tmp/kept").write_text("kept\n")
    links = ["/etc/link", "/etc/directory/", "/etc/dangling", "/proc/net"]
    bundle.config["linux"]["maskedPaths"] = [*links, "/way/file"]
    said = seen(
        runtime,
        bundle,
        "cat /etc/link /etc/dangling /proc/net; ls /etc/directory/; ls /proc/net/;"
        "cat /secret-one/file; cat /tmp/kept; head -n1 /etc/passwd || cat /etc/passwd",
    )
    assert "kept\n" in said and "root:x:0:0" in said
    assert "ls: /etc/directory/: Not a directory" in said
    assert "ls: /proc/net/: Not a directory" in said
    assert "a secret" not in said
    for index, link in enumerate(links):
        name = link.rstrip("/")
        assert f"warning: /linux/maskedPaths/{index}: {name} is a symbolic link: it is masked" in said


def test_what_is_missing_needs_no_mask(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"].update(
        maskedPaths=["/no/such", "/etc/passwd/x", "/etc"], readonlyPaths=["/no/such", "/etc/passwd/x"]
    )
    assert seen(runtime, bundle, "ls -A /etc; echo done") == "done\n"


def test_without_a_null_device_files_are_masked_with_the_hosts(runtime: Runtime, bundle: Bundle) -> None:
    """Of which nothing can be changed from there."""
    empty = bundle.path / "empty"
    empty.mkdir()
    mounts = [entry for entry in bundle.config["mounts"] if not entry["destination"].startswith("/dev")]
    bind = {"destination": "/dev", "type": "bind", "source": str(empty), "options": ["rbind"]}
    bundle.config["mounts"] = [*mounts, bind]
    before = os.stat("/dev/null")
    (bundle.rootfs / "bin/chown").symlink_to("busybox")
    said = seen(runtime, bundle, "ls /dev; cat /etc/secret-one; chown 5 /etc/secret-two; echo done")
    assert said == "chown: /etc/secret-two: Read-only file system\ndone\n"
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode) == (before.st_uid, before.st_mode)


def test_read_only_paths(runtime: Runtime, bundle: Bundle) -> None:
    """The flags of the mount are kept, and so are the mounts below; links are followed, within the root."""
    tmpfs(bundle, "/data", "nosuid", "noexec", "nodev", "noatime", "mode=777")
    tmpfs(bundle, "/data/below", "mode=777")
    (bundle.rootfs / "tmp/real").mkdir()
    (bundle.rootfs / "tmp/link").symlink_to("/../tmp/real")
    (bundle.rootfs / "tmp/outside").symlink_to(bundle.path)
    (bundle.rootfs / "tmp/file").write_text("")
    bundle.config["linux"]["readonlyPaths"] = [
        "/data", "/tmp/link", "/tmp/file", "/tmp/outside", "/proc/sys", "/data",
    ]  # fmt: skip
    said = seen(
        runtime,
        bundle,
        "touch /data/x; touch /tmp/real/x; touch /tmp/file; touch /tmp/x; touch /data/below/x && echo below;"
        "echo x > /proc/sys/kernel/domainname; " + MOUNTINFO,
    )
    for path in ("/data/x", "/tmp/real/x", "/tmp/file"):
        assert f"touch: {path}: Read-only file system" in said
    assert "can't create /proc/sys/kernel/domainname: Read-only file system" in said
    assert "touch: /tmp/x" not in said
    assert "below\n" in said
    assert mount_of(said, "/data")[5] == "ro,nosuid,nodev,noexec,noatime"
    assert "rw" in mount_of(said, "/data/below")[5].split(",")
    assert not [path for path in os.listdir(bundle.path) if path not in ("config.json", "rootfs")]


def test_the_whole_root_read_only_by_a_path(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["readonlyPaths"] = ["/"]
    said = seen(runtime, bundle, "touch /x; touch /dev/x && echo dev")
    assert said == "touch: /x: Read-only file system\ndev\n"


def test_a_masked_path_can_lie_on_a_read_only_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["readonlyPaths"] = ["/etc", "/secret-one"]
    said = seen(runtime, bundle, "cat /etc/secret-*; ls -A /secret-one; touch /etc/x")
    assert said == "touch: /etc/x: Read-only file system\n"


def test_the_hosts_own_files_stay_as_they_are(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Masking a volume hides it from the container only."""
    volume = tmp_path / "volume"
    (volume / "directory").mkdir(parents=True)
    (volume / "directory/file").write_text("a secret")
    (volume / "file").write_text("a secret")
    bind = {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["rbind", "rshared"]}
    bundle.config["mounts"].append(bind)
    bundle.config["linux"]["maskedPaths"] = ["/volume/directory", "/volume/file"]
    assert seen(runtime, bundle, "cat /volume/file /volume/directory/*").count("a secret") == 0
    assert (volume / "file").read_text() == "a secret"
    assert (volume / "directory/file").read_text() == "a secret"
