"""Hostile root filesystems: nothing outside of them is made, changed or shown.

Each known attack on the making of a container that goes through paths of its root, once with the
kernel resolving them and once with the executor's own walk (as on kernels before 5.6).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import Step, begin, devices, failure_of, finish, make_rootfs, output_of, proc, step

WALK = ("strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", "inject=openat2:error=ENOSYS")
NULL = step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3, uid=-1, gid=-1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "root")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's, which is afterwards what it was."""
    directory = tmp_path / "outside"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("the host's")
    before = listing(directory)
    yield directory
    assert listing(directory) == before


def listing(directory: Path) -> list[tuple[str, int, int, str]]:
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        status = path.lstat()
        text = path.read_text() if stat.S_ISREG(status.st_mode) else ""
        found.append((str(path), status.st_mode, status.st_uid, text))
    return found


@pytest.fixture(params=["kernel", "walk"])
def wrapper(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "walk" and not shutil.which("strace"):
        pytest.skip("strace isn't installed")
    return WALK if request.param == "walk" else ()


def relative(root: Path, target: Path) -> str:
    """A way up that is longer than the path is deep, as an image that doesn't know it would use."""
    return "../" * 40 + str(target).lstrip("/")


MAKING = {
    "device": NULL,
    "symlink": step("make_symlink", path="/dev/fd", value="/proc/self/fd", replace=1),
    "replaced file": step("make_symlink", path="/dev/file", value="/proc/self/fd", replace=1),
    "directory": step("make_directory", path="/dev/sub/new", mode=0o777),
    "tmpfs": step("mount_filesystem", type="tmpfs", source="tmpfs", target="/dev/new/shm"),
    "bind of a directory": step("mount_bind", source="/etc", target="/dev/new/etc", recursive=1),
    "bind of a file": step("mount_bind", source="/etc/hostname", target="/dev/sub/name"),
    "copied link": step("mount_bind", source="/proc/self", target="/dev/new/link", flags=4),
    "mask": step("mask_path", path="/dev/sub"),
    "readonly": step("readonly_path", path="/dev/sub"),
    "remount": step("remount", target="/dev", set=driver.ATTR_RDONLY),
}


@pytest.mark.parametrize("link", ["absolute", "relative", "chain", "parent"])
@pytest.mark.parametrize("making", MAKING)
def test_a_link_doesnt_lead_out(
    root: Path, outside: Path, wrapper: tuple[str, ...], link: str, making: str
) -> None:
    """CVE-2019-18837, CVE-2026-41579: /dev, or what it leads to, is a link to a directory of the host's."""
    (root / "dev").rmdir()
    if link == "absolute":
        (root / "dev").symlink_to(outside)
    elif link == "relative":
        (root / "dev").symlink_to(relative(root, outside))
    elif link == "chain":
        (root / "dev").symlink_to("/tmp/one")
        (root / "tmp/one").symlink_to("two/../three")
        (root / "tmp/two").mkdir()
        (root / "tmp/three").symlink_to(outside)
    else:
        (root / "dev").symlink_to("tmp/../../" + relative(root, outside.parent))
    before = set(os.listdir("/"))
    with driver.running(
        [*begin(root), MAKING[making], step("wait_runtime", reason="")], wrapper=wrapper
    ) as run:
        report = run.receive()
        while report and report.kind == driver.CLONED:
            run.pidfds.append(report.descriptor)
            report = run.receive()
        # It's made where the link leads within the root, or refused where nothing is; never outside.
        assert report and report.kind in (driver.WAITING, driver.FAILED)
        assert not [line for line in mountinfo(run) if f" {outside}" in line.split(" - ")[0]]
    assert set(os.listdir("/")) == before


def mountinfo(run: driver.Run) -> list[str]:
    info = Path(f"/proc/self/fdinfo/{run.pidfds[0]}").read_text()
    pid = int(info.split("Pid:")[1].split()[0])
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
@pytest.mark.parametrize("path", ["/link", "/tmp/link", "/tmp/dir/below"])
def test_proc_and_sysfs_are_mounted_on_no_link(
    root: Path, wrapper: tuple[str, ...], kind: str, path: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-54867: also when it leads to a place in the root."""
    (root / "link").symlink_to("/proc")
    (root / "tmp/link").symlink_to("../proc")
    (root / "tmp/dir").symlink_to("..")
    mount = step("mount_filesystem", type=kind, source=kind, target=path)
    name, error, text = failure_of([*begin(root), mount], wrapper=wrapper)
    assert (name, error) == ("mount_filesystem", "ELOOP")
    assert text.endswith(" is a symbolic link")


@pytest.mark.parametrize("trick", ["link", "file", "other device"])
def test_a_mask_needs_the_real_null_device(
    root: Path, outside: Path, wrapper: tuple[str, ...], trick: str
) -> None:
    """CVE-2025-31133: else the mask would be a way to what was put there."""
    (root / "etc/secret").write_text("secret")
    null = root / "dev/null"
    if trick == "link":
        null.symlink_to(outside / "file")
    elif trick == "file":
        null.write_text("")
    elif trick == "other device":
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    name, error, _ = failure_of([*begin(root), step("mask_path", path="/etc/secret")], wrapper=wrapper)
    assert (name, error) == ("mask_path", "ENODEV")


@pytest.mark.parametrize("path", ["/etc/link", "/tmp/../etc/link", "/tmp/up/link"])
def test_a_mask_covers_a_link_itself(root: Path, wrapper: tuple[str, ...], path: str) -> None:
    """On the way there links are followed, within the root."""
    (root / "etc/secret").write_text("secret")
    (root / "etc/link").symlink_to("/tmp/../etc/secret")
    (root / "tmp/up").symlink_to("../etc")
    steps = [*begin(root), NULL, step("mask_path", path=path), *finish("cat", "/etc/secret", "/etc/link")]
    with driver.running(steps, wrapper=wrapper, stdout=subprocess.PIPE) as run:
        assert run.expect(driver.WARNING).text.startswith(f"{path} is a symbolic link")
        run.expect_end()
        assert run.process.stdout
        assert run.process.stdout.read() == b"secret"
        run.process.stdout.close()


@pytest.mark.parametrize("trick", ["link", "dangling link", "link to a directory"])
def test_the_console_is_no_link(root: Path, outside: Path, wrapper: tuple[str, ...], trick: str) -> None:
    """CVE-2025-52565."""
    targets = {
        "link": outside / "file",
        "dangling link": outside / "new",
        "link to a directory": outside / "sub",
    }
    link = step("make_symlink", path="/dev/console", value=str(targets[trick]))
    steps = [*begin(root), proc(), *devices(), link, step("new_session"), step("terminal", attach=1)]
    assert failure_of(steps, wrapper=wrapper) == ("terminal", "ELOOP", "/dev/console is a symbolic link")


def test_the_terminal_is_of_the_containers_devpts(
    root: Path, outside: Path, wrapper: tuple[str, ...]
) -> None:
    """A link at /dev/pts that leads to another instance, or a file over its ptmx."""
    steps = [*begin(root), *devices(), step("new_session")]
    cover = step("mount_bind", source=str(outside / "file"), target="/dev/pts/ptmx")
    name, error, _ = failure_of([*steps, cover, step("terminal")], wrapper=wrapper)
    assert (name, error) == ("terminal", "EXDEV")


@pytest.mark.parametrize(
    "path", ["/proc/self/fd/{}", "/proc/thread-self/fd/{}", "/proc/1/fd/{}", "/proc/self/cwd"]
)
def test_the_working_directory_isnt_a_leaked_one(root: Path, outside: Path, path: str) -> None:
    """CVE-2024-21626: a descriptor of a host directory, that should have been closed."""
    leaked = os.open(outside, os.O_RDONLY)
    try:
        enter = step("enter_directory", path=path.format(leaked), final=1)
        steps = [*begin(root), proc(), step("pivot_root"), enter, *finish("pwd", "-P")[2:]]
        if "cwd" in path:
            assert output_of(steps, pass_fds=(leaked,)) == (0, "/\n")
        else:
            assert failure_of(steps, pass_fds=(leaked,)) == (
                "enter_directory",
                "EPERM",
                f"{path.format(leaked)} is outside of the container",
            )
    finally:
        os.close(leaked)


def test_a_working_directory_isnt_made_outside(root: Path, outside: Path, wrapper: tuple[str, ...]) -> None:
    """Before the root is changed, too."""
    (root / "home").symlink_to(outside)
    make = step("make_directory", path="/home/new/deeper", mode=0o755)
    with driver.running([*begin(root), make, step("wait_runtime", reason="")], wrapper=wrapper) as run:
        assert run.expect(driver.WAITING)
    assert (root / str(outside).lstrip("/") / "new/deeper").is_dir()


def test_long_paths_and_many_links(root: Path, wrapper: tuple[str, ...]) -> None:
    (root / "l0").symlink_to("/tmp")
    for number in range(1, 60):
        (root / f"l{number}").symlink_to(f"l{number - 1}")
    last = {limit: step("make_directory", path=f"/l{limit}/d{limit}", mode=0o755) for limit in (39, 40, 59)}
    (root / "long").symlink_to("/tmp/" + "./" * 2000 + "far")
    (root / "grow").symlink_to("x/../" * 800 + "grow")
    (root / "x").mkdir()

    def made(item: Step) -> str:
        with driver.running([*begin(root), item, step("wait_runtime", reason="")], wrapper=wrapper) as run:
            report = run.receive()
            while report and report.kind == driver.CLONED:
                run.pidfds.append(report.descriptor)
                report = run.receive()
            assert report
            return report.text if report.kind == driver.FAILED else ""

    assert made(last[39]) == "" and (root / "tmp/d39").is_dir()
    for limit in (40, 59):
        assert "one symbolic link too many" in made(last[limit])
    assert made(step("make_directory", path="/long/new", mode=0o755)) == ""
    assert (root / "tmp/far/new").is_dir()
    assert made(step("make_directory", path="/grow/new", mode=0o755)) != ""
    assert made(step("make_directory", path="/" + "tmp/../" * 580 + "tmp/up", mode=0o755)) == ""
    assert (root / "tmp/up").is_dir()
    assert made(step("make_directory", path="/../../tmp/./top//", mode=0o755)) == ""
    assert (root / "tmp/top").is_dir()


# ------------------------------------------------------------------- races

RENAME_EXCHANGE = 2


def swap(one: Path, other: Path, stop: Event) -> None:
    """Another container with the same volume: exchanges two names until it is told to stop."""
    renameat2 = ctypes.CDLL(None).renameat2
    names = os.fsencode(one), os.fsencode(other)
    while not stop.is_set():
        for _ in range(100):
            renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE)


@pytest.fixture
def swapping(root: Path, outside: Path) -> Iterator[Path]:
    """root/volume/x, which is at one moment a directory and at the next a link to the host's."""
    volume = root / "volume"
    (volume / "x").mkdir(parents=True)
    (volume / "link").symlink_to(outside)
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    swapper = context.Process(target=swap, args=(volume / "x", volume / "link", stop))
    swapper.start()
    yield volume
    stop.set()
    swapper.join()


@pytest.mark.parametrize("rounds", [150])
def test_a_volume_that_changes_all_the_time(
    root: Path, outside: Path, swapping: Path, wrapper: tuple[str, ...], rounds: int
) -> None:
    """CVE-2021-30465, CVE-2024-45310: neither targets, nor devices, nor mounts end up outside."""
    outcomes = set()
    for number in range(rounds if not wrapper else rounds // 3):
        base = f"/volume/x/{number}"
        steps = [
            *begin(root),
            step("make_directory", path=f"{base}/directory", mode=0o755),
            step("mount_filesystem", type="tmpfs", source="tmpfs", target=f"{base}/tmpfs"),
            step("mount_bind", source="/etc/hostname", target=f"{base}/file"),
            step(
                "make_device", path=f"{base}/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3, uid=0, gid=0
            ),
            step("make_symlink", path=f"{base}/fd", value="/proc/self/fd", replace=1),
            step("wait_runtime", reason=""),
        ]
        with driver.running(steps, wrapper=wrapper) as run:
            report = run.receive()
            while report and report.kind == driver.CLONED:
                run.pidfds.append(report.descriptor)
                report = run.receive()
            assert report
            outcomes.add(report.kind)
            assert not [line for line in mountinfo(run) if f" {outside}" in line.split(" - ")[0]], report
    assert outcomes <= {driver.WAITING, driver.FAILED}


@pytest.mark.parametrize("rounds", [150])
def test_proc_on_a_path_that_changes_all_the_time(
    root: Path, outside: Path, swapping: Path, rounds: int
) -> None:
    """CVE-2019-19921: mounted on the real directory; where that went meanwhile, it fails."""
    for _ in range(rounds):
        mount = step("mount_filesystem", type="proc", source="proc", target="/volume/x")
        with driver.running([*begin(root), mount, step("wait_runtime", reason="")]) as run:
            report = run.receive()
            while report and report.kind == driver.CLONED:
                run.pidfds.append(report.descriptor)
                report = run.receive()
            lines = [line for line in mountinfo(run) if " - proc " in line and str(root) in line]
            assert report and (len(lines) == 1 if report.kind == driver.WAITING else len(lines) <= 1)
            assert all(line.split(" ")[4] in (f"{root}/volume/x", f"{root}/volume/link") for line in lines)
