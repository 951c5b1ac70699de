"""The mount options pyoci knows, and what each asks of the kernel (config.md#mounts, mount(8))."""

from __future__ import annotations

from pyoci.plan.kernel import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# option -> (attributes set, attributes cleared, superblock flags set, superblock flags cleared)
ATTRIBUTES: dict[str, tuple[int, int, int, int]] = {
    "ro": (MOUNT_ATTR_RDONLY, 0, MS_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY, 0, MS_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0, 0, 0),
    "suid": (0, MOUNT_ATTR_NOSUID, 0, 0),
    "nodev": (MOUNT_ATTR_NODEV, 0, 0, 0),
    "dev": (0, MOUNT_ATTR_NODEV, 0, 0),
    "noexec": (MOUNT_ATTR_NOEXEC, 0, 0, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC, 0, 0),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0, 0, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW, 0, 0),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME, 0, 0),
    "atime": (0, MOUNT_ATTR_NOATIME, 0, 0),
    "relatime": (0, MOUNT_ATTR_ATIME, 0, 0),
    "norelatime": (0, 0, 0, 0),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME, 0, 0),
    "nostrictatime": (0, MOUNT_ATTR_STRICTATIME, 0, 0),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0, 0, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME, 0, 0),
    "sync": (0, 0, MS_SYNCHRONOUS, 0),
    "async": (0, 0, 0, MS_SYNCHRONOUS),
    "dirsync": (0, 0, MS_DIRSYNC, 0),
    "mand": (0, 0, MS_MANDLOCK, 0),
    "nomand": (0, 0, 0, MS_MANDLOCK),
    "iversion": (0, 0, MS_I_VERSION, 0),
    "noiversion": (0, 0, 0, MS_I_VERSION),
    "lazytime": (0, 0, MS_LAZYTIME, 0),
    "nolazytime": (0, 0, 0, MS_LAZYTIME),
    "silent": (0, 0, MS_SILENT, 0),
    "loud": (0, 0, 0, MS_SILENT),
    "defaults": (0, 0, 0, 0),
}

# option -> (attributes set, attributes cleared) of every mount in the tree, mount_setattr(2)
RECURSIVE: dict[str, tuple[int, int]] = {
    "r" + name: (ATTRIBUTES[name][0], ATTRIBUTES[name][1])
    for name in (
        "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "nosymfollow", "symfollow",
        "noatime", "atime", "relatime", "norelatime", "strictatime", "nostrictatime", "nodiratime",
        "diratime",
    )
}  # fmt: skip

# What the whole filesystem has, however often it is mounted: nothing that a bind mount could change.
OF_FILESYSTEM = (
    "sync", "async", "dirsync", "mand", "nomand", "iversion", "noiversion", "lazytime", "nolazytime",
)  # fmt: skip

# crun's recursive names for some of these -> the option; of a new filesystem they say the same.
OF_FILESYSTEMS = {"r" + name: name for name in ("sync", "async", "dirsync", "mand", "nomand")}

PROPAGATION: dict[str, int] = {
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "unbindable": MS_UNBINDABLE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

BINDS = {"bind": False, "rbind": True}

# crun's names for how symbolic links at either end of a bind are treated -> mount_bind's flags
LINKS = {"src-nofollow": 1, "dest-nofollow": 2, "copy-symlink": 4}

# A tmpfs that begins with what it covers.
COPY_UP = "tmpcopyup"

# Their values are read in plan/idmap.py.
IDMAP = ("idmap", "ridmap")


def known() -> list[str]:
    """Every option the compiler honours, sorted: the features document's `mountOptions`."""
    return sorted(
        {*ATTRIBUTES, *RECURSIVE, *OF_FILESYSTEMS, *PROPAGATION, *BINDS, *LINKS, *IDMAP, COPY_UP, "remount"}
    )


def is_bind(mount: dict[str, Any]) -> bool:
    """Whether an entry of `mounts` shows what is elsewhere, rather than a filesystem of its own."""
    return mount.get("type") == "bind" or not BINDS.keys().isdisjoint(mount.get("options") or ())


class Options:
    """What a mount's options add up to; a later option wins over an earlier one.

    set, clear     MOUNT_ATTR_ of the mount; rset, rclear: of it and all that is mounted below it
    superblock     MS_ flags of the filesystem
    propagation    MS_ flags, in their order
    links          mount_bind's flags
    data           what only the filesystem itself may understand
    """

    __slots__ = (
        "bind", "clear", "copy_up", "data", "links", "propagation", "rclear", "recursive", "remount",
        "rset", "set", "superblock",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bind = self.recursive = self.remount = self.copy_up = False
        self.set = self.clear = self.rset = self.rclear = self.superblock = 0
        self.propagation: list[int] = []
        self.links = 0
        self.data: list[str] = []

    def flatten(self) -> None:
        """Make the recursive attributes those of the mount: nothing is mounted below a new one yet."""
        dropped = self.rclear | (MOUNT_ATTR_ATIME if (self.rset | self.rclear) & MOUNT_ATTR_ATIME else 0)
        self.set = self.set & ~dropped | self.rset
        self.clear = self.clear & ~self.rset | self.rclear
        if self.rclear & MOUNT_ATTR_RDONLY:
            self.superblock &= ~MS_RDONLY
        self.rset = self.rclear = 0


def parse(options: list[str]) -> Options:
    """Sort options into flags and filesystem data; what no table knows is data. An empty one is nothing, as
    buildah writes it for volumes."""
    result = Options()
    for option in options:
        flag = OF_FILESYSTEMS.get(option, option)
        if flag in ATTRIBUTES:
            set_, clear, raised, dropped = ATTRIBUTES[flag]
            result.set = result.set & ~clear | set_
            result.clear = result.clear & ~set_ | clear
            result.superblock = result.superblock & ~dropped | raised
        elif option in BINDS:
            result.bind = True
            result.recursive = result.recursive or BINDS[option]
        elif option in PROPAGATION:
            result.propagation.append(PROPAGATION[option])
        elif option in RECURSIVE:
            set_, clear = RECURSIVE[option]
            result.rset = result.rset & ~clear | set_
            result.rclear = result.rclear & ~set_ | clear
        elif option == "remount":
            result.remount = True
        elif option == COPY_UP:
            result.copy_up = True
        elif option in LINKS:
            result.links |= LINKS[option]
        elif option and option.partition("=")[0] not in IDMAP:
            result.data.append(option)
    return result
