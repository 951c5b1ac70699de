"""The bundles that runtimes are compared on for their mounts: many mounts each, of every kind and option."""

from __future__ import annotations

import os
import socket
import stat

from conformance.linux import SHIFT, set_namespace, with_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from conformance.harness import Container, World

# Options that make a difference alone, those that take another back, and their order.
FLAGS = (
    "ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime", "ro,rw",
    "rw,ro", "noatime,relatime", "strictatime,noatime", "nosuid,nodev,noexec,ro",
    "ro,nosuid,nodev,noexec,noatime,nodiratime",
)  # fmt: skip
# An option and its opposite: what is said later holds.
TAKEN_BACK = (
    "nosuid,suid", "nodev,dev", "noexec,exec", "noatime,atime", "nodiratime,diratime", "sync,async",
    "strictatime,nostrictatime", "relatime,norelatime", "lazytime,nolazytime", "mand,nomand",
)  # fmt: skip
# The whole file system's: a bind has none of these.
FILESYSTEM_FLAGS = (
    "sync", "dirsync", "lazytime", "mand", "size=64k,mode=1750,uid=3,gid=4", "nr_inodes=100,mode=0711",
)  # fmt: skip
# Of a bind alone: to a new file system Debian's runtimes hand these, one or the other, as its own options.
BIND_FLAGS = ("defaults", "nosymfollow")
PROPAGATION = (
    "private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable",
    "rshared,ro",
)  # fmt: skip
RECURSIVE = (
    "rro", "rnosuid", "rnodev", "rnoexec", "rro,rnosuid,rnodev,rnoexec", "ro", "rprivate,rro", "rrw",
    "rsuid", "rdev", "rexec", "rsuid,rdev,rexec", "rrelatime", "rnorelatime", "rnosymfollow", "rsymfollow",
    "rro,rrw", "rnosuid,rsuid",
)  # fmt: skip
# What runc 1.1.5 refuses of new file systems, or has no effect there.
BEYOND_RUNC = ("defaults", "rro", "rrw", "rnosuid", "rnodev", "rnoexec", "rnosuid,rnodev,rnoexec")
# What crun 1.8.1 refuses: on new file systems, and on trees.
BEYOND_CRUN = (
    "silent", "loud", "iversion", "noiversion", "nosymfollow", "nosymfollow,symfollow", "noexec,silent",
)  # fmt: skip
RECURSIVE_BEYOND_CRUN = (
    "rnoatime", "rstrictatime", "rnodiratime", "rdiratime", "rnoatime,rnodiratime", "rro,rnoatime",
)  # fmt: skip


def mount(destination: str, kind: str, source: str | Path, options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": str(source), "options": options.split(",")}


def tree(container: Container) -> Path:
    """A directory of the host's beside the bundle: files, a link, a FIFO, a device."""
    place = container.directory / "source"
    (place / "directory/deep").mkdir(parents=True)
    (place / "file").write_text("of the source")
    (place / "directory/file").write_text("in a directory")
    (place / "link").symlink_to("file")
    os.mkfifo(place / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
    os.mknod(place / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            os.chown(path, SHIFT, SHIFT)
    return place


def flags(world: World) -> Container:
    """Every option of a mount, on file systems of its own and on binds of a directory and of a file."""
    container = world.container()
    source = tree(container)
    found = container.config["mounts"]
    found.append(mount("/m", "tmpfs", "tmpfs", "mode=755"))
    for options in (*FLAGS, *FILESYSTEM_FLAGS, *PROPAGATION):
        found.append(mount(f"/m/tmpfs {options}", "tmpfs", "tmpfs", options))
    for options in (*FLAGS, *BIND_FLAGS, *PROPAGATION):
        found.append(mount(f"/m/bind {options}", "bind", source, f"bind,{options}"))
        found.append(mount(f"/m/file {options}", "none", source / "file", f"rbind,{options}"))
    container.config["linux"]["rootfsPropagation"] = "rslave"
    return container


def taken_back(world: World) -> Container:
    """Options that are taken back, on file systems of its own and on binds, all of it shared."""
    container = world.container()
    source = tree(container)
    found = container.config["mounts"]
    found.append(mount("/m", "tmpfs", "tmpfs", "mode=755"))
    for options in TAKEN_BACK:
        found.append(mount(f"/m/tmpfs {options}", "tmpfs", "tmpfs", options))
        if options not in ("sync,async", "lazytime,nolazytime", "mand,nomand"):
            found.append(mount(f"/m/bind {options}", "bind", source, f"bind,{options}"))
    container.config["linux"]["rootfsPropagation"] = "rshared"
    return container


def beyond_crun(world: World) -> Container:
    """What runc has and crun has not, below a shared root."""
    container = world.container()
    found = container.config["mounts"]
    found.append(mount("/m", "tmpfs", "tmpfs", "mode=755"))
    for options in BEYOND_CRUN:
        found.append(mount(f"/m/tmpfs {options}", "tmpfs", "tmpfs", options))
    for options in RECURSIVE_BEYOND_CRUN:
        found.append(mount(f"/m/tree {options}", "bind", "/dev", f"rbind,{options}"))
    container.config["linux"]["rootfsPropagation"] = "shared"
    return container


def beyond_runc(world: World) -> Container:
    """What crun has and runc has not, below a root that can't be bound."""
    container = world.container()
    found = container.config["mounts"]
    found.append(mount("/m", "tmpfs", "tmpfs", "mode=755"))
    for options in BEYOND_RUNC:
        found.append(mount(f"/m/tmpfs {options}", "tmpfs", "tmpfs", options))
    container.config["linux"]["rootfsPropagation"] = "unbindable"
    return container


def cgroups(world: World) -> Container:
    """A writable mount of the container's cgroups, without a namespace of them."""
    container = world.container()
    container.config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev"))
    return container


def own_cgroups(world: World) -> Container:
    """The same with a namespace, where the file system itself is mounted."""
    container = cgroups(world)
    set_namespace(container.config, "cgroup")
    return container


def mapped(world: World) -> Container:
    """Binds whose owners are mapped to the container's."""
    container = world.container()
    source = tree(container)
    for path in (source, *source.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    with_user_namespace(container)
    shifted = f"bind,idmap=uids=0-{SHIFT + 5}-10;gids=0-{SHIFT + 6}-10"
    container.config["mounts"] += [
        mount("/m/mapped", "bind", source, "bind,idmap"),
        mount("/m/plain", "bind", source, "bind"),
        mount("/m/shifted", "bind", source / "directory", shifted),
    ]
    return container


def recursive(world: World) -> Container:
    """Options for a whole tree of mounts: the host's /dev and what is mounted in it."""
    container = world.container()
    found = container.config["mounts"]
    for options in (*RECURSIVE, *PROPAGATION):
        found.append(mount(f"/m/{options}", "bind", "/dev", f"rbind,{options}"))
        found.append(mount(f"/n/{options}", "bind", "/dev", f"bind,{options}"))
    container.config["linux"]["rootfsPropagation"] = "private"
    return container


def _everything(container: Container) -> Container:
    """Binds of every kind of file, nested and relative ones, a tmpfs that copies, masks, devices."""
    source = tree(container)
    root = container.rootfs
    (root / "copied/below").mkdir(parents=True)
    (root / "copied/file").write_text("copied")
    (root / "copied/link").symlink_to("file")
    (root / "hidden/below").mkdir(parents=True)
    (root / "hidden/file").write_text("hidden")
    (root / "secret").write_text("secret")
    (root / "to-secret").symlink_to("secret")
    (root / "to-hidden").symlink_to("/hidden")
    (root / "kept/below").mkdir(parents=True)
    (root / "kept/file").write_text("kept")
    (root / "to-kept").symlink_to("../../kept")
    container.config["mounts"] += [
        mount("/m/directory", "bind", source, "bind"),
        mount("/m/directory/directory/deep", "tmpfs", "tmpfs", "nosuid,size=1m,mode=755"),
        mount("/m/directory/directory/deep/deeper", "bind", source / "directory", "bind,ro"),
        mount("/m/file", "bind", source / "file", "bind,ro"),
        mount("/m/link", "bind", source / "link", "bind"),
        mount("/m/fifo", "bind", source / "fifo", "bind,noexec"),
        mount("/m/device", "bind", source / "device", "bind"),
        mount("/m/socket", "bind", source / "socket", "bind,nosuid"),
        mount("m/relative", "tmpfs", "tmpfs", "mode=711"),
        mount("/m/../m/./dots//twice", "tmpfs", "tmpfs", "mode=700"),
        mount("/to-hidden/below", "tmpfs", "tmpfs", "mode=701"),
        mount("/copied", "tmpfs", "tmpfs", "tmpcopyup,nosuid,mode=750"),
        mount("/m/bundle", "bind", "source/directory", "rbind,rprivate,nodev"),
        mount("/m/over", "tmpfs", "tmpfs", "mode=755"),
        mount("/m/over", "bind", source / "directory", "bind"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ]
    linux = container.config["linux"]
    linux["maskedPaths"] += ["/secret", "/to-hidden/file", "/hidden/below", "/m/directory/file", "/none"]
    linux["readonlyPaths"] += ["/to-kept", "/m/directory/directory", "/etc/group", "/none"]
    return container


def everything(world: World) -> Container:
    """The kinds of mounts, masks and devices of the host's own user namespace."""
    container = _everything(world.container())
    container.config["root"]["readonly"] = True
    container.config["linux"]["devices"] = [
        {"path": "/dev/one", "type": "c", "major": 1, "minor": 3, "fileMode": 0o604, "uid": 3, "gid": 4},
        {"path": "/dev/deep/two", "type": "u", "major": 1, "minor": 5, "fileMode": 0o400},
        {"path": "/dev/three", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660, "gid": 6},
        {"path": "/dev/four", "type": "p", "fileMode": 0o622, "uid": 5},
        {"path": "/dev/five", "type": "c", "major": 1, "minor": 7},
    ]
    container.config["linux"]["rootfsPropagation"] = "slave"
    return container


def in_user_namespace(world: World) -> Container:
    """The same kinds in a user namespace, with a cgroup namespace."""
    container = _everything(world.container())
    # runc 1.1.5 gathers what tmpfs is to begin with in the host's /tmp, where such a root may not write.
    for entry in container.config["mounts"]:
        entry["options"] = [option for option in entry.get("options", []) if option != "tmpcopyup"]
    with_user_namespace(container)
    set_namespace(container.config, "cgroup")
    container.config["linux"]["rootfsPropagation"] = "rprivate"
    return container


# Paths the probe is asked for in a case, besides those of every case.
_PLACES = (
    "/m", "/m/directory", "/m/directory/file", "/m/directory/directory", "/m/directory/directory/file",
    "/m/directory/directory/deep", "/m/directory/directory/deep/deeper", "/m/file", "/m/link", "/m/fifo",
    "/m/device", "/m/socket", "/m/relative",
    "/m/dots", "/m/dots/twice", "/m/bundle", "/m/bundle/file", "/m/over",
    "/hidden", "/hidden/file", "/hidden/below", "/to-hidden", "/secret", "/to-secret", "/copied",
    "/copied/file", "/copied/link", "/copied/below", "/kept", "/kept/file", "/kept/below", "/to-kept",
    "/etc/group", "/dev/one", "/dev/deep", "/dev/deep/two", "/dev/three", "/dev/four", "/dev/five",
)  # fmt: skip
ASKED: dict[str, tuple[str, ...]] = {
    "mount flags": (
        *(f"/m/tmpfs {options}" for options in (*FLAGS, *FILESYSTEM_FLAGS)),
        *(f"/m/bind {options}" for options in (*FLAGS, *BIND_FLAGS)),
    ),
    "mount flags taken back": tuple(f"/m/tmpfs {options}" for options in TAKEN_BACK),
    "mount flags beyond crun": tuple(f"/m/tmpfs {options}" for options in BEYOND_CRUN),
    "mount flags beyond runc": tuple(f"/m/tmpfs {options}" for options in BEYOND_RUNC),
    "mapped userns": ("/m/mapped", "/m/mapped/file", "/m/plain/file", "/m/shifted/file"),
    "mounts": _PLACES,
    "mounts userns": _PLACES,
}

MOUNTS: dict[str, Callable[[World], Container]] = {
    "mount flags": flags,
    "mount flags taken back": taken_back,
    "mount flags beyond crun": beyond_crun,
    "mount flags beyond runc": beyond_runc,
    "mount trees": recursive,
    "mount cgroups": cgroups,
    "mount own cgroups": own_cgroups,
    "mapped userns": mapped,
    "mounts": everything,
    "mounts userns": in_user_namespace,
}
