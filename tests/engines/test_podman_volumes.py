"""podman's volumes and mounts: binds of every kind, named volumes, tmpfs, what is shared with the host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle
from support.podman import Podman


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    directory.mkdir()
    (directory / "file").write_text("content")
    return directory


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount of the host's that is shared with whoever binds it so."""
    directory = tmp_path / "shared"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    (directory / "below").mkdir()
    yield directory
    subprocess.run(["umount", "-R", directory], check=True)


def test_a_directory_and_a_file(podman: Podman, volume: Path) -> None:
    flags = ["-v", f"{volume}:/v", "-v", f"{volume}/file:/etc/motd:ro"]
    done = podman.run(*flags, "box", "sh", "-c", "cat /v/file /etc/motd; echo new > /v/new; echo > /etc/motd")
    assert done.stdout == "contentcontent" and "Read-only file system" in done.stderr
    assert (volume / "new").read_text() == "new\n"


def test_options(podman: Podman, volume: Path) -> None:
    (volume / "program").write_text("#!/bin/sh\necho ran\n")
    (volume / "program").chmod(0o755)
    flags = ["-v", f"{volume}:/v:ro,noexec,nosuid,nodev", "--mount", f"type=bind,src={volume},dst=/w,ro"]
    done = podman.run(
        *flags,
        "box",
        "sh",
        "-c",
        "touch /v/new; /v/program; touch /w/new; /w/program; grep ' /v ' /proc/mounts",
    )
    assert done.stderr.count("Read-only file system") == 2 and "/v/program: Permission denied" in done.stderr
    assert done.stdout.startswith("ran\n")
    assert {"ro", "noexec", "nosuid", "nodev"} <= set(done.stdout.split()[4].split(","))


def test_a_mount_below_comes_along(podman: Podman, shared: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "below"], check=True)
    (shared / "below/file").write_text("deep")
    done = podman.run(
        "-v", f"{shared}:/v:rbind", "box", "sh", "-c", "cat /v/below/file; touch /v/below/new && echo made"
    )
    assert done.stdout == "deepmade\n"
    done = podman.run("-v", f"{shared}:/v:bind", "box", "ls", "/v/below")
    assert done.stdout == "" or podman.runtime == "crun", (
        done
    )  # which takes what is mounted below all the same


def test_mounts_that_the_host_makes_later_come_by_rslave(podman: Podman, shared: Path) -> None:
    podman.start("box", "-v", f"{shared}:/v:rslave", "-v", f"{shared}:/w:rprivate")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "below"], check=True)
    (shared / "below/file").write_text("late")
    assert podman.ok("exec", "box", "cat", "/v/below/file") == "late"
    assert podman.call("exec", "box", "cat", "/w/below/file").returncode != 0


def test_mounts_that_the_container_makes_go_to_the_host_by_rshared(podman: Podman, shared: Path) -> None:
    flags = ["--cap-add", "sys_admin", "--security-opt", "seccomp=unconfined"]
    podman.start("box", "-v", f"{shared}:/v:rshared", *flags)
    podman.ok("exec", "box", "mount", "-t", "tmpfs", "none", "/v/below")
    podman.ok("exec", "box", "touch", "/v/below/seen")
    assert (shared / "below/seen").exists()


def test_an_idmapped_volume(podman: Podman, volume: Path) -> None:
    """Who owns a file on the host's disk owns it in the user namespace too, and what is made there."""
    if podman.runtime == "runc":
        pytest.skip("runc 1.1 has no idmapped mounts")
    os.chown(volume / "file", 5, 6)
    mapping = ["--uidmap", "0:200000:1000", "--gidmap", "0:200000:1000"]
    script = "stat -c %u:%g /v/file; touch /v/new; chown 7:8 /v/new"
    assert podman.sh(script, *mapping, "-v", f"{volume}:/v:idmap") == "5:6\n"
    made = (volume / "new").stat()
    assert (made.st_uid, made.st_gid) == (7, 8)
    plain = podman.run(*mapping, "-v", f"{volume}:/v", "box", "stat", "-c", "%u:%g", "/v/file")
    assert plain.stdout == "65534:65534\n"


def test_the_owner_of_a_volume_is_changed_if_asked(podman: Podman, volume: Path) -> None:
    assert podman.sh("stat -c %u:%g /v/file", "-v", f"{volume}:/v:U", "--user", "1000:50") == "1000:50\n"


def test_named_and_anonymous_volumes(podman: Podman) -> None:
    podman.ok("volume", "create", "data")
    podman.sh("echo kept > /v/file", "-v", "data:/v")
    assert podman.sh("cat /v/file", "-v", "data:/v:ro") == "kept\n"
    assert "root:x:0:0" in podman.sh(
        "cat /etc/passwd", "-v", "other:/etc"
    )  # a new one begins with what it covers
    podman.sh("touch /v/file", "-v", "/v")
    assert set(podman.ok("volume", "ls", "--quiet").split()) == {"data", "other"}


def test_volumes_of_another_container(podman: Podman, volume: Path) -> None:
    podman.start("box", "-v", f"{volume}:/v:ro")
    assert podman.sh("cat /v/file", "--volumes-from", "box") == "content"


def test_tmpfs(podman: Podman, bundle: Bundle) -> None:
    """podman asks such a mount to begin with what it covers, by tmpcopyup."""
    passwd = (bundle.rootfs / "etc/passwd").read_text()
    assert podman.sh("cat /etc/passwd; touch /etc/new", "--tmpfs", "/etc") == passwd
    options = "/t:size=1m,mode=1700,noexec"
    script = (
        "stat -c %a /t; head -c 2000000 /dev/zero > /t/file; stat -c %s /t/file; grep ' /t ' /proc/mounts"
    )
    done = podman.run("--tmpfs", options, "box", "sh", "-c", script)
    assert done.stdout.split()[:2] == ["1700", str(1 << 20)], done
    assert "noexec" in done.stdout and "size=1024k" in done.stdout


def test_shared_memory(podman: Podman) -> None:
    assert "size=4096k" in podman.sh("grep /dev/shm /proc/mounts", "--shm-size", "4m")


def test_files_that_podman_makes_itself(podman: Podman) -> None:
    flags = ["--hostname", "pod", "--add-host", "there:10.1.2.3"]
    lines = podman.sh(
        "cat /etc/hostname; echo; grep there /etc/hosts; test -e /run/.containerenv && echo env", *flags
    )
    assert lines.split() == ["pod", "10.1.2.3", "there", "env"]


def test_secrets(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    podman.ok("secret", "create", "word", str(tmp_path / "secret"))
    try:
        assert (
            podman.sh("cat /run/secrets/word; stat -c %a /run/secrets/word", "--secret", "word,mode=0400")
            == "hush400\n"
        )
    finally:
        podman.ok("secret", "rm", "word")


def test_a_source_that_is_missing(podman: Podman, tmp_path: Path) -> None:
    done = podman.run("--mount", f"type=bind,src={tmp_path}/missing,dst=/v", "box", "true")
    assert done.returncode in (125, 126, 127) and f"{tmp_path}/missing" in done.stderr
