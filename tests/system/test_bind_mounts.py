"""Bind mounts: what can be bound, where to, and what is said of what can't be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime


def bind(bundle: Bundle, source: Path | str, to: str, *options: str) -> Bundle:
    entry = {"destination": to, "source": str(source), "options": list(options or ("bind",))}
    bundle.config["mounts"].append(entry)
    return bundle


def run(runtime: Runtime, bundle: Bundle, script: str) -> str:
    bundle.shell(script).save()
    return runtime.ok("run", "--bundle", str(bundle.path), "c")


def refused(runtime: Runtime, bundle: Bundle) -> str:
    """What the refusal says, which leaves nothing of the container, nor of its mounts on the host."""
    before = Path("/proc/self/mountinfo").read_text()
    bundle.args("true").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1, done
    assert Path("/proc/self/mountinfo").read_text() == before
    return done.stderr


# ------------------------------------------------- what can be bound


def test_files_of_every_kind(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "device", 0o20666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    kinds = {
        "directory": "directory",
        "file": "regular empty file",
        "fifo": "fifo",
        "device": "character special file",
        "socket": "socket",
    }
    for name in kinds:
        bind(bundle, tmp_path / name, f"/made/for/{name}")
    output = run(runtime, bundle, "cd /made/for; for f in *; do stat -c '%n %F' $f; done")
    assert dict(line.split(" ", 1) for line in output.splitlines()) == kinds
    targets = {path.name: path.is_dir() for path in (bundle.rootfs / "made/for").iterdir()}
    assert targets == {name: name == "directory" for name in kinds}


def test_relative_sources_are_the_bundles(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "shared").mkdir()
    (bundle.path / "shared/file").write_text("content")
    assert run(runtime, bind(bundle, "shared", "/x"), "cat /x/file") == "content"


def test_relative_destinations_are_the_roots_with_a_warning(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    bind(bundle, tmp_path / "file", "etc/./x").shell("cat /etc/x").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert (done.returncode, done.stdout) == (0, "content")
    assert "/mounts/4/destination" in done.stderr and '"etc/./x" is taken as "/etc/./x"' in done.stderr


def test_mounts_are_made_in_their_order(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """One below another; and one above, which then hides it."""
    for name in ("one", "two"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    bind(bundle, tmp_path / "one", "/x")
    bind(bundle, tmp_path / "two", "/x/below")
    bind(bundle, tmp_path / "one", "/y/below")
    bind(bundle, tmp_path / "two", "/y")
    output = run(runtime, bundle, "cat /x/file /x/below/file /y/file; ls /y/below")
    assert output == "onetwotwo"


def test_the_hosts_root(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """All of it, and of what is mounted on it; for the host nothing has changed, nor after a failure."""
    (tmp_path / "file").write_text("of the host")
    before = Path("/proc/self/mountinfo").read_text()
    bind(bundle, "/", "/host", "rbind", "rro", "rslave")
    script = (
        f"cat /host{tmp_path}/file; ls -d /host/proc/self; touch /host{tmp_path}/new; cat /host/proc/1/comm"
    )
    bundle.shell(f"{script}; true").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.stdout.startswith("of the host/host/proc/self\n"), done
    assert done.stdout.endswith(Path("/proc/1/comm").read_text())
    assert "Read-only file system" in done.stderr and not (tmp_path / "new").exists()
    assert Path("/proc/self/mountinfo").read_text() == before
    bind(bundle, "/no/such", "/y")
    assert "/mounts/5/source" in refused(runtime, bundle)


def test_a_link_for_a_root_filesystem(runtime: Runtime, bundle: Bundle) -> None:
    """A directory must exist at root.path (config.md#root): through a link, it does."""
    bundle.rootfs.rename(bundle.path / "real")
    bundle.rootfs.symlink_to("real")
    (bundle.path / "real/here").touch()
    assert "/here" in run(runtime, bundle, "ls -d /here /bin")
    bundle.rootfs.unlink()
    bundle.rootfs.symlink_to("nowhere")
    assert "/root/path" in refused(runtime, bundle)


# ------------------------------------------------- what can't be


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{tmp}/none/file", "{tmp} has no none"),
        ("{tmp}/file/x", "{tmp}/file isn't a directory"),
        ("{tmp}/dangling", "{tmp}/dangling is a symbolic link to nowhere, which isn't there"),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_missing_source(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, source: str, says: str, mapped: bool
) -> None:
    """Which mount it is, both of its ends, and how far the path leads; also where the runtime opens it."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    path = source.format(tmp=tmp_path)
    error = refused(runtime, bind(bundle.in_user_namespace() if mapped else bundle, path, "/x"))
    assert f"/mounts/4/source: can't bind {path} on /x: open_tree" in error
    assert says.format(tmp=tmp_path) in error


@pytest.mark.parametrize("destination", ["/x/..", "/link", "/bin/../link/."])
def test_a_mount_on_the_root(runtime: Runtime, bundle: Bundle, tmp_path: Path, destination: str) -> None:
    """Which would leave the container in what lies beneath."""
    (bundle.rootfs / "link").symlink_to("/")
    (bundle.rootfs / "x").mkdir()
    error = refused(runtime, bind(bundle, tmp_path, destination))
    assert "/mounts/4/destination" in error and "the target is the container's root" in error
    assert "root.path" in error
    bundle.config["mounts"][4] = {"destination": destination, "type": "tmpfs", "source": "tmpfs"}
    assert "the target is the container's root" in refused(runtime, bundle)


def test_data_options_are_refused(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    error = refused(runtime, bind(bundle, tmp_path, "/x", "bind", "ro", "size=1k"))
    assert "/mounts/4/options/2" in error and "size=1k" in error and "bind mount" in error


# ------------------------------------------------- sources that only one may read


def test_a_source_below_what_the_containers_root_may_not_enter(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """As on NFS with root squashed: the runtime opens it in its caller's context."""
    (tmp_path / "closed/source").mkdir(parents=True)
    (tmp_path / "closed/source/file").write_text("content")
    (tmp_path / "closed").chmod(0o700)
    bind(bundle.in_user_namespace(), tmp_path / "closed/source", "/x")
    shutil.copy2("/bin/busybox", bundle.rootfs / "bin/busybox")
    (bundle.rootfs / "x").mkdir()
    assert run(runtime, bundle, "cat /x/file") == "content"


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[Path]:
    """A FUSE file system of user 1000's without allow_other: not even root may look into it. Nobody
    serves it, as nobody comes as far as to ask."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE")
    place = tmp_path / "fuse"
    place.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=1000,group_id=1000"
    subprocess.run(["mount", "-i", "-t", "fuse", "-o", options, "fuse", place], pass_fds=[device], check=True)
    yield place
    subprocess.run(["umount", place], check=True)
    os.close(device)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_a_source_that_tells_root_nothing(
    runtime: Runtime, bundle: Bundle, fuse: Path, mapped: bool, made: bool
) -> None:
    with pytest.raises(PermissionError):
        fuse.stat()
    if mapped:
        bundle.in_user_namespace()
    if made or mapped:
        (bundle.rootfs / "x").mkdir()
    bind(bundle, fuse, "/x", "bind", "nosuid")
    assert " /x rw,nosuid" in run(runtime, bundle, "grep ' /x ' /proc/self/mountinfo; ls /x; true")


# ------------------------------------------------- locked by a user namespace


NESTED = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]


def nested(bundle: Bundle) -> Bundle:
    """For a runtime in a user namespace that maps root alone, without rights to cgroups and devices."""
    linux = bundle.config["linux"]
    bundle.config["mounts"] = [
        mount for mount in bundle.config["mounts"] if mount["destination"] in ("/proc", "/dev")
    ]
    mapping = [{"containerID": 0, "hostID": 0, "size": 1}]
    linux.update(uidMappings=mapping, gidMappings=mapping)
    linux["namespaces"].append({"type": "user"})
    return bundle


def run_nested(runtime: Runtime, bundle: Bundle, script: str) -> subprocess.CompletedProcess[str]:
    bundle.shell(script).save()
    command = runtime.command("--cgroup-manager", "disabled", "run", "--bundle", str(bundle.path), "c")
    return subprocess.run([*NESTED, *command], capture_output=True, text=True, check=False)


@pytest.fixture
def flagged(tmp_path: Path) -> Iterator[Path]:
    """A mount with every flag that can be locked, and one below it with none but the times."""
    place = tmp_path / "flagged"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    (place / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev", "tmpfs", place / "below"], check=True)
    options = "remount,bind,ro,nosuid,nodev,noexec,noatime"
    subprocess.run(["mount", "-o", options, place], check=True)
    yield place
    subprocess.run(["umount", "--recursive", place], check=True)


@pytest.mark.parametrize("options", ["rbind", "rbind ro", "rbind nosuid nodev"])
def test_locked_flags_are_kept(runtime: Runtime, bundle: Bundle, flagged: Path, options: str) -> None:
    bind(nested(bundle), flagged, "/x", *options.split())
    done = run_nested(runtime, bundle, "grep ' /x' /proc/self/mountinfo")
    assert done.returncode == 0, done.stderr
    assert " /x ro,nosuid,nodev,noexec,noatime " in done.stdout


@pytest.mark.parametrize("options", ["rbind", "rbind ro", "bind"])
def test_the_hosts_flags_arent_the_containers_to_take_away(
    runtime: Runtime, bundle: Bundle, flagged: Path, options: str
) -> None:
    """The runtime may be root of the host: its container in a user namespace isn't, with any capability."""
    capabilities = bundle.in_user_namespace().config["process"]["capabilities"]
    for kind in capabilities:
        capabilities[kind].append("CAP_SYS_ADMIN")
    source = flagged / "below" if options == "bind" else flagged
    subprocess.run(["mount", "-o", "remount,bind,ro,nodev", flagged / "below"], check=True)
    bind(bundle, source, "/x", *options.split())
    (bundle.rootfs / "x").mkdir()
    script = "mount -o remount,bind,rw,dev /x; grep ' /x ' /proc/self/mountinfo"
    found = run(runtime, bundle, f"({script}) 2>&1")
    assert "ermission denied" in found or "not permitted" in found, found
    assert " /x ro," in found


@pytest.mark.parametrize(
    ("option", "flag", "below"),
    [
        ("rw", "ro", False),
        ("suid", "nosuid", False),
        ("dev", "nodev", False),
        ("exec", "noexec", False),
        ("atime", "noatime", False),
        ("relatime", "noatime", False),
        ("strictatime", "noatime", False),
        ("nodiratime", "diratime", False),
        ("rexec", "noexec", False),
        ("ro rnoatime", "relatime", True),
    ],
)
def test_what_locks_a_flag_is_named(
    runtime: Runtime, bundle: Bundle, flagged: Path, option: str, flag: str, below: bool
) -> None:
    bind(nested(bundle), flagged, "/x", "rbind", *option.split())
    done = run_nested(runtime, bundle, "true")
    assert done.returncode == 1
    place = flagged / "below" if below else flagged
    assert f"/mounts/2/options: can't bind {flagged} on /x: mount_setattr: " in done.stderr
    assert f"{flag} of the tmpfs on {place} is locked" in done.stderr


def test_what_locks_a_remount_is_named(runtime: Runtime, bundle: Bundle, flagged: Path) -> None:
    bind(nested(bundle), flagged, "/x", "rbind")
    bind(bundle, "", "/x", "remount", "bind", "rw")
    done = run_nested(runtime, bundle, "true")
    assert done.returncode == 1
    assert "/mounts/3/options: can't change the mount on /x: mount_setattr: clear ro: ro of" in done.stderr


# ------------------------------------------------- proc and sysfs in a user namespace


def test_sysfs_without_a_network_namespace_is_the_hosts(runtime: Runtime, bundle: Bundle) -> None:
    """As of crun, and with the options asked for, of what is mounted below it too."""
    linux = bundle.in_user_namespace().config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    output = run(runtime, bundle, "cat /proc/self/mountinfo; ls /sys/class/net")
    lines = [line for line in output.splitlines() if " - " in line and line.split()[4].startswith("/sys")]
    assert "- sysfs " in lines[0] and len(lines) > 1
    assert all(" ro,nosuid,nodev,noexec" in line for line in lines)
    assert set(os.listdir("/sys/class/net")) <= set(output.split())


def test_what_covers_the_hosts_proc_is_named(runtime: Runtime, bundle: Bundle) -> None:
    subprocess.run(["mount", "--bind", "/etc/hostname", "/proc/uptime"], check=True)
    try:
        error = refused(runtime, bundle.in_user_namespace())
    finally:
        subprocess.run(["umount", "/proc/uptime"], check=True)
    assert "/mounts/0: can't mount proc on /proc: fsmount: VFS: Mount too revealing" in error
    assert "parts of the proc on /proc are covered" in error and "on /proc/uptime" in error
    assert "bind /proc" in error


def test_proc_without_a_pid_namespace(runtime: Runtime, bundle: Bundle) -> None:
    linux = bundle.in_user_namespace().config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
    assert "proc needs a new pid namespace" in refused(runtime, bundle)
