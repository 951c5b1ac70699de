"""The executor's mounts, devices and masks, and the change of root: what the program finds."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    begin,
    devices,
    failure_of,
    finish,
    make_rootfs,
    mountinfo,
    mounts,
    output_of,
    proc,
    shell,
    step,
)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture(params=["static", "sanitised"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    built = driver.build("sanitised" if request.param == "sanitised" else "")
    monkeypatch.setattr(driver, "build", lambda: built)


# ------------------------------------------------------------------- mounts


def test_the_root_is_all_there_is(rootfs: Path) -> None:
    assert set(mountinfo(rootfs)) == {"/", "/proc"}


def test_mount_options_reach_mount_and_superblock(rootfs: Path) -> None:
    found = mountinfo(
        rootfs,
        step(
            "mount_filesystem",
            type="tmpfs",
            source="shm",
            target="/a/b/c",
            options=["size=64k", "mode=1777"],
            attrs=ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC,
        ),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/ro", superblock=MS_RDONLY),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/shared", propagation=MS_SHARED),
        step("mount_filesystem", type="mqueue", source="mqueue", target="/dev/mqueue"),
    )
    options, _, kind, superblock = found["/a/b/c"]
    assert options == {"rw", "nosuid", "nodev", "noexec", "relatime"}
    assert kind == "tmpfs" and {"rw", "size=64k"} <= superblock
    assert found["/ro"][0] == {"rw", "relatime"} and "ro" in found["/ro"][3]
    assert found["/shared"][1].startswith("shared:")
    assert found["/dev/mqueue"][2] == "mqueue"


def test_targets_are_made_with_their_modes(rootfs: Path) -> None:
    before = os.umask(0o77)
    try:
        shell(
            rootfs,
            "true",
            step("mount_filesystem", type="tmpfs", source="tmpfs", target="/x/y", mode=0o711),
            step("mount_filesystem", type="tmpfs", source="tmpfs", target="/x/z"),
            step("mount_bind", source="/etc/hostname", target="/x/file"),
            step("make_directory", path="/x/made/here", mode=0o1777),
        )
    finally:
        os.umask(before)
    modes = {name: (rootfs / "x" / name).stat().st_mode & 0o7777 for name in os.listdir(rootfs / "x")}
    assert modes == {"y": 0o711, "z": 0o755, "file": 0o644, "made": 0o755}
    assert (rootfs / "x/made/here").stat().st_mode & 0o7777 == 0o1777


def test_options_that_only_mount_2_understands(rootfs: Path, tmp_path: Path) -> None:
    """Several in one, longer than fsconfig(2) takes, with what overlay escapes."""
    layers = []
    for index in range(8):
        layer = tmp_path / f"layer-{index}-{'x' * 40}"
        layer.mkdir()
        (layer / f"file{index}").touch()
        layers.append(str(layer))
    (tmp_path / "up,per").mkdir()
    (tmp_path / "work").mkdir()
    upper = str(tmp_path / "up\\,per")
    overlay = step(
        "mount_filesystem",
        type="overlay",
        source="overlay",
        target="/merged",
        options=["lowerdir=" + ":".join(layers), f"upperdir={upper}", f"workdir={tmp_path}/work"],
    )
    joined = step(
        "mount_filesystem", type="tmpfs", source="tmpfs", target="/joined", options=["size=32k,mode=700"]
    )
    output = shell(rootfs, "ls /merged | wc -l; touch /merged/new; stat -c %a /joined", overlay, joined)
    assert output.split() == ["8", "700"]
    assert os.listdir(tmp_path / "up,per") == ["new"]


def test_what_the_file_system_says_of_its_options(rootfs: Path) -> None:
    def refused(**args: object) -> tuple[str, str, str]:
        return failure_of([*begin(rootfs), step("mount_filesystem", target="/tmp", **args)])

    assert refused(type="tmpfs", source="x", options=["colour=red"]) == (
        "mount_filesystem",
        "EINVAL",
        "fsconfig colour=red: tmpfs: Unknown parameter 'colour'",
    )
    assert refused(type="nosuchfs", source="x") == (
        "mount_filesystem",
        "ENODEV",
        "fsopen: the kernel has no file system nosuchfs",
    )
    assert refused(type="tmpfs", source="x", options=["size=red"])[2].startswith("fsconfig size=red: tmpfs: ")


@pytest.mark.parametrize("kind", ["directory", "file", "socket"])
def test_binding(rootfs: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "directory":
        source.mkdir()
        (source / "inside").touch()
    elif kind == "file":
        source.write_text("content")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(source))
    found = mountinfo(
        rootfs,
        step(
            "mount_bind",
            source=str(source),
            target="/new/target",
            recursive=1,
            set=ATTR_RDONLY | ATTR_NOSUID,
            propagation=MS_PRIVATE,
        ),
    )
    assert {"ro", "nosuid"} <= found["/new/target"][0]
    assert (rootfs / "new/target").is_dir() == (kind == "directory")


def test_attributes_of_a_tree(rootfs: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev,noatime", "tmpfs", source], check=True)
    try:
        (source / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", source / "below"], check=True)
        found = mountinfo(
            rootfs,
            step(
                "mount_bind",
                source=str(source),
                target="/top",
                recursive=1,
                set=ATTR_NOEXEC,
                clear=ATTR_NODEV,
            ),
            step(
                "mount_bind",
                source=str(source),
                target="/all",
                recursive=1,
                rset=ATTR_NOSUID | 0x20,
                rclear=ATTR_RDONLY | 0x70,
            ),
            step("mount_bind", source=str(source), target="/one"),
            step("mount_bind", source=str(source), target="/atime", clear=0x10),
        )
    finally:
        subprocess.run(["umount", "-R", source], check=True)
    assert found["/top"][0] == {"rw", "noexec", "noatime"}
    assert found["/top/below"][0] == {"ro", "relatime"}
    assert found["/all"][0] == {"rw", "nosuid", "nodev"}
    assert found["/all/below"][0] == {"rw", "nosuid"}
    assert found["/one"][0] == {"rw", "nodev", "noatime"} and "/one/below" not in found
    assert found["/atime"][0] == {"rw", "nodev", "relatime"}


def test_a_tree_that_the_runtime_opened(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content")
    tree = open_tree(tmp_path / "source")
    try:
        steps = [
            *begin(rootfs),
            proc(),
            step("mount_bind", source="gone", tree=tree, target="/t", set=ATTR_RDONLY),
        ]
        assert output_of([*steps, *finish("cat", "/t/file")], pass_fds=(tree,)) == (0, "content")
    finally:
        os.close(tree)


def open_tree(path: Path) -> int:
    import ctypes

    open_tree_number, at_fdcwd, clone, cloexec = 428, -100, 1, os.O_CLOEXEC
    descriptor = ctypes.CDLL(None).syscall(open_tree_number, at_fdcwd, os.fsencode(path), clone | cloexec)
    assert descriptor >= 0
    return descriptor


def test_links_as_sources_and_targets(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    (rootfs / "tmp/link").symlink_to("/tmp/real")
    nofollow_source, nofollow_target, copy = 1, 2, 4
    script = "cat /a /tmp/real; readlink /dir/copy; readlink /tmp/link; cat /b"
    output = shell(
        rootfs,
        script,
        step("mount_bind", source=str(tmp_path / "link"), target="/a"),
        step("mount_bind", source=str(tmp_path / "link"), target="/tmp/link"),
        step("mount_bind", source=str(tmp_path / "link"), target="/dir/copy", flags=copy),
        step("mount_bind", source=str(tmp_path / "file"), target="/b", flags=copy | nofollow_source),
    )
    assert output == "contentcontentfile\n/tmp/real\ncontent"
    assert (rootfs / "tmp/real").is_file()  # a link that led nowhere: its target is made
    output = shell(
        rootfs,
        "cat /tmp/link",
        step("mount_bind", source=str(tmp_path / "file"), target="/tmp/link", flags=nofollow_target),
    )
    assert output == "content"
    again = step("mount_bind", source=str(tmp_path / "link"), target="/dir/copy", flags=copy)
    shell(rootfs, "true", again)  # the same link is there already
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert failure_of([*begin(rootfs), again])[1:] == ("EEXIST", "symlinkat /dir/copy")


def test_what_cant_be_bound(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def refused(source: Path, target: str) -> tuple[str, str, str]:
        return failure_of(
            [*begin(rootfs), step("mount_bind", source=str(source), target=target, recursive=1)]
        )

    assert refused(tmp_path / "none", "/tmp") == ("mount_bind", "ENOENT", f"open_tree {tmp_path}/none")
    assert refused(tmp_path, "/") == ("mount_bind", "EINVAL", "the target is the container's root")
    assert refused(tmp_path, "/tmp/..") == ("mount_bind", "EINVAL", "the target is the container's root")
    assert refused(tmp_path / "file", "/tmp") == (
        "mount_bind",
        "EISDIR",
        "the source is a file, /tmp is a directory",
    )
    assert refused(tmp_path, "/bin/busybox") == (
        "mount_bind",
        "ENOTDIR",
        "the source is a directory, /bin/busybox is a file",
    )
    assert refused(tmp_path, "/bin/busybox/x") == (
        "mount_bind",
        "ENOTDIR",
        "open /bin/busybox/x: component busybox",
    )
    (rootfs / "loop").symlink_to("loop")
    assert refused(tmp_path, "/tmp/../loop/x") == (
        "mount_bind",
        "ELOOP",
        "open /tmp/../loop/x: component loop is one symbolic link too many",
    )
    assert refused(tmp_path, "/" + "n" * 256)[1] == "ENAMETOOLONG"
    assert refused(tmp_path, "/n" * 2048)[1] == "ENAMETOOLONG"


def test_changing_a_mount(rootfs: Path) -> None:
    found = mountinfo(
        rootfs,
        step(
            "mount_filesystem",
            type="tmpfs",
            source="tmpfs",
            target="/a",
            superblock=MS_RDONLY,
            attrs=ATTR_NODEV,
        ),
        step("remount", target="/a", set=ATTR_NOSUID, options=["size=64k"]),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/b", attrs=ATTR_NODEV),
        step("remount", target="/b", superblock=MS_RDONLY, set=ATTR_RDONLY, clear=ATTR_NODEV),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/c"),
        step("mount_propagation", target="/c", flags=MS_SHARED | MS_REC),
    )
    assert found["/a"][0] == {"rw", "nosuid", "nodev", "relatime"}
    assert {"rw", "size=64k"} <= found["/a"][3]
    assert found["/b"][0] == {"ro", "relatime"} and "ro" in found["/b"][3]
    assert found["/c"][1].startswith("shared:")


def test_mounts_on_mounts_are_in_the_plans_order(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    (tmp_path / "two").write_text("two")
    output = shell(
        rootfs,
        "cat /t/file",
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/t"),
        step("mount_bind", source=str(tmp_path / "one"), target="/t/file"),
        step("mount_bind", source=str(tmp_path / "two"), target="/t/file"),
    )
    assert output == "two"
    assert not (rootfs / "t/file").exists()


def test_filled_with_what_it_covers(rootfs: Path) -> None:
    """Every kind of file, several directories deep, names of one file, and more names than one reading."""
    data = rootfs / "data"
    (data / "a/b/c").mkdir(parents=True)
    (data / "z").mkdir()
    for index in range(500):
        (data / "a" / f"{'x' * 60}{index}").touch()
    (data / "a/b/file").write_text("content")
    (data / "a/b/c/same").hardlink_to(data / "a/b/file")
    (data / "z/same").hardlink_to(data / "a/b/file")
    (data / ".links.0").touch()
    (data / "link").symlink_to("/etc/shadow")
    os.mkfifo(data / "pipe")
    data.chmod(0o1711)
    tmpfs = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/data", flags=7)
    script = "cd /data; ls -A; ls a | wc -l; cat z/same; stat -c '%h %a' a/b/file .; readlink link"
    output = shell(rootfs, script, tmpfs)
    assert output.splitlines() == [
        ".links.0", "a", "link", "pipe", "z", "501", "content3 644", "4 1711", "/etc/shadow",
    ]  # fmt: skip


# ------------------------------------------------------------------- hiding, devices, links


def test_masked_and_readonly_paths(rootfs: Path) -> None:
    for name in ("one", "two", "three"):
        (rootfs / "secret" / name).mkdir(parents=True)
        (rootfs / "secret" / name / "file").write_text("secret")
    (rootfs / "etc/file").write_text("secret")
    steps = [
        *devices(),
        *(step("mask_path", path=f"/secret/{name}") for name in ("one", "two", "three")),
        step("mask_path", path="/etc/file"),
        step("mask_path", path="/etc/none"),
        step("mask_path", path="/etc/file/below"),
        step("mask_path", path="/proc/timer_list"),
        step("readonly_path", path="/proc/sys"),
        step("readonly_path", path="/etc"),
        step("readonly_path", path="/none"),
    ]
    script = (
        "ls /secret/*; cat /etc/file /proc/timer_list; touch /etc/x; echo 1 > /proc/sys/vm/swappiness; "
        "touch /secret/one/x; cat /proc/self/mountinfo"
    )
    output = shell(rootfs, script + "; true", *steps)
    assert "secret\n" not in output
    found = mounts("\n".join(line for line in output.splitlines() if " - " in line))
    numbers = {line.split(" ")[2] for line in output.splitlines() if " /secret/" in line and " - " in line}
    assert len(numbers) == 1, "one tmpfs for all"
    for name in ("one", "two", "three"):
        assert found[f"/secret/{name}"][0] == {"ro", "nosuid", "nodev", "noexec", "relatime"}
        assert "ro" in found[f"/secret/{name}"][3]
    assert "ro" in found["/proc/sys"][0] and "ro" in found["/etc"][0]
    assert not (rootfs / "etc/x").exists()


def test_a_readonly_path_keeps_its_flags(rootfs: Path) -> None:
    tmpfs = step(
        "mount_filesystem", type="tmpfs", source="tmpfs", target="/t", attrs=ATTR_NOSUID | ATTR_NODEV
    )
    found = mountinfo(rootfs, tmpfs, step("readonly_path", path="/t"))
    assert found["/t"][0] == {"ro", "nosuid", "nodev", "relatime"}


def test_device_nodes(rootfs: Path) -> None:
    before = os.umask(0o77)
    try:
        output = shell(
            rootfs,
            "cd /dev; stat -c '%n %F %t:%T %a %u:%g' null full pipe disk sub/zero",
            step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3, uid=0, gid=0),
            step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o660, major=1, minor=3, uid=1, gid=2),
            step(
                "make_device", path="/dev/full", mode=stat.S_IFCHR | 0o4777, major=1, minor=7, uid=5, gid=-1
            ),
            step("make_device", path="/dev/pipe", mode=stat.S_IFIFO | 0o622, uid=-1, gid=-1),
            step(
                "make_device",
                path="/dev/disk",
                mode=stat.S_IFBLK | 0o600,
                major=300,
                minor=70000,
                uid=0,
                gid=0,
            ),
            step(
                "make_device", path="/dev/sub/zero", mode=stat.S_IFCHR | 0o666, major=1, minor=5, uid=0, gid=0
            ),
        )
    finally:
        os.umask(before)
    assert output.splitlines() == [
        "null character special file 1:3 660 1:2",
        "full character special file 1:7 4777 5:0",
        "pipe fifo 0:0 622 0:0",
        "disk block special file 12c:11170 600 0:0",
        "sub/zero character special file 1:5 666 0:0",
    ]


def test_a_device_isnt_made_over_something_else(rootfs: Path) -> None:
    (rootfs / "dev/null").touch()
    null = step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3)
    assert failure_of([*begin(rootfs), null]) == (
        "make_device",
        "EEXIST",
        "mknodat /dev/null: something else is there",
    )
    assert failure_of([*begin(rootfs), step("make_device", path="/dev/..", mode=stat.S_IFIFO)])[1] == "EINVAL"


def test_links_are_made(rootfs: Path) -> None:
    (rootfs / "dev/kept").symlink_to("old")
    (rootfs / "dev/replaced").symlink_to("old")
    shell(
        rootfs,
        "true",
        step("make_symlink", path="/dev/new/fd", value="/proc/self/fd"),
        step("make_symlink", path="/dev/kept", value="new"),
        step("make_symlink", path="/dev/replaced", value="new", replace=1),
        step("make_symlink", path="/dev/replaced", value="new", replace=1),
    )
    links = {name: os.readlink(rootfs / "dev" / name) for name in ("new/fd", "kept", "replaced")}
    assert links == {"new/fd": "/proc/self/fd", "kept": "old", "replaced": "new"}


# ------------------------------------------------------------------- the change of root


def test_the_root_can_be_readonly_and_shared(rootfs: Path) -> None:
    change = [step("root_readonly"), step("root_propagation", flags=MS_SHARED | MS_REC)]
    steps = [*begin(rootfs), proc(), step("pivot_root"), *change, *finish("cat", "/proc/self/mountinfo")[1:]]
    status, output = output_of(steps)
    found = mounts(output)
    assert status == 0 and "ro" in found["/"][0] and "rw" in found["/proc"][0]
    assert found["/"][1].startswith("shared:") and found["/proc"][1].startswith("shared:")


@pytest.mark.parametrize("propagation", [MS_SHARED, MS_SLAVE, MS_PRIVATE])
@pytest.mark.parametrize("mounted", [False, True])
def test_nothing_of_it_is_seen_on_the_host(rootfs: Path, propagation: int, mounted: bool) -> None:
    """Nor on a host whose mounts are shared, where the root filesystem is a mount or isn't."""
    if mounted:
        subprocess.run(["mount", "--bind", rootfs, rootfs], check=True)
        subprocess.run(["mount", "--make-shared", rootfs], check=True)
    try:
        steps = [
            step("clone", flags=driver.NAMESPACES),
            step("host_propagation", flags=propagation | MS_REC),
            step("open_root", path=str(rootfs)),
            proc(),
            step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp"),
        ]
        before = Path("/proc/self/mountinfo").read_text()
        with driver.running([*steps, step("wait_runtime", reason=""), *finish("true")]) as run:
            run.expect(driver.WAITING)
            assert Path("/proc/self/mountinfo").read_text() == before
            run.go()
            run.expect_end()
            assert run.wait() == 0
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        if mounted:
            subprocess.run(["umount", rootfs], check=True)


def test_the_root_is_changed_without_pivot_root(rootfs: Path) -> None:
    """The host's proc and sysfs are out of the way then: none is left that is fully visible."""
    output = shell(rootfs, "pwd; ls -d /work /etc; cat /proc/self/mountinfo; true", change="move_root")
    assert output.splitlines()[:2] == ["/", "/etc"]
    kinds = [line.split(" - ")[1].split(" ")[0] for line in output.splitlines() if " - " in line]
    assert kinds.count("proc") == 1 and kinds.count("sysfs") == 0
