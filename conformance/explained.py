"""Known differences between runtimes, and why they are."""

from __future__ import annotations

import ast
import errno
import os

from conformance.explained_executions import EXECUTIONS
from conformance.explained_mounts import MOUNTS
from conformance.explanation import Explanation
from conformance.explanation import be as _be
from conformance.explanation import each as _each
from conformance.explanation import replace as _replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _without(entry: str) -> Callable[[str], object]:
    """A list that lacks one entry."""
    return lambda value: [one for one in ast.literal_eval(value) if one != entry]


def _spared_cgroup_tmpfs(runtime: str) -> list[Explanation]:
    """Runtimes that mount a tmpfs for the cgroup hierarchies and leave it writable in spite of `ro`."""
    reason = "leaves the tmpfs over the cgroup hierarchies writable in spite of `ro`"
    return [
        *_each(runtime, reason, "mounts /sys/fs/cgroup options", undo=_replace("rw,", "ro,")),
        *_each(runtime, reason, "paths /sys/fs/cgroup filesystem_readonly", undo=_be(True)),
        *_each(runtime, reason, "paths /sys/fs/cgroup mode", undo=_be(0o755)),
        *(explanation for case in ("[!m]*", "mounts*")
          for explanation in _each(runtime, reason, "paths /sys/fs/cgroup write_errno", case=case,
                                   undo=_be(errno.EROFS))),
    ]


def _with_rights(description: str) -> str:
    """A key's description with the owner's right to search it (0x80000), and nobody's beside the owner."""
    kind, uid, gid, rights, name = description.split(";")
    return ";".join([kind, uid, gid, f"{(int(rights, 16) | 0x80000) & ~0xff:08x}", name])


_RUNC = [
    *_each("runc", "1.1.5 is older than domainname (spec 1.1)", "domainname", "sysctl kernel.domainname"),
    *_each("runc", "1.1.5 allows every container /dev/net/tun (10:200), later ones don't", "limits devices",
           undo=_replace("c 10:200 rwm ", "")),
    *_each("runc", "1.1.5 takes no notice of personality", "machine", "personality",
           case="process domain"),
    *_each("runc", "gives the session keyring fewer rights", "session_keyring description", case="*userns",
           undo=_with_rights),
    *_each("runc", "mounts while its own group is still one that has no id in the user namespace",
           "dev mqueue gid", "paths /dev/mqueue gid", case="*userns"),
    *_each(
        "runc", "1.1.5 applies `ro` to the mount, not to the new file system", "mounts /work/new/deep super",
        undo=_replace("rw", "ro"),
    ),
    *_spared_cgroup_tmpfs("runc"),
]  # fmt: skip

_MASKED_FILES = ("/proc/keys", "/proc/timer_list")
_MASKED_DIRECTORIES = ("/proc/acpi", "/sys/firmware")

_CRUN = [
    *_each("crun", "is run without the unified hierarchy, as it refuses a hybrid layout", "cgroup unified"),
    *(() if os.path.exists("/proc/kcore") else
      _each("crun", "makes /dev/core also where no /proc/kcore is", "dev core", "paths /dev entries")),
    # The configuration of Docker's kind allows it itself.
    *(explanation for case in ("default", "options", "*userns", "readonly", "mount*", "process*")
      for explanation in _each("crun", "allows every container 5:1, the host's console", "limits devices",
                               case=case, undo=_replace("c 5:1 rwm ", ""))),
    *_each("crun", "masks with the host's /dev/null, read-only, not with the container's",
           *(f"mounts {path} {key}" for path in _MASKED_FILES
             for key in ("options", "source", "super", "type")),
           *(f"paths {path} filesystem_readonly" for path in _MASKED_FILES)),
    *_each("crun", "masks directories with a tmpfs of size 0, not with a read-only one",
           *(f"mounts {path} super" for path in _MASKED_DIRECTORIES)),
    *_each("crun", "masks before it makes paths read-only, and mounts the console and devices at other times",
           "mounts order"),
    *_each("crun", "makes read-only paths anew, without the flags of the mount they are in",
           *(f"mounts {path} options" for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"))),
    *_each("crun", "applies `ro` to the mount alone, not to the new file system",
           "mounts /sys super", "mounts /work/new/deep super", undo=_replace("rw", "ro")),
    *_each("crun", "names the session keyring otherwise, with fewer rights", "session_keyring description"),
    *_each("crun", "gives the container's /dev/null to its user",
           "dev null uid", "dev null gid", "paths /dev/null uid", "paths /dev/null gid"),
    *_spared_cgroup_tmpfs("crun"),
    *_each("crun", "names the tmpfs over the cgroup hierarchies otherwise, and has aliases in it",
           "mounts /sys/fs/cgroup source", "mounts /sys/fs/cgroup super", "paths /sys/fs/cgroup entries"),
    *_each("crun", "binds the default devices with nosuid and noexec",
           *(f"mounts /dev/{name} options" for name in ("null", "zero", "full", "tty", "random", "urandom")),
           case="*userns"),
    *_each("crun", "sets no HOME for a user that /etc/passwd hasn't", "env 2", case="process*"),
    *_each("crun", "binds the console without nosuid and noexec", "mounts /dev/console options"),
]  # fmt: skip


def _masked_files() -> list[Explanation]:
    reason = "masks files with a null device whose owner and mode can't be changed there"
    options = [f"mounts {path} options" for path in _MASKED_FILES]
    readonly = [f"paths {path} filesystem_readonly" for path in _MASKED_FILES]
    return [
        *_each("pyoci", reason, *options, case="*userns", undo=_replace("ro,nosuid,noexec,", "rw,")),
        *_each("pyoci", reason, *options, undo=_replace("ro,nosuid,noexec", "rw,nosuid")),
        *_each("pyoci", reason, *readonly, undo=_be(False)),
    ]


_UNIFIED = "shows the unified hierarchy of a hybrid layout among the others, as the host has it"

_PYOCI = [
    *_each("pyoci", "masks directories with a tmpfs that is nosuid, nodev and noexec, too",
           *(f"mounts {path} options" for path in _MASKED_DIRECTORIES)),
    *_masked_files(),
    *_each("pyoci", _UNIFIED, "mounts /sys/fs/cgroup/unified *"),
    *_each("pyoci", _UNIFIED, "mounts order", case="docker", undo=_replace(" /sys/fs/cgroup/unified", "")),
    *_each("pyoci", _UNIFIED, "paths /sys/fs/cgroup entries", undo=_without("unified")),
]  # fmt: skip

EXPLAINED: tuple[Explanation, ...] = (*_RUNC, *_CRUN, *_PYOCI, *EXECUTIONS, *MOUNTS)
