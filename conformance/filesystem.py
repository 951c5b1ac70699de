"""config.md#root and #mounts, and config-linux.md where it is about files: what is where."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from conformance import cgroups
from conformance.harness import Container, World, refused
from conformance.registry import SHOULD, Skip, check, equal, requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "config.md#root"
MOUNTS = "config.md#mounts"
OPTIONS = "config.md#linux-mount-options"
DEVICES = "config-linux.md#devices"
DEFAULT_DEVICES = "config-linux.md#default-devices"


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def at(view: dict[str, Any], point: str) -> dict[str, Any]:
    """The topmost mount at `point` in a probe's view."""
    found = [entry for entry in view["mounts"] if entry["point"] == point]
    check(found, f"nothing is mounted at {point}")
    return dict(found[-1])


def bind_source(world: World, text: str = "of the source") -> Path:
    source = world.scratch / f"source-{len(list(world.scratch.iterdir()))}"
    source.mkdir()
    source.chmod(0o755)
    (source / "file").write_text(text)
    return source


def view_with_mounts(world: World, *mounts: dict[str, Any], ask: tuple[str, ...] = ()) -> dict[str, Any]:
    container = world.container()
    container.config["mounts"].extend(mounts)
    return container.view(*(word for path in ask for word in ("--path", path)))


# ---------------------------------------------------------------- root


@requirement(ROOT)
def root_is_the_rootfs(world: World) -> None:
    """The container's root is root.path, relative to the bundle or absolute, and nothing of the host's."""
    container = world.container()
    (container.rootfs / "work/here").write_text("in the root")
    view = container.view("--path", "/work/here", "--path", str(container.directory))
    equal(view["paths"]["/work/here"].get("content"), "in the root", "a file of the root filesystem")
    equal(view["paths"][str(container.directory)]["errno"], errno.ENOENT, "errno of the bundle's path")
    container.config["root"]["path"] = str(container.rootfs)
    view = container.view("--path", "/work/here")
    equal(view["paths"]["/work/here"].get("content"), "in the root", "the file with an absolute root.path")


@requirement(ROOT)
def root_is_writable_by_default(world: World) -> None:
    """Without `readonly`, the root file system can be written to."""
    view = world.container().view("--path", "/work", "--path", "/")
    equal([view["paths"][path]["write_errno"] for path in ("/work", "/")], [0, 0], "errno of writing")


@requirement(ROOT)
def root_readonly_is_read_only(world: World) -> None:
    """With `readonly`, the root file system can't be written to, mounts in it can."""
    container = world.container()
    container.config["root"]["readonly"] = True
    view = container.view("--path", "/work", "--path", "/", "--path", "/etc/passwd", "--path", "/dev/shm")
    for path in ("/work", "/", "/etc/passwd"):
        equal(view["paths"][path]["write_errno"], errno.EROFS, f"errno of writing to {path}")
    equal(view["paths"]["/dev/shm"]["write_errno"], 0, "errno of writing to a mount")
    equal((container.rootfs / "work").is_dir(), True, "the rootfs on the host")


@requirement(
    "config-linux.md#rootfs-mount-propagation",
    deviations={
        "runc": "1.1.5 makes a shared root private",
    },
)
def root_propagation_is_set(world: World) -> None:
    """rootfsPropagation is the propagation of the root mount: shared, slave, private, unbindable."""
    for value, tag in (("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")):
        container = world.container()
        container.config["linux"]["rootfsPropagation"] = value
        tags = at(container.view(), "/")["propagation"]
        expected = all(t.startswith(tag) for t in tags) and bool(tags) if tag else not tags
        check(expected, f"{value}: propagation of / is {tags}")


@requirement("config-linux.md#rootfs-mount-propagation")
def root_slave_does_not_send(world: World) -> None:
    """With rootfsPropagation slave, the root mount is in no peer group it would send to."""
    container = world.container()
    container.config["linux"]["rootfsPropagation"] = "slave"
    tags = at(container.view(), "/")["propagation"]
    check(not any(tag.startswith("shared:") for tag in tags), f"propagation of / is {tags}")


# ---------------------------------------------------------------- mounts


@requirement(MOUNTS)
def mounts_are_made_in_the_listed_order(world: World) -> None:
    """Entries are mounted in the listed order: a later one covers or fills an earlier one."""
    first, second = bind_source(world, "first"), bind_source(world, "second")
    (first / "inner").mkdir()
    outer_bind = mount("/work", "bind", str(first), "bind")
    inner_bind = mount("/work/inner", "bind", str(second), "bind")
    view = view_with_mounts(world, outer_bind, inner_bind, ask=("/work/inner/file", "/work/file"))
    equal(view["paths"]["/work/inner/file"].get("content"), "second", "a mount in an earlier mount")
    equal(view["paths"]["/work/file"].get("content"), "first", "the earlier mount")

    view = view_with_mounts(world, inner_bind, outer_bind, ask=("/work/inner/file",))
    equal(
        view["paths"]["/work/inner/file"]["errno"], errno.ENOENT, "errno of a mount that a later one covers"
    )

    twice = (mount("/work", "bind", str(first), "bind"), mount("/work", "bind", str(second), "bind"))
    view = view_with_mounts(world, *twice, ask=("/work/file",))
    equal(view["paths"]["/work/file"].get("content"), "second", "two mounts at one destination")


@requirement(
    MOUNTS,
    deviations={
        "runc": "1.1.5 gives a tmpfs the mode of the directory it covers",
    },
)
def mounts_of_the_usual_kinds(world: World) -> None:
    """proc, sysfs, tmpfs, devpts and mqueue are mounted, with the data options given."""
    view = view_with_mounts(
        world, mount("/work", "tmpfs", "tmpfs", "size=64k", "mode=1701", "uid=7"), ask=("/work",)
    )
    for point, kind in (
        ("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue"), ("/work", "tmpfs"),
    ):  # fmt: skip
        equal(at(view, point)["type"], kind, f"type of {point}")
    check("size=64k" in at(view, "/work")["super"].split(","), f"super options {at(view, '/work')['super']}")
    equal((view["paths"]["/work"]["mode"], view["paths"]["/work"]["uid"]), (0o1701, 7), "mode and uid")
    check("newinstance" in at(view, "/dev/pts")["super"] or "ptmxmode=666" in at(view, "/dev/pts")["super"],
          f"options of /dev/pts: {at(view, '/dev/pts')['super']}")  # fmt: skip


@requirement(MOUNTS)
def mount_of_unknown_type_is_an_error(world: World) -> None:
    """A file system type the kernel hasn't makes `create` fail and leaves nothing."""
    container = world.container()
    container.config["mounts"].append(mount("/work", "nosuchfs", "none"))
    refused(container.create(), "the file system type is unknown")
    equal(world.leftovers(), [], "left behind")


@requirement(MOUNTS)
def mount_relative_destination_is_below_the_root(world: World) -> None:
    """A relative destination, which is deprecated, is interpreted as relative to `/`."""
    view = view_with_mounts(world, mount("work/relative", "tmpfs", "tmpfs"))
    equal(at(view, "/work/relative")["type"], "tmpfs", "type of the mount")


@requirement(MOUNTS, SHOULD)
def mount_points_are_made(world: World) -> None:
    """A destination that doesn't exist is made: a directory, or a file to bind a file to."""
    source = bind_source(world)
    view = view_with_mounts(
        world,
        mount("/work/deep/directory", "tmpfs", "tmpfs"),
        mount("/work/new/file", "bind", str(source / "file"), "bind"),
        ask=("/work/new/file",),
    )
    equal(at(view, "/work/deep/directory")["type"], "tmpfs", "type of the mount at the made directory")
    equal(view["paths"]["/work/new/file"].get("content"), "of the source", "file bound to the made file")


@requirement(MOUNTS)
def mount_destination_stays_in_the_root(world: World) -> None:
    """A destination through a symbolic link is resolved in the container's root, never on the host."""
    container = world.container()
    outside = world.scratch / "outside"
    outside.mkdir()
    (container.rootfs / "absolute").symlink_to(outside)
    (container.rootfs / "upward").symlink_to("../../../../../../../.." + str(outside))
    container.config["mounts"] += [
        mount("/absolute/one", "tmpfs", "tmpfs"),
        mount("/upward/two", "tmpfs", "tmpfs"),
    ]
    if container.create().ok and container.start().ok:
        container.wait()
    equal(os.listdir(outside), [], "what was made on the host")
    equal(world.leftovers_mounts(), [], "mounts on the host")


# ---------------------------------------------------------------- bind mounts


@requirement(MOUNTS)
def bind_shows_the_source(world: World) -> None:
    """`bind` shows a directory or a file of the host, which can be written to."""
    source = bind_source(world)
    view = view_with_mounts(
        world,
        mount("/work", "bind", str(source), "bind"),
        mount("/etc/group", "none", str(source / "file"), "bind"),
        ask=("/work", "/work/file", "/etc/group"),
    )
    equal(view["paths"]["/work/file"].get("content"), "of the source", "file in the directory")
    equal(view["paths"]["/etc/group"].get("content"), "of the source", "file bound to a file")
    equal(
        [view["paths"][path]["write_errno"] for path in ("/work", "/etc/group")], [0, 0], "errno of writing"
    )


@requirement(MOUNTS)
def bind_source_is_relative_to_the_bundle(world: World) -> None:
    """A relative source of a bind mount is relative to the bundle."""
    container = world.container()
    (container.directory / "data").mkdir()
    (container.directory / "data/file").write_text("of the bundle")
    container.config["mounts"].append(mount("/work", "bind", "data", "bind"))
    view = container.view("--path", "/work/file")
    equal(view["paths"]["/work/file"].get("content"), "of the bundle", "content")


@requirement(OPTIONS)
def bind_is_not_recursive_and_rbind_is(world: World) -> None:
    """`bind` shows one mount of the source's tree, `rbind` all below it."""
    # The runtime's own mount namespace has proc, and below it or below /dev other mounts.
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inner = next((p for p in points if p.startswith("/dev/") and p.count("/") == 2), None)
    if inner is None:
        raise Skip("nothing is mounted below /dev on this machine")
    name = inner.removeprefix("/dev/")
    view = view_with_mounts(world, mount("/work", "bind", "/dev", "bind"))
    equal(
        [m["point"] for m in view["mounts"] if m["point"].startswith("/work")], ["/work"], "mounts with bind"
    )
    view = view_with_mounts(world, mount("/work", "bind", "/dev", "rbind"))
    check(f"/work/{name}" in [m["point"] for m in view["mounts"]], f"rbind of /dev does not show /dev/{name}")


@requirement(OPTIONS)
def bind_readonly_is_read_only(world: World) -> None:
    """`ro` makes a bind mount read-only, and the source stays writable on the host."""
    source = bind_source(world)
    for kind in ("bind", "rbind"):
        view = view_with_mounts(
            world, mount("/work", "bind", str(source), kind, "ro"), ask=("/work", "/work/file")
        )
        for path in ("/work", "/work/file"):
            equal(view["paths"][path]["write_errno"], errno.EROFS, f"errno of writing to {path} ({kind})")
    (source / "file").write_text("the host writes")


@requirement(MOUNTS)
def bind_of_missing_source_is_an_error(world: World) -> None:
    """A bind mount whose source isn't there makes `create` fail, and the source isn't made."""
    container = world.container()
    missing = world.scratch / "missing"
    container.config["mounts"].append(mount("/work", "bind", str(missing), "bind"))
    refused(container.create(), "the source is missing")
    check(not missing.exists(), "the source was made on the host")


# ---------------------------------------------------------------- mount options


_KEEPS = {"crun": "1.8.1 does not take back what an earlier option said"}
_HANDS_ON = "hands it to the file system, which knows no such option"
# Options that Debian's runtimes have otherwise than the specification.
OPTION_DEVIATIONS = {
    "defaults": {"runc": f"1.1.5 {_HANDS_ON}"},
    "suid": _KEEPS,
    "dev": _KEEPS,
    "exec": _KEEPS,
    "atime": _KEEPS,
    "diratime": _KEEPS,
    "async": _KEEPS,
    **{
        option: {"crun": f"1.8.1 {_HANDS_ON}"}
        for option in ("silent", "loud", "iversion", "noiversion", "nosymfollow", "symfollow")
    },
    "rnoatime": {
        "crun": "1.8.1 sets the access time's mode without clearing the old, which the kernel refuses"
    },
}


def option_requirement(
    option: str, level: str, expected: str | None, unexpected: str | None, *base: str
) -> None:
    """Register the requirement that a mount option has its effect on a tmpfs's mount flags."""

    def test(world: World) -> None:
        view = view_with_mounts(world, mount("/work", "tmpfs", "tmpfs", *base, option))
        entry = at(view, "/work")
        flags = entry["options"].split(",") + entry["super"].split(",")
        check(expected is None or expected in flags, f"{option}: no {expected} in {flags}")
        check(unexpected is None or unexpected not in flags, f"{option}: {unexpected} in {flags}")

    test.__name__ = f"option_{option}"
    test.__doc__ = f"The mount option `{option}` has its effect."
    requirement(OPTIONS, level, deviations=OPTION_DEVIATIONS.get(option))(test)


for _option, _expected, _unexpected, _base in (
    ("ro", "ro", None, ()), ("rw", "rw", None, ("ro",)),
    ("nosuid", "nosuid", None, ()), ("suid", None, "nosuid", ("nosuid",)),
    ("nodev", "nodev", None, ()), ("dev", None, "nodev", ("nodev",)),
    ("noexec", "noexec", None, ()), ("exec", None, "noexec", ("noexec",)),
    ("noatime", "noatime", None, ()), ("atime", None, "noatime", ("noatime",)),
    ("nodiratime", "nodiratime", None, ()), ("diratime", None, "nodiratime", ("nodiratime",)),
    ("relatime", "relatime", None, ()), ("strictatime", None, "relatime", ()),
    ("norelatime", None, "noatime", ()), ("nostrictatime", None, "noatime", ()),
    ("sync", "sync", None, ()), ("async", None, "sync", ("sync",)), ("dirsync", "dirsync", None, ()),
    ("defaults", "rw", None, ()), ("silent", None, None, ()), ("loud", None, None, ()),
    ("lazytime", "lazytime", None, ()), ("nolazytime", None, "lazytime", ()),
    ("iversion", None, None, ()), ("noiversion", None, None, ()),
):  # fmt: skip
    option_requirement(_option, "MUST", _expected, _unexpected, *_base)
option_requirement("nosymfollow", SHOULD, "nosymfollow", None)
option_requirement("symfollow", SHOULD, None, "nosymfollow", "nosymfollow")


@requirement(
    OPTIONS,
    deviations={
        "crun": "1.8.1 leaves a new tmpfs private",
    },
)
def option_propagation_is_set(world: World) -> None:
    """The propagation options set the mount's own, recursive or not."""
    for option, tag in (
        ("shared", "shared:"), ("rshared", "shared:"), ("private", ""), ("rprivate", ""), ("slave", ""),
        ("rslave", ""), ("unbindable", "unbindable"), ("runbindable", "unbindable"),
    ):  # fmt: skip
        view = view_with_mounts(world, mount("/work", "tmpfs", "tmpfs", option))
        tags = at(view, "/work")["propagation"]
        holds = bool(tags) and all(t.startswith(tag) for t in tags) if tag else not tags
        check(holds, f"{option}: propagation is {tags}")


@requirement(OPTIONS)
def option_remount_changes_flags(world: World) -> None:
    """`remount` changes an earlier mount."""
    view = view_with_mounts(
        world,
        mount("/work", "tmpfs", "tmpfs"),
        mount("/work", "tmpfs", "tmpfs", "remount", "ro"),
        ask=("/work",),
    )
    equal(view["paths"]["/work"]["write_errno"], errno.EROFS, "errno of writing")


def recursive_requirement(option: str, flag: str, base: tuple[str, ...] = ()) -> None:
    """Register the requirement that a recursive option reaches the mounts below an rbind mount."""

    def test(world: World) -> None:
        view = view_with_mounts(world, mount("/work", "bind", "/dev", "rbind", *base, option))
        below = [m for m in view["mounts"] if m["point"].startswith("/work/")]
        if not below:
            raise Skip("nothing is mounted below /dev on this machine")
        for entry in [at(view, "/work"), *below]:
            check(flag in entry["options"].split(","), f"{entry['point']} has {entry['options']}")

    test.__name__ = f"option_{option}_reaches_below"
    test.__doc__ = f"The mount option `{option}` has its effect on the mount and those below it."
    requirement(OPTIONS, SHOULD, deviations=OPTION_DEVIATIONS.get(option))(test)


for _option, _flag in (("rro", "ro"), ("rnosuid", "nosuid"), ("rnoexec", "noexec"), ("rnoatime", "noatime")):
    recursive_requirement(_option, _flag)


# ---------------------------------------------------------------- devices


@requirement(DEFAULT_DEVICES)
def default_devices_are_there(world: World) -> None:
    """null, zero, full, random, urandom and tty are supplied, and can be read and written."""
    names = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    view = world.container().view(*(word for name in names for word in ("--path", f"/dev/{name}")))
    for name, device in names.items():
        found = view["dev"].get(name)
        check(found is not None, f"there is no /dev/{name}")
        equal((found.get("type"), found.get("device")), ("character", device), f"/dev/{name}")
        if name != "tty":
            equal(view["paths"][f"/dev/{name}"]["read_errno"], 0, f"errno of reading /dev/{name}")
            equal(
                view["paths"][f"/dev/{name}"]["write_errno"], 0, f"errno of opening /dev/{name} for writing"
            )


@requirement(DEFAULT_DEVICES)
def default_devices_are_for_everyone(world: World) -> None:
    """The default devices can be used by a user other than root."""
    container = world.container()
    container.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    names = ("null", "zero", "full", "random", "urandom")
    view = container.view(*(word for name in names for word in ("--path", f"/dev/{name}")))
    for name in names:
        equal(view["paths"][f"/dev/{name}"]["read_errno"], 0, f"errno of reading /dev/{name}")


@requirement(DEFAULT_DEVICES)
def default_ptmx_is_of_the_containers_devpts(world: World) -> None:
    """/dev/ptmx is a bind mount of, or a symbolic link to, the container's own /dev/pts/ptmx."""
    view = world.container().view("--path", "/dev/ptmx", "--path", "/dev/pts/ptmx")
    found = view["paths"]["/dev/ptmx"]
    if found["type"] == "symlink":
        check(found["target"] in ("pts/ptmx", "/dev/pts/ptmx"), f"/dev/ptmx leads to {found['target']!r}")
    else:
        equal((found["type"], found.get("device")), ("character", "5:2"), "/dev/ptmx")
    equal(
        found["read_errno"] in (0, errno.EAGAIN), True, f"errno of reading /dev/ptmx ({found['read_errno']})"
    )


@requirement("runtime-linux.md#dev-symbolic-links")
def dev_symlinks_are_there(world: World) -> None:
    """/dev/fd, stdin, stdout and stderr lead to /proc/self/fd."""
    view = world.container().view()
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        found = view["dev"].get(name, {})
        equal(found.get("target"), f"/proc/self/fd{target}", f"target of /dev/{name}")


@requirement(DEVICES)
def devices_are_made(world: World) -> None:
    """`devices` are available with type, number, mode and owner, in /dev or elsewhere."""
    container = world.container()
    container.config["linux"]["devices"] = [
        {"path": "/dev/alike", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/work/elsewhere/zero", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
        {"path": "/dev/disk", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660, "uid": 0, "gid": 6},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
    ]
    paths = ("/dev/alike", "/work/elsewhere/zero", "/dev/disk", "/dev/pipe")
    view = container.view(*(word for path in paths for word in ("--path", path)))
    expected = {
        "/dev/alike": ("character", "1:3", 0o640, 3, 4),
        "/work/elsewhere/zero": ("character", "1:5", 0o600, 0, 0),
        "/dev/disk": ("block", "7:200", 0o660, 0, 6),
        "/dev/pipe": ("fifo", None, 0o622, 0, 0),
    }
    for path, properties in expected.items():
        found = view["paths"][path]
        seen = (found.get("type"), found.get("device"), found.get("mode"), found.get("uid"), found.get("gid"))
        equal(seen, properties, path)


@requirement(
    DEVICES,
    deviations={
        "runc": "1.1.5 takes any file that is there",
        "crun": "1.8.1 takes any file that is there",
    },
)
def device_over_another_file_is_an_error(world: World) -> None:
    """A file at a device's path that is not the device asked for is an error."""
    container = world.container()
    (container.rootfs / "work/null").write_text("a file")
    container.config["linux"]["devices"] = [{"path": "/work/null", "type": "c", "major": 1, "minor": 3}]
    refused(container.create(), "a regular file is where the device should be")
    equal(world.leftovers(), [], "left behind")


@requirement(DEVICES)
def device_that_is_there_is_taken(world: World) -> None:
    """A file at a device's path that is the device asked for is no error."""
    container = world.container()
    os.mknod(container.rootfs / "work/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    container.config["linux"]["devices"] = [
        {"path": "/work/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}
    ]
    equal(container.view("--path", "/work/null")["paths"]["/work/null"].get("device"), "1:3", "device")


# ---------------------------------------------------------------- masked and read-only paths


def fixture(container: Container) -> None:
    for name in ("one", "two"):
        (container.rootfs / f"work/{name}").mkdir()
        (container.rootfs / f"work/{name}/file").write_text("secret")
    (container.rootfs / "work/plain").write_text("secret")


@requirement("config-linux.md#masked-paths")
def masked_paths_cannot_be_read(world: World) -> None:
    """A masked file has no content to read, a masked directory no entries; what is not there is no error."""
    container = world.container()
    fixture(container)
    container.config["linux"]["maskedPaths"] += ["/work/one", "/work/plain", "/work/none"]
    paths = ("/work/one", "/work/one/file", "/work/plain", "/work/two/file", "/work/none", "/proc/kcore")
    found = container.view(*(word for path in paths for word in ("--path", path)))["paths"]
    equal(found["/work/one"].get("entries", []), [], "entries of a masked directory")
    check(found["/work/one/file"]["errno"] != 0, "a file in a masked directory can be seen")
    check(not found["/work/plain"].get("content"), f"content of a masked file: {found['/work/plain']}")
    check(not found["/proc/kcore"].get("content"), "/proc/kcore can be read")
    equal(found["/work/two/file"].get("content"), "secret", "a file that is not masked")
    equal(found["/work/none"]["errno"], errno.ENOENT, "errno of a masked path that isn't there")


@requirement("config-linux.md#masked-paths", SHOULD)
def masked_paths_cannot_be_written(world: World) -> None:
    """Nothing can be put into a masked directory."""
    container = world.container()
    fixture(container)
    container.config["linux"]["maskedPaths"] += ["/work/one"]
    found = container.view("--path", "/work/one")["paths"]["/work/one"]
    check(found["write_errno"] != 0, "a directory could be made in a masked directory")


@requirement("config-linux.md#readonly-paths")
def readonly_paths_cannot_be_written(world: World) -> None:
    """A read-only path can be read and not written to, nor what is below; what isn't there is no error."""
    container = world.container()
    fixture(container)
    container.config["linux"]["readonlyPaths"] += ["/work/one", "/work/plain", "/work/none"]
    paths = ("/work/one", "/work/one/file", "/work/plain", "/work/two", "/proc/sys/kernel/hostname")
    found = container.view(*(word for path in paths for word in ("--path", path)))["paths"]
    for path in ("/work/one", "/work/one/file", "/work/plain", "/proc/sys/kernel/hostname"):
        equal(found[path].get("write_errno"), errno.EROFS, f"errno of writing to {path}")
    equal(found["/work/one/file"].get("content"), "secret", "content below a read-only path")
    equal(found["/work/two"]["write_errno"], 0, "errno of writing elsewhere")


@requirement("config-linux.md#masked-paths")
def masked_path_through_a_link_stays_inside(world: World) -> None:
    """A masked or read-only path that is a symbolic link never changes a file of the host."""
    container = world.container()
    outside = bind_source(world)
    (container.rootfs / "masked").symlink_to(outside)
    (container.rootfs / "readonly").symlink_to(outside)
    container.config["linux"]["maskedPaths"].append("/masked")
    container.config["linux"]["readonlyPaths"].append("/readonly")
    if container.create().ok and container.start().ok:
        container.wait()
    equal((outside / "file").read_text(), "of the source", "a file of the host")
    equal(world.leftovers_mounts(), [], "mounts on the host")


# ---------------------------------------------------------------- the cgroup file system


@requirement(MOUNTS)
def cgroup_mount_shows_the_containers_cgroup(world: World) -> None:
    """A mount of type `cgroup` shows the container's own cgroup; `ro` makes it read-only."""
    container = world.container()
    container.config["mounts"].append(
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    )
    first = "/sys/fs/cgroup/pids" if "pids" in cgroups.hierarchies() else "/sys/fs/cgroup"
    view = container.view("--path", f"{first}/cgroup.procs", "--path", first)
    procs = view["paths"][f"{first}/cgroup.procs"]
    equal(procs["errno"], 0, "errno of cgroup.procs")
    check("1" in procs.get("content", "").split(), f"the process isn't in the cgroup it sees: {procs}")
    check(view["paths"][first]["write_errno"] != 0, "a cgroup could be made below a read-only mount")
