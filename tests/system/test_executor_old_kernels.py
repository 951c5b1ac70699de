"""On kernels without the newer system calls the executor makes the same container.

strace stands for such a kernel: it answers the calls with ENOSYS.
"""

from __future__ import annotations

import os
import re
import shutil
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
    MS_RDONLY,
    MS_SHARED,
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

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace isn't installed")

MOUNT_API = ("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr")
KERNELS = {
    "5.1": ("openat2", "close_range", "statx", *MOUNT_API),
    "5.5": ("openat2", "close_range", "mount_setattr"),
    "5.8": ("close_range", "mount_setattr"),
    "without fsopen": ("fsopen",),
    "without open_tree": ("open_tree",),
    "without openat2": ("openat2",),
}


def without(*calls: str) -> tuple[str, ...]:
    """strace's arguments; with -D it isn't in between the executor and its parent."""
    return ("strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", f"inject={','.join(calls)}:error=ENOSYS")


def container(root: Path, source: Path) -> list[Step]:
    """What a usual config asks for, and a bit more, in the usual order."""
    clone, *rest = begin(root)
    return [
        clone,
        step("new_session"),
        step("hostname", name="old"),
        step("loopback_up"),
        step("sysctl", path="net/ipv4/ip_unprivileged_port_start", value="80"),
        *rest,
        proc(),
        *devices(),
        step(
            "mount_filesystem",
            type="sysfs",
            source="sysfs",
            target="/sys",
            attrs=ATTR_NOSUID | ATTR_NOEXEC | ATTR_NODEV | ATTR_RDONLY,
        ),
        step(
            "mount_filesystem",
            type="tmpfs",
            source="shm",
            target="/dev/shm",
            options=["mode=1777", "size=64k"],
            attrs=ATTR_NOSUID,
            propagation=MS_SHARED,
        ),
        step("mount_filesystem", type="mqueue", source="mqueue", target="/dev/mqueue", superblock=MS_RDONLY),
        step("mount_bind", source=str(source), target="/link/below/new", recursive=1, set=ATTR_NOSUID | 0x10),
        step("mount_bind", source=str(source / "file"), target="/etc/file", set=ATTR_RDONLY),
        step(
            "mount_bind",
            source=str(source / "file"),
            target="/etc/other",
            clear=ATTR_NODEV,
            propagation=MS_SHARED,
        ),
        step("remount", target="/dev/shm", set=ATTR_NOEXEC, options=["size=128k"]),
        step("mount_propagation", target="/sys", flags=MS_SHARED),
        step("make_device", path="/dev/tty", mode=stat.S_IFCHR | 0o666, major=5, minor=0, uid=0, gid=5),
        step(
            "bind_device",
            source="/dev/zero",
            path="/dev/zero",
            type=stat.S_IFCHR,
            major=1,
            minor=5,
            mode=-1,
            uid=-1,
            gid=-1,
        ),
        step("make_symlink", path="/dev/fd", value="/proc/self/fd"),
        step("make_directory", path="/deep/../link/er/directory", mode=0o711),
        *(step("mask_path", path=path) for path in ("/masked/one", "/masked/two", "/etc/secret", "/none")),
        *(step("readonly_path", path=path) for path in ("/proc/sys", "/dev/shm")),
    ]


SCRIPT = """
hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /sys/class/net/lo/flags
cat /link/below/new/file /etc/file /etc/other /etc/secret; ls -A /masked/one /masked/two
stat -c '%n %F %a %u:%g %t:%T' /dev/* /link/er/directory /link /link/below/new
ls /proc/self/fd
cat /proc/self/mountinfo
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_rootfs(tmp_path / "root")
    (root / "bin/hostname").symlink_to("busybox")
    for name in ("masked/one", "masked/two", "real/link", "deep"):
        (root / name).mkdir(parents=True)
    (root / "link").symlink_to("/real/../../../real/link")
    (root / "etc/secret").write_text("secret")
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content\n")
    return tmp_path / "source"


def comparable(output: str) -> list[str]:
    """Without what differs from one mount to the next: numbers of mounts, of devices, of peer groups."""
    lines = []
    for line in output.splitlines():
        match = re.fullmatch(r"\d+ \d+ \d+:\d+ (.*?)(shared:\d+ |master:\d+ )*- (.*)", line)
        shared = "shared" if "shared:" in line else ""
        lines.append(f"{match[1]}{shared} {match[3]}" if match else line)
    return lines


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_container_comes_out(root: Path, source: Path, kernel: str) -> None:
    steps = [*container(root, source), *finish("sh", "-c", SCRIPT)]
    status, wanted = output_of(steps)
    assert status == 0 and "80\n0x9\ncontent\ncontent\ncontent\n" in wanted
    undo(root)
    status, found = output_of(steps, wrapper=without(*KERNELS[kernel]))
    assert status == 0
    assert comparable(found) == comparable(wanted)


def undo(root: Path) -> None:
    """What the first container made in the root, so that the second has to make it too."""
    shutil.rmtree(root / "real/link")
    (root / "real/link").mkdir()
    for path in (root / "etc/file", root / "etc/other"):
        path.unlink()


def test_a_terminal(root: Path) -> None:
    steps = [
        *begin(root),
        proc(),
        *devices(),
        step("new_session"),
        step("terminal", attach=1, uid=0, gid=5),
        *finish("sh", "-c", "tty; stat -c '%t:%T' /dev/console"),
    ]
    with driver.running(steps, wrapper=without(*KERNELS["5.1"])) as run:
        report = run.expect(driver.DESCRIPTOR)
        run.go()
        run.expect_end()
        assert run.wait() == 0
        assert driver.read_terminal(report.descriptor).split() == [b"/dev/pts/0", b"88:0"]
        os.close(report.descriptor)


def test_the_root_without_pivot_root(root: Path, source: Path) -> None:
    steps = [*container(root, source), *finish("sh", "-c", "pwd; cat /etc/file", change="move_root")]
    assert output_of(steps, wrapper=without(*KERNELS["5.1"])) == (0, "/\ncontent\n")


def test_what_cant_be_done_is_refused(root: Path, source: Path) -> None:
    """Never half: attributes of a whole tree need mount_setattr."""
    tree = step("mount_bind", source=str(source), target="/mnt", recursive=1, rset=ATTR_RDONLY)
    name, error, text = failure_of([*begin(root), tree], wrapper=without(*KERNELS["5.8"]))
    assert (name, error) == ("mount_bind", "ENOSYS") and "recursively" in text


def test_a_procfs_that_isnt_one_is_refused(root: Path) -> None:
    """Without a private procfs the container's must be real, and the files in it its own."""
    sysctl = step("sysctl", path="net/ipv4/ip_unprivileged_port_start", value="81")
    (root / "proc/sys/net/ipv4").mkdir(parents=True)
    target = root / "proc/sys/net/ipv4/ip_unprivileged_port_start"
    target.write_text("untouched")
    steps = [*begin(root), step("pivot_root"), sysctl]
    assert failure_of(steps, wrapper=without("fsopen"))[1:] == (
        "ENOTSUP",
        "the container's /proc isn't a procfs",
    )
    assert target.read_text() == "untouched"


@pytest.mark.parametrize("calls", [("fsopen",), ("fsopen", "openat2", "statx")])
def test_a_file_over_a_sysctl_is_refused(root: Path, tmp_path: Path, calls: tuple[str, ...]) -> None:
    (tmp_path / "fake").write_text("untouched")
    path = "net/ipv4/ip_unprivileged_port_start"
    steps = [
        *begin(root),
        proc(),
        step("mount_bind", source=str(tmp_path / "fake"), target=f"/proc/sys/{path}"),
        step("sysctl", path=path, value="81"),
    ]
    assert failure_of(steps, wrapper=without(*calls))[:2] == ("sysctl", "EXDEV")
    assert (tmp_path / "fake").read_text() == "untouched"
    status, output = output_of([*steps, *finish("cat", f"/proc/sys/{path}")])
    assert (status, output) == (0, "untouched"), "a private procfs has no such file over it"


def test_nothing_is_taken_over_from_the_host_when_joining(root: Path) -> None:
    """The host's root and /proc, which setting the time opened, aren't the container's afterwards."""
    (root / "etc/passwd").write_text("x:x:4321:1::/of/the/container:/bin/sh")
    with driver.running([*begin(root), proc(), *finish("sleep", "60")]) as first:
        first.expect_end()
        (pidfd,) = first.pidfds
        steps = [
            step("time_offsets", offsets="boottime 864000 0\n"),
            step("join_process", pidfd=pidfd, kinds=driver.NAMESPACES),
            step("clone"),
            step("find_program", name="/bin/env"),
            step("execute", argv=["env"], env=[], home_of=4321),
        ]
        for wrapper in ((), without("fsopen")):
            assert output_of(steps, pass_fds=(pidfd,), wrapper=wrapper) == (0, "HOME=/of/the/container\n")


def test_descriptors_without_close_range(root: Path) -> None:
    read, write = os.pipe()
    try:
        steps = [*begin(root), proc(), *finish("ls", "/proc/self/fd")]
        output = output_of(steps, pass_fds=(read, write), wrapper=without("close_range"))[1]
    finally:
        os.close(read)
        os.close(write)
    assert len(output.split()) == 4


def test_strace_is_what_makes_the_difference(root: Path) -> None:
    """The stand-in works: a call for which there is no other way fails."""
    done = subprocess.run([*without("unlink"), "rm", "-f", str(root / "etc/secret")], capture_output=True)
    assert done.returncode == 0 or b"not implemented" in done.stderr
    assert failure_of(begin(root), wrapper=without("clone3"))[:2] == ("clone", "ENOSYS")


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_tmpfs_begins_with_what_it_covers(root: Path, kernel: str) -> None:
    (root / "real/file").write_text("content\n")
    (root / "real").chmod(0o2750)
    keep_mode, copy_up, keep_owner = 1, 2, 4
    tmpfs = step(
        "mount_filesystem",
        type="tmpfs",
        source="tmpfs",
        target="/real",
        superblock=MS_RDONLY,
        attrs=ATTR_RDONLY | ATTR_NOSUID,
        flags=keep_mode | copy_up | keep_owner,
    )
    script = "ls /real; cat /real/file; stat -c %a /real; touch /real/x 2>&1; cat /proc/self/mountinfo"
    steps = [*begin(root), proc(), tmpfs, *finish("sh", "-c", script)]
    status, output = output_of(steps, wrapper=without(*KERNELS[kernel]))
    assert status == 0 and output.startswith(
        "file\nlink\ncontent\n2750\ntouch: /real/x: Read-only file system\n"
    )
    table = "\n".join(line for line in output.splitlines() if " - " in line)
    options, _, kind, superblock = driver.mounts(table)["/real"]
    assert {"ro", "nosuid"} <= options and kind == "tmpfs" and "ro" in superblock


@pytest.mark.parametrize("kernel", [name for name, calls in KERNELS.items() if "fsopen" not in calls])
def test_the_hosts_where_a_new_one_is_refused(root: Path, kernel: str) -> None:
    """strace refuses it here, where else a user namespace would be."""
    bound = step(
        "mount_filesystem", type="sysfs", source="sysfs", target="/sys", attrs=ATTR_RDONLY, fallback="/sys"
    )
    wrapper = (*without(*KERNELS[kernel]), "-e", "inject=fsopen:error=EPERM:when=1")
    steps = [*begin(root), bound, proc(), *finish("ls", "/sys")]
    status, output = output_of(steps, wrapper=wrapper)
    assert status == 0 and set(output.split()) == set(os.listdir("/sys"))


def test_every_mount_of_a_tree_is_changed(root: Path) -> None:
    tree = [
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/t"),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/t/below"),
        step("tree_attributes", target="/t", set=ATTR_RDONLY | ATTR_NOEXEC),
    ]
    steps = [*begin(root), proc(), *tree, *finish("cat", "/proc/self/mountinfo")]
    status, output = output_of(steps)
    found = driver.mounts(output)
    assert status == 0 and all({"ro", "noexec"} <= found[point][0] for point in ("/t", "/t/below"))
    assert failure_of(steps, wrapper=without("mount_setattr"))[:2] == ("tree_attributes", "ENOSYS")
