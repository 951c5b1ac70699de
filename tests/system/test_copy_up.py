"""tmpcopyup: a tmpfs that begins with what it covers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime

YEAR_2001 = 978307200


def add(bundle: Bundle, *options: str, kind: str = "tmpfs", to: str = "/data") -> Bundle:
    mount = {"destination": to, "type": kind, "source": kind, "options": ["tmpcopyup", *options]}
    bundle.config["mounts"].append(mount)
    return bundle


def run(runtime: Runtime, bundle: Bundle, script: str) -> str:
    bundle.shell(script).save()
    return runtime.ok("run", "--bundle", str(bundle.path), "c")


@pytest.fixture
def data(bundle: Bundle) -> Path:
    path = bundle.rootfs / "data"
    path.mkdir()
    return path


def fill(data: Path) -> None:
    """One of each kind of file."""
    (data / "sub/deep").mkdir(parents=True)
    (data / "file").write_text("content\n")
    os.chown(data / "file", 3, 4)
    (data / "file").chmod(0o4755)
    (data / "sub/hard").hardlink_to(data / "file")
    (data / "link").symlink_to("/etc/passwd")
    os.lchown(data / "link", 5, 6)
    os.mkfifo(data / "pipe", 0o622)
    os.mknod(data / "null", 0o20666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "socket"))
    os.utime(data / "file", (YEAR_2001, YEAR_2001))
    os.utime(data / "link", (YEAR_2001, YEAR_2001), follow_symlinks=False)
    os.utime(data / "sub", (YEAR_2001, YEAR_2001))
    data.chmod(0o2755)
    os.chown(data, 7, 8)
    os.utime(data, (YEAR_2001, YEAR_2001))


LIST = "cd %s; stat -c '%%n %%F %%a %%u:%%g %%h %%Y %%t:%%T' . * */* | sort; readlink link; cat file; ls -a"


def test_a_tmpfs_begins_with_what_it_covers(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    fill(data)
    add(bundle)
    bundle.config["mounts"].append({"destination": "/before", "options": ["bind"], "source": str(data)})
    before = run(runtime, bundle, LIST % "/before")
    after = run(runtime, bundle, LIST % "/data")

    def lines(output: str) -> list[str]:  # a directory's count of links is its file system's affair
        return [
            " ".join(line.split(" ")[:-3] + line.split(" ")[-2:]) if " directory " in line else line
            for line in output.splitlines()
        ]

    assert lines(after) == lines(before)
    assert "file regular file 4755 3:4 2 978307200" in after
    assert run(runtime, bundle, "[ /data/file -ef /data/sub/hard ] && echo one file") == "one file\n"


def test_extended_attributes_are_copied(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    (data / "file").touch()
    os.setxattr(data / "file", "trusted.colour", b"red")
    os.setxattr(data, "trusted.colour", b"blue")
    add(bundle).args("sleep", "100")
    runtime.create(bundle, "c")
    root = f"/proc/{runtime.state('c')['pid']}/root"
    try:
        assert os.getxattr(f"{root}/data/file", "trusted.colour") == b"red"
        assert os.getxattr(f"{root}/data", "trusted.colour") == b"blue"
    finally:
        runtime.ok("delete", "--force", "c")


def test_holes_take_no_memory(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    with (data / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    add(bundle, "size=1m")
    script = "cd /data; stat -c '%s %b' sparse; grep -c middle sparse"
    size, blocks, found = run(runtime, bundle, script).split()
    assert int(size) == 64 << 20 and int(blocks) < 64 and found == "1"


def test_deep_and_broad_directories(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    deepest = data.joinpath(*["d"] * 100)
    deepest.mkdir(parents=True)
    for index in range(1500):  # more than one reading of a directory gives
        (data / f"{'x' * 40}{index}").touch()
    (data / "zz/inner").mkdir(parents=True)
    (deepest / "file").write_text("bottom")
    add(bundle)
    output = run(runtime, bundle, f"ls /data | grep -c xxx; cat /data/{'d/' * 100}file; ls /data/zz")
    assert output.split() == ["1500", "bottominner"]


def test_too_deep_is_said(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    data.joinpath(*["d"] * 300).mkdir(parents=True)
    add(bundle).save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1
    says = "/mounts/4/options: can't mount tmpfs on /data: copy what is more than 255 deep: /data/d/d/"
    assert says in done.stderr
    shutil.rmtree(data)


def test_no_link_is_followed(runtime: Runtime, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("hidden content")
    (data / "outside").symlink_to(tmp_path / "secret")
    (data / "file").symlink_to(tmp_path / "secret/file")
    (data / "up").symlink_to("../../..")
    output = run(runtime, add(bundle), "ls -lR /data; cat /data/*; true")
    assert "hidden" not in output and output.count(" -> ") == 3
    # nor when the mount's destination is one: it leads to where it does inside of the container
    (bundle.rootfs / "away").symlink_to(tmp_path / "secret")
    add(bundle, to="/away")
    assert run(runtime, bundle, f"ls -A {tmp_path}/secret") == ""


def test_mounts_below_are_copied_through(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    """Whatever the container would see there: it's the path's content, not the file system's."""
    (data / "sub").mkdir()
    bundle.config["mounts"].append(
        {"destination": "/data/sub", "source": str(bundle.rootfs / "etc"), "options": ["bind"]}
    )
    assert run(runtime, add(bundle), "ls /data/sub; grep -c ' /data' /proc/self/mountinfo") == "passwd\n2\n"


@pytest.mark.parametrize("options", ["ro", "ro size=64k", "rro", "ro silent"])
def test_a_read_only_one_is_filled_first(runtime: Runtime, bundle: Bundle, data: Path, options: str) -> None:
    (data / "file").write_text("content")
    add(bundle, *options.split())
    script = "cat /data/file; touch /data/new 2>&1; grep ' /data ' /proc/self/mountinfo"
    output = run(runtime, bundle, script)
    assert "content" in output and "Read-only file system" in output and " /data ro" in output


def test_the_modes_and_owner_asked_for_win(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    (data / "file").touch()
    os.chown(data, 7, 8)
    add(bundle, "mode=1777", "uid=1")
    assert run(runtime, bundle, "stat -c '%a %u %g' /data; ls /data") == "1777 1 0\nfile\n"


def test_a_full_one_is_told(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    (data / "file").write_bytes(b"x" * 100_000)
    add(bundle, "size=8k").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1
    assert "/mounts/4/options: can't mount tmpfs on /data: copy /data/file: no space left" in done.stderr
    assert "raise the option size" in done.stderr


def test_only_a_tmpfs_can_be_filled(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    add(bundle, kind="ramfs").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1 and "/mounts/4/options/0: tmpcopyup fills a new tmpfs" in done.stderr


def test_there_need_be_nothing_to_cover(runtime: Runtime, bundle: Bundle) -> None:
    assert run(runtime, add(bundle, to="/made/here"), "ls -A /made/here; stat -c %a /made/here") == "1777\n"


def test_in_a_user_namespace(runtime: Runtime, bundle: Bundle, data: Path) -> None:
    """Owners that it maps stay; one that it doesn't is nobody there, and a device can't be made."""
    subprocess.run(["chown", "-R", "100000:100000", bundle.rootfs], check=True)
    (data / "mine").touch()
    os.chown(data / "mine", 100005, 100006)
    (data / "theirs").touch()
    (data / "theirs").chmod(0o4755)
    os.mknod(data / "null", 0o20666, os.makedev(1, 3))
    add(bundle.in_user_namespace())
    bundle.shell("stat -c '%n %u:%g %a' /data/*").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "/data/mine 5:6 644"
    assert "/data/theirs" in done.stdout and "null" not in done.stdout
    assert "/mounts/4: /data/null isn't copied" in done.stderr
