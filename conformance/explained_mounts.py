"""Known differences between the mounts runtimes make of the same options, and why they are."""

from __future__ import annotations

from conformance.explanation import Explanation, be, each, replace

_MASKED_FILES = ("/secret", "/hidden/file", "/m/directory/file")
_SPARED = "1.1.5 applies `ro` to the mount, not to the new file system"
_LATER = "lets the later of two options win also of those for access times, which the kernel itself ranks"
_MASKS = "masks files with a null device whose owner and mode can't be changed there"
_TAKEN_BACK = "does not take back what an earlier option said"
_UNIFIED = "shows the unified hierarchy of a hybrid layout among the others, as the host has it"


def _in_its_turn(order: str) -> str:
    return order.replace("/m/mapped /m/shifted / ", "/ ").replace("/m/plain", "/m/mapped /m/plain /m/shifted")


MOUNTS: tuple[Explanation, ...] = (
    *each("pyoci", _LATER, "mounts /m/* noatime,relatime options", case="mount flags",
          undo=replace("relatime", "noatime")),
    *each("pyoci", _LATER, "mounts /m/* strictatime,noatime options", case="mount flags",
          undo=replace(",noatime", "")),
    *each("pyoci", _MASKS, *(f"mounts {path} options" for path in _MASKED_FILES), case="mounts userns",
          undo=replace("ro,nosuid,noexec,", "rw,")),
    *each("pyoci", _MASKS, *(f"mounts {path} options" for path in _MASKED_FILES), case="mounts",
          undo=replace("ro,nosuid,noexec", "rw,nosuid")),
    *each("pyoci", _MASKS, *(f"paths {path} filesystem_readonly" for path in (*_MASKED_FILES, "/to-secret")),
          case="mounts*", undo=be(False)),
    *each("pyoci", "masks directories with a tmpfs that is nosuid, nodev and noexec, too",
          "mounts /hidden/below (2) options", case="mounts*"),
    *each("pyoci", _UNIFIED, "mounts order", case="mount*", undo=replace(" /sys/fs/cgroup/unified", "")),
    *each("runc", _SPARED, "mounts /m/tmpfs *ro* super", case="mount flags", undo=replace("rw", "ro")),
    *each("runc", "1.1.5 gives a tmpfs the mode of the directory it covers", "paths /copied mode",
          case="mounts*"),
    *each("runc", "names systemd's cgroup hierarchy after it", "mounts /sys/fs/cgroup/systemd source",
          case="mount*", undo=be("cgroup")),
    *each("runc", "1.1.5 gives a tmpfs the mode of the directory it covers",
          "paths /sys/fs/cgroup write_errno", case="mount *cgroups"),
    *each("runc", "1.1.5 makes a shared root private", "mounts / propagation",
          case="mount flags beyond crun"),
    *each("runc", "1.1.5 makes a shared root private, and all that is below", "mounts /* propagation",
          case="mount flags taken back"),
    *each("runc", "1.1.5 takes `defaults` for the file system's own, and a root that can't be bound fails it",
          "failure", case="mount flags beyond runc"),
    *each("runc", _TAKEN_BACK, "mounts /?/rro,rrw*", case="mount trees", undo=replace("ro,", "rw,")),
    *each("runc", _TAKEN_BACK, "mounts /?/rnosuid,rsuid*", case="mount trees", undo=replace("nosuid,", "")),
    *each("runc", "1.1.5 takes no notice of `idmap`", *(f"paths /m/{place} {key}" for place in
          ("mapped", "mapped/file", "shifted/file") for key in ("uid", "gid")),
          "paths /m/mapped write_errno", "paths /m/mapped/file write_errno",
          "mounts /m/mapped options", "mounts /m/shifted options", case="mapped userns"),
    *each("pyoci", "maps the owners of a mount before the container's own mounts are there", "mounts order",
          case="mapped userns", undo=_in_its_turn),
    *each("crun", "applies `ro` to the mount alone, not to the new file system", "mounts /m/tmpfs *ro* super",
          case="mount flags", undo=replace("rw", "ro")),
    *each("crun", _TAKEN_BACK, "* ro,rw *", case="mount flags"),
    *each("crun", _TAKEN_BACK, "mounts /m/* options", "mounts /m/tmpfs sync,async super",
          "mounts /m/tmpfs mand,nomand super", case="mount flags taken back"),
    *each("crun", "gives the root's propagation to all mounts, after each had its own",
          "mounts /m/* *shared* propagation", case="mount flags"),
    *each("crun", "makes the propagation of one mount that of the tree",
          "mounts /m/shared/* propagation", "mounts /m/unbindable/* propagation", case="mount trees"),
    *each("crun", "1.8.1 knows no `nosymfollow`", "mounts /m/* nosymfollow options", case="mount flags"),
    *each("crun", "1.8.1 knows no `nosymfollow`", "mounts /?/rnosymfollow* options", case="mount trees"),
    *each("crun", "1.8.1 refuses these of new file systems, and those of trees for access times", "failure",
          case="mount flags beyond crun"),
    *each("crun", "1.8.1 gives mount_setattr(2) mount(2)'s number of `relatime`, `nosymfollow`'s there",
          "mounts /?/rrelatime* options", case="mount trees"),
    *each("crun", _TAKEN_BACK, "mounts /?/rro,rrw*", case="mount trees", undo=replace("ro,", "rw,")),
    *each("crun", _TAKEN_BACK, "mounts /?/rnosuid,rsuid*", case="mount trees", undo=replace("nosuid,", "")),
    *each("crun", "takes `bind` for `rbind` beside a recursive option", "mounts /n/r*", case="mount trees"),
    *each("crun", "masks with the host's /dev/null, read-only, not with the container's",
          *(f"mounts {path} {key}" for path in _MASKED_FILES
            for key in ("options", "source", "super", "type")),
          *(f"paths {path} filesystem_readonly" for path in (*_MASKED_FILES, "/to-secret")), case="mounts*"),
    *each("crun", "masks directories with a tmpfs of size 0, not with a read-only one",
          "mounts /hidden/below (2) super", case="mounts*"),
    *each("crun", "makes directories to mount on with the sticky bit", "paths /m mode", "paths /m/dots mode",
          case="mounts*"),
    *each("crun", "makes read-only paths anew, without the flags of mounts below them",
          "mounts /m/directory/directory/deep/deeper (2) options",
          "paths /m/directory/directory/deep/deeper filesystem_readonly",
          "paths /m/directory/directory/deep/deeper write_errno", case="mounts*"),
    *each("crun", "forgets flags of a bind in a user namespace", "mounts /m/fifo options",
          "mounts /m/socket options",
          case="mounts userns"),
    *each("crun", "mounts binds before the file systems that are to be below them, in a user namespace",
          "mounts /m/over*", case="mounts userns"),
    *each("crun", "names cgroup hierarchies by their mount points", "mounts /sys/fs/cgroup/[!u]* source",
          case="mount*", undo=be("cgroup")),
)  # fmt: skip
