"""The executor makes a container, step by step: what the program in it finds."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    Step,
    begin,
    devices,
    failure_of,
    finish,
    make_rootfs,
    output_of,
    proc,
    step,
)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture(params=["static", "sanitised"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    built = driver.build("sanitised" if request.param == "sanitised" else "")
    monkeypatch.setattr(driver, "build", lambda: built)


def shell(rootfs: Path, script: str, *steps: Step, change: str = "pivot_root") -> str:
    """What a shell prints in a container with /proc and these further steps."""
    status, output = output_of([*begin(rootfs), proc(), *steps, *finish("sh", "-c", script, change=change)])
    assert status == 0, output
    return output


def mounts(output: str) -> dict[str, tuple[set[str], str, str, set[str]]]:
    """mountinfo by mount point: its options, its propagation, the type, the superblock's options."""
    found = {}
    for line in output.splitlines():
        before, _, after = line.partition(" - ")
        fields, end = before.split(" "), after.split(" ")
        found[fields[4]] = set(fields[5].split(",")), " ".join(fields[6:]), end[0], set(end[2].split(","))
    return found


def mountinfo(rootfs: Path, *steps: Step) -> dict[str, tuple[set[str], str, str, set[str]]]:
    return mounts(shell(rootfs, "cat /proc/self/mountinfo", *steps))


def test_a_program_runs_in_new_namespaces(rootfs: Path) -> None:
    script = "echo $$; ls /proc | grep '^[0-9]*$'; ls -l /proc/self/ns"
    output = shell(rootfs, script).splitlines()
    assert output[0] == "1"
    assert "1" in output[1:4]
    for kind in ("mnt", "pid", "ipc", "uts", "net"):
        ours = os.readlink(f"/proc/self/ns/{kind}")
        assert not any(ours in line for line in output)


def test_the_stage_tells_of_the_process_before_the_process_does(rootfs: Path) -> None:
    for _ in range(50):
        with driver.running([step("clone", flags=CLONE_NEWPID), step("wait_runtime", reason="")]) as run:
            report = run.receive()
            assert report and report.kind == driver.CLONED and report.descriptor >= 0
            run.pidfds.append(report.descriptor)
            assert run.process.wait(10) == 0
            assert run.expect(driver.WAITING)


def test_the_process_dies_with_the_runtime(rootfs: Path) -> None:
    """The clone watches the runtime, not the stage that has ended."""
    steps = [step("clone", flags=0), step("die_with_parent", signal=9), step("wait_runtime", reason="")]
    with driver.running(steps) as run:
        run.expect(driver.WAITING)
        assert run.process.wait(10) == 0
        status = Path(f"/proc/self/fdinfo/{run.pidfds[0]}").read_text()
        pid = int(status.split("Pid:")[1].split()[0])
        assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()


def test_names_and_loopback(rootfs: Path) -> None:
    steps = [step("new_session"), step("hostname", name="box"), step("domainname", name="example"),
             step("loopback_up")]
    script = "hostname; cat /proc/sys/kernel/domainname; cat /sys/class/net/lo/flags"
    (rootfs / "bin/hostname").symlink_to("busybox")
    sysfs = step("mount_filesystem", type="sysfs", source="sysfs", target="/sys", attrs=ATTR_RDONLY)
    assert shell(rootfs, script, *steps, sysfs).split() == ["box", "example", "0x9"]


# ------------------------------------------------------------------- mounts

def test_the_root_is_all_there_is(rootfs: Path) -> None:
    assert set(mountinfo(rootfs)) == {"/", "/proc"}


def test_mount_options_reach_mount_and_superblock(rootfs: Path) -> None:
    found = mountinfo(
        rootfs,
        step("mount_filesystem", type="tmpfs", source="shm", target="/a/b/c", options=["size=64k", "mode=1777"],
             attrs=ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC),
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
        shell(rootfs, "true", step("mount_filesystem", type="tmpfs", source="tmpfs", target="/x/y", mode=0o711),
              step("mount_filesystem", type="tmpfs", source="tmpfs", target="/x/z"),
              step("mount_bind", source="/etc/hostname", target="/x/file"),
              step("make_directory", path="/x/made/here", mode=0o1777))
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
    overlay = step("mount_filesystem", type="overlay", source="overlay", target="/merged",
                   options=["lowerdir=" + ":".join(layers), f"upperdir={upper}", f"workdir={tmp_path}/work"])
    joined = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/joined", options=["size=32k,mode=700"])
    output = shell(rootfs, "ls /merged | wc -l; touch /merged/new; stat -c %a /joined", overlay, joined)
    assert output.split() == ["8", "700"]
    assert os.listdir(tmp_path / "up,per") == ["new"]


def test_what_the_file_system_says_of_its_options(rootfs: Path) -> None:
    def refused(**args: object) -> tuple[str, str, str]:
        return failure_of([*begin(rootfs), step("mount_filesystem", target="/tmp", **args)])

    assert refused(type="tmpfs", source="x", options=["colour=red"]) \
        == ("mount_filesystem", "EINVAL", "fsconfig colour=red: tmpfs: Unknown parameter 'colour'")
    assert refused(type="nosuchfs", source="x") \
        == ("mount_filesystem", "ENODEV", "fsopen: the kernel has no file system nosuchfs")
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
    found = mountinfo(rootfs, step("mount_bind", source=str(source), target="/new/target", recursive=1,
                                   set=ATTR_RDONLY | ATTR_NOSUID, propagation=MS_PRIVATE))
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
            step("mount_bind", source=str(source), target="/top", recursive=1, set=ATTR_NOEXEC,
                 clear=ATTR_NODEV),
            step("mount_bind", source=str(source), target="/all", recursive=1, rset=ATTR_NOSUID | 0x20,
                 rclear=ATTR_RDONLY | 0x70),
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
        steps = [*begin(rootfs), proc(), step("mount_bind", source="gone", tree=tree, target="/t", set=ATTR_RDONLY)]
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
        rootfs, script,
        step("mount_bind", source=str(tmp_path / "link"), target="/a"),
        step("mount_bind", source=str(tmp_path / "link"), target="/tmp/link"),
        step("mount_bind", source=str(tmp_path / "link"), target="/dir/copy", flags=copy),
        step("mount_bind", source=str(tmp_path / "file"), target="/b", flags=copy | nofollow_source),
    )
    assert output == "contentcontentfile\n/tmp/real\ncontent"
    assert (rootfs / "tmp/real").is_file()      # a link that led nowhere: its target is made
    output = shell(rootfs, "cat /tmp/link",
                   step("mount_bind", source=str(tmp_path / "file"), target="/tmp/link", flags=nofollow_target))
    assert output == "content"
    again = step("mount_bind", source=str(tmp_path / "link"), target="/dir/copy", flags=copy)
    shell(rootfs, "true", again)                # the same link is there already
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert failure_of([*begin(rootfs), again])[1:] == ("EEXIST", "symlinkat /dir/copy")


def test_what_cant_be_bound(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def refused(source: Path, target: str) -> tuple[str, str, str]:
        return failure_of([*begin(rootfs), step("mount_bind", source=str(source), target=target, recursive=1)])

    assert refused(tmp_path / "none", "/tmp") == ("mount_bind", "ENOENT", f"open_tree {tmp_path}/none")
    assert refused(tmp_path, "/") == ("mount_bind", "EINVAL", "the target is the container's root")
    assert refused(tmp_path, "/tmp/..") == ("mount_bind", "EINVAL", "the target is the container's root")
    assert refused(tmp_path / "file", "/tmp") \
        == ("mount_bind", "EISDIR", "the source is a file, /tmp is a directory")
    assert refused(tmp_path, "/bin/busybox") \
        == ("mount_bind", "ENOTDIR", "the source is a directory, /bin/busybox is a file")
    assert refused(tmp_path, "/bin/busybox/x") \
        == ("mount_bind", "ENOTDIR", "open /bin/busybox/x: component busybox")
    (rootfs / "loop").symlink_to("loop")
    assert refused(tmp_path, "/tmp/../loop/x") \
        == ("mount_bind", "ELOOP", "open /tmp/../loop/x: component loop is one symbolic link too many")
    assert refused(tmp_path, "/" + "n" * 256)[1] == "ENAMETOOLONG"
    assert refused(tmp_path, "/n" * 2048)[1] == "ENAMETOOLONG"


def test_changing_a_mount(rootfs: Path) -> None:
    found = mountinfo(
        rootfs,
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/a", superblock=MS_RDONLY, attrs=ATTR_NODEV),
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
    output = shell(rootfs, "cat /t/file",
                   step("mount_filesystem", type="tmpfs", source="tmpfs", target="/t"),
                   step("mount_bind", source=str(tmp_path / "one"), target="/t/file"),
                   step("mount_bind", source=str(tmp_path / "two"), target="/t/file"))
    assert output == "two"
    assert not (rootfs / "t/file").exists()


# ------------------------------------------------------------------- hiding, devices, links

def test_masked_and_readonly_paths(rootfs: Path) -> None:
    for name in ("one", "two", "three"):
        (rootfs / "secret" / name).mkdir(parents=True)
        (rootfs / "secret" / name / "file").write_text("secret")
    (rootfs / "etc/file").write_text("secret")
    (rootfs / "etc/link").symlink_to("/etc/file")
    steps = [*devices(), *(step("mask_path", path=f"/secret/{name}") for name in ("one", "two", "three")),
             step("mask_path", path="/etc/link"), step("mask_path", path="/etc/none"),
             step("mask_path", path="/etc/file/below"),
             step("mask_path", path="/proc/timer_list"), step("readonly_path", path="/proc/sys"),
             step("readonly_path", path="/etc"), step("readonly_path", path="/none")]
    script = "ls /secret/*; cat /etc/file /proc/timer_list; touch /etc/x; echo 1 > /proc/sys/vm/swappiness; " \
             "touch /secret/one/x; cat /proc/self/mountinfo"
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
    tmpfs = step("mount_filesystem", type="tmpfs", source="tmpfs", target="/t", attrs=ATTR_NOSUID | ATTR_NODEV)
    found = mountinfo(rootfs, tmpfs, step("readonly_path", path="/t"))
    assert found["/t"][0] == {"ro", "nosuid", "nodev", "relatime"}


def test_device_nodes(rootfs: Path) -> None:
    before = os.umask(0o77)
    try:
        output = shell(
            rootfs, "cd /dev; stat -c '%n %F %t:%T %a %u:%g' null full pipe disk sub/zero",
            step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3, uid=0, gid=0),
            step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o660, major=1, minor=3, uid=1, gid=2),
            step("make_device", path="/dev/full", mode=stat.S_IFCHR | 0o4777, major=1, minor=7, uid=5, gid=-1),
            step("make_device", path="/dev/pipe", mode=stat.S_IFIFO | 0o622, uid=-1, gid=-1),
            step("make_device", path="/dev/disk", mode=stat.S_IFBLK | 0o600, major=300, minor=70000, uid=0, gid=0),
            step("make_device", path="/dev/sub/zero", mode=stat.S_IFCHR | 0o666, major=1, minor=5, uid=0, gid=0),
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
    assert failure_of([*begin(rootfs), null]) \
        == ("make_device", "EEXIST", "mknodat /dev/null: something else is there")
    assert failure_of([*begin(rootfs), step("make_device", path="/dev/..", mode=stat.S_IFIFO)])[1] == "EINVAL"


def test_links_are_made(rootfs: Path) -> None:
    (rootfs / "dev/kept").symlink_to("old")
    (rootfs / "dev/replaced").symlink_to("old")
    shell(rootfs, "true", step("make_symlink", path="/dev/new/fd", value="/proc/self/fd"),
          step("make_symlink", path="/dev/kept", value="new"),
          step("make_symlink", path="/dev/replaced", value="new", replace=1),
          step("make_symlink", path="/dev/replaced", value="new", replace=1))
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
        steps = [step("clone", flags=driver.NAMESPACES), step("host_propagation", flags=propagation | MS_REC),
                 step("open_root", path=str(rootfs)), proc(),
                 step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp")]
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


# ------------------------------------------------------------------- sysctl, labels, keyring

def test_sysctl(rootfs: Path) -> None:
    steps = [step("sysctl", path="net/ipv4/ip_local_port_range", value="20000 30000"),
             step("sysctl", path="net/ipv4/ip_local_port_range", value="20000 30000"),
             step("sysctl", path="kernel/shm_rmid_forced", value="1")]
    files = "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/kernel/shm_rmid_forced"
    assert shell(rootfs, "cat " + " ".join(files), *steps).split() == ["20000", "30000", "1"]


def test_a_sysctl_that_is_so_already_isnt_written(rootfs: Path) -> None:
    """Even one that can't be."""
    (value,) = Path("/proc/sys/kernel/ostype").read_text().split()
    same, other = (step("sysctl", path="kernel/ostype", value=text) for text in (value, "Plan 9"))
    assert shell(rootfs, "true", same) == ""
    assert failure_of([*begin(rootfs), other])[:2] == ("sysctl", "EACCES")


@pytest.mark.parametrize(("path", "expected"), [
    ("../sysrq-trigger", "EXDEV"), ("net/../../version", "EXDEV"), ("/proc/version", "EXDEV"),
    ("no/such", "ENOENT"), ("kernel/ostype/x", "ENOTDIR"), ("kernel", "EISDIR"), ("", "EISDIR"),
])
def test_a_sysctl_is_beneath_its_directory(rootfs: Path, path: str, expected: str) -> None:
    name, error, _ = failure_of([*begin(rootfs), step("sysctl", path=path, value="x")])
    assert name == "sysctl" and error == expected


def test_a_session_keyring(rootfs: Path) -> None:
    output = shell(rootfs, "cat /proc/keys", step("session_keyring", name="_ses.test"))
    rings = [line for line in output.splitlines() if "_ses.test" in line]
    assert len(rings) == 1 and int(rings[0].split()[4], 16) & 0x80000     # its owner may search it


def test_a_label_of_a_missing_lsm_fails(rootfs: Path) -> None:
    if Path("/sys/module/apparmor").exists():
        pytest.skip("this kernel has AppArmor")
    label = step("label_process", lsm="apparmor", attribute="exec", value="exec unconfined")
    assert failure_of([*begin(rootfs), label])[:2] == ("label_process", "EINVAL")


# ------------------------------------------------------------------- the user

def status_of(rootfs: Path, *steps: Step) -> dict[str, list[str]]:
    plan = [*begin(rootfs), proc(), step("pivot_root"), *steps,
            *finish("cat", "/proc/self/status")[1:]]
    status, output = output_of(plan)
    assert status == 0
    return {key: value.split() for key, _, value in (line.partition(":") for line in output.splitlines())}


def test_user_and_groups(rootfs: Path) -> None:
    found = status_of(rootfs, step("groups", gids=[5, 70000]), step("user", uid=1000, gid=2000))
    assert (found["Uid"], found["Gid"], found["Groups"]) == (["1000"] * 4, ["2000"] * 4, ["5", "70000"])
    assert found["CapEff"] == found["CapPrm"] == ["0" * 16]
    assert status_of(rootfs, step("groups", gids=[]))["Groups"] == []


@pytest.mark.parametrize(("uid", "gid"), [(-1, 0), (0, -1), (2**32 - 1, 0), (0, 2**32), (2**32, 0)])
def test_an_id_out_of_range(uid: int, gid: int) -> None:
    assert failure_of([step("user", uid=uid, gid=gid)]) == ("user", "EINVAL", "the id is out of range")


def test_capabilities_over_the_change_of_user(rootfs: Path) -> None:
    kept = 1 << 10 | 1 << 13
    found = status_of(
        rootfs, step("bounding_set", mask=kept | 1), step("keep_capabilities", value=1),
        step("user", uid=1000, gid=1000), step("keep_capabilities", value=0),
        step("capabilities", effective=kept, permitted=kept, inheritable=1 << 10),
        step("ambient_set", mask=1 << 10),
    )
    mask = {name: int(found[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert mask == {"CapInh": 1 << 10, "CapPrm": 1 << 10, "CapEff": 1 << 10, "CapBnd": kept | 1, "CapAmb": 1 << 10}


def test_no_ambient_capability_is_left(rootfs: Path) -> None:
    raised = 1 << 10
    found = status_of(rootfs, step("capabilities", effective=-1 & 0x3FF | raised, permitted=0x3FF | raised,
                                   inheritable=raised),
                      step("ambient_set", mask=raised), step("ambient_set", mask=0))
    assert found["CapAmb"] == ["0" * 16]
    refused = [step("capabilities", effective=0, permitted=0), step("ambient_set", mask=1)]
    assert failure_of([*begin(rootfs), *refused])[2] == "prctl PR_CAP_AMBIENT_RAISE 0"


def test_the_standard_streams_are_given_away_but_not_dev_null(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("r+") as file:
        steps = [step("stdio_owner", uid=1234, gid=5678), step("enter_directory", path="/no/such", final=1)]
        failure_of(steps, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 5678)
    assert os.stat("/dev/null").st_uid != 1234


def test_a_new_user_namespace(rootfs: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent.name.startswith("pytest"):
            parent.chmod(0o755)
    for name in (rootfs, *rootfs.iterdir()):
        os.chown(name, 100000, 100000)
    early, *rest = begin(rootfs, driver.NAMESPACES | CLONE_NEWUSER | CLONE_NEWCGROUP)
    steps = [early, step("wait_runtime", reason="maps"), step("groups", gids=[]), step("user", uid=0, gid=0), *rest,
             proc(), step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp"),
             step("mount_filesystem", type="sysfs", source="sysfs", target="/sys", attrs=ATTR_RDONLY),
             step("sysctl", path="net/ipv4/ip_unprivileged_port_start", value="80"),
             step("mount_bind", source="/etc/hostname", target="/etc/hostname", set=ATTR_RDONLY),
             step("mask_path", path="/etc"), step("readonly_path", path="/proc/sys")]
    with driver.running([*steps, *finish("sh", "-c", "id -u; cat /proc/self/uid_map")],
                        stdout=subprocess.PIPE) as run:
        run.expect(driver.WAITING)
        info = Path(f"/proc/self/fdinfo/{run.pidfds[0]}").read_text()
        pid = int(info.split("Pid:")[1].split()[0])
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 100000 65536")
        run.go()
        run.expect_end()
        assert run.process.stdout
        output = run.process.stdout.read().split()
        run.process.stdout.close()
        assert run.wait() == 0
    assert output == [b"0", b"0", b"100000", b"65536"]


# ------------------------------------------------------------------- joining, time, HOME

def test_a_further_process_joins_the_container(rootfs: Path) -> None:
    steps = [*begin(rootfs), proc(), step("hostname", name="joined"), *finish("sleep", "60")]
    (rootfs / "bin/hostname").symlink_to("busybox")
    with driver.running(steps) as first:
        first.expect_end()
        pidfd = first.pidfds[0]
        process = step("join_process", pidfd=pidfd, kinds=driver.NAMESPACES)
        run = ["sh", "-c", "hostname; pwd; readlink /proc/1/exe; [ $$ != 1 ]"]
        assert output_of([process, step("clone"), *finish(*run)[1:]], pass_fds=(pidfd,)) \
            == (0, "joined\n/\n/bin/busybox\n")
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        pid = int(info.split("Pid:")[1].split()[0])
        kinds = {"ipc": driver.CLONE_NEWIPC, "uts": driver.CLONE_NEWUTS, "net": driver.CLONE_NEWNET,
                 "pid": CLONE_NEWPID, "mnt": CLONE_NEWNS}
        files = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in kinds}
        joins = [step("join_namespace", fd=files[name], kind=kind) for name, kind in kinds.items()]
        try:
            assert output_of([*joins, step("clone"), *finish(*run)[1:]], pass_fds=tuple(files.values())) \
                == (0, "joined\n/\n/bin/busybox\n")
        finally:
            for file in files.values():
                os.close(file)


def test_time_offsets(rootfs: Path) -> None:
    offsets = step("time_offsets", offsets="monotonic 0 0\nboottime 864000 0\n")
    steps = [offsets, *begin(rootfs), proc(), *finish("cat", "/proc/uptime")]
    output = output_of(steps)[1]
    assert float(output.split()[0]) > 864000 + float(Path("/proc/uptime").read_text().split()[0]) - 60
    assert failure_of([step("time_offsets", offsets="nonsense")])[:2] == ("time_offsets", "EINVAL")
    assert CLONE_NEWTIME


PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
# a comment
broken line
1000:x:5:5:a name that is a number:/wrong:/bin/sh
user:x:1000:1000::/home/user:/bin/sh
again:x:1000:1000::/second:/bin/sh
relative:x:1002:1002::home:/bin/sh
spaced:x: 1003:1003::/wrong:
hex:x:0x3ec:1:1:/wrong:
wide:x:18446744073709552621:1::/wrong:
last:x:1001:1001::/home/last"""


@pytest.mark.parametrize(("uid", "home"), [
    (0, "/root"), (1000, "/home/user"), (1001, "/home/last"), (1002, "/"), (1003, "/"), (1004, "/"), (1005, "/"),
    (-1, None),
])
def test_the_home_is_by_number(rootfs: Path, uid: int, home: str | None) -> None:
    (rootfs / "etc/passwd").write_bytes(PASSWD)
    assert home_of(rootfs, uid) == home


def home_of(rootfs: Path, uid: int) -> str | None:
    *steps, execute = [*begin(rootfs), *finish("env")]
    program = step("execute", argv=["env"], env=["A=1"], home_of=uid)
    lines = dict(line.split("=", 1) for line in output_of([*steps, program])[1].splitlines())
    return lines.get("HOME")


def test_a_hostile_passwd_gives_no_home(rootfs: Path, tmp_path: Path) -> None:
    passwd = rootfs / "etc/passwd"
    assert home_of(rootfs, 0) == "/"
    passwd.write_bytes(b"\0\n:::::\n" * 100000 + b"root:x:0:0:root:/root:/bin/sh\n")
    assert home_of(rootfs, 0) == "/"
    passwd.write_bytes(b"root:x:0:0:root:/" + b"x" * 5000 + b":/bin/sh\n")
    assert home_of(rootfs, 0) == "/"
    passwd.unlink()
    os.mkfifo(passwd)
    assert home_of(rootfs, 0) == "/"
    passwd.unlink()
    (tmp_path / "outside").write_bytes(b"root:x:0:0:root:/outside:/bin/sh\n")
    passwd.symlink_to(tmp_path / "outside")
    assert home_of(rootfs, 0) == "/"


def test_a_working_directory_only_the_user_may_enter(rootfs: Path) -> None:
    """And one that nobody may: without its capabilities root is denied too, first without harm."""
    (rootfs / "tmp/own").mkdir(mode=0o700)
    os.chown(rootfs / "tmp/own", 1000, 1000)
    path = "/tmp/own"
    weak = step("capabilities", effective=1 << 6 | 1 << 7, permitted=1 << 6 | 1 << 7)
    enter, again = step("enter_directory", path=path), step("enter_directory", path=path, final=1)
    base = [*begin(rootfs), step("pivot_root"), weak]
    end = [step("find_program", name="/bin/pwd"), step("execute", argv=["pwd"], home_of=-1)]
    assert output_of([*base, enter, step("user", uid=1000, gid=1000), again, *end]) == (0, "/tmp/own\n")
    assert failure_of([*base, enter, step("user", uid=1001, gid=1001), again])[:2] == ("enter_directory", "EACCES")


# ------------------------------------------------------------------- the terminal

def test_a_terminal(rootfs: Path) -> None:
    steps = [*begin(rootfs), proc(), *devices(), step("new_session"),
             step("terminal", width=101, height=37, attach=1, uid=1000, gid=5),
             *finish("sh", "-c", "tty; stat -c '%t:%T %u:%g' /dev/console $(tty); stty size; cat")]
    (rootfs / "bin/stty").symlink_to("busybox")
    with driver.running(steps) as run:
        report = run.expect(driver.DESCRIPTOR)
        assert report.value == 1
        run.go()
        run.expect_end()
        os.write(report.descriptor, b"line\n\4")
        output = b""
        while chunk := read_terminal(report.descriptor):
            output += chunk
        assert run.wait() == 0
        os.close(report.descriptor)
    lines = output.decode().replace("\r", "").splitlines()
    assert lines.count("line") == 2             # the terminal's echo, and cat's
    assert [line for line in lines if line != "line"] == ["/dev/pts/0", "88:0 1000:5", "88:0 1000:5", "37 101"]


def read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:                             # EIO: the last slave is closed
        return b""


def test_a_terminal_without_the_runtime(rootfs: Path) -> None:
    steps = [*begin(rootfs), *devices(), step("new_session"), step("terminal")]
    with driver.running(steps) as run:
        os.close(run.expect(driver.DESCRIPTOR).descriptor)
        run.control.close()
        assert run.wait() == 1


def test_a_terminal_needs_a_devpts(rootfs: Path) -> None:
    (rootfs / "dev/pts").mkdir()
    os.mknod(rootfs / "dev/pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    assert failure_of([*begin(rootfs), step("new_session"), step("terminal")]) \
        == ("terminal", "ENODEV", "the container's /dev/pts isn't a devpts")


def test_the_plan_can_be_large(rootfs: Path) -> None:
    argv = ["sh", "-c", "echo $#", "sh", *(str(number) for number in range(5000))]
    steps = [*begin(rootfs), step("pivot_root"), step("find_program", name="/bin/sh"),
             step("execute", argv=argv, env=[f"V{number}=x" for number in range(2000)], home_of=0)]
    assert output_of(steps) == (0, "5000\n")
    assert struct.calcsize("Q") == 8
