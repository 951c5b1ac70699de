"""What of its cgroup a container may manage itself, on cgroup v2: the owner of its files, a cgroup below.

config-linux.md, "Cgroup ownership"; cgroups(7), "cgroups delegation: delegating a hierarchy". v1 can't be
delegated safely, so there nothing changes its owner.
"""

from __future__ import annotations

import os

from pyoci.cgroup import DELEGATE, files, v2
from pyoci.cgroup.manager import move, normal
from pyoci.errors import Error
from pyoci.host import privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.cgroup.manager import Manager

_LISTED = "/sys/kernel/cgroup/delegate"
_USUAL = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # where no list is


def wanted(config: dict[str, Any]) -> bool:
    """Whether the container gets its cgroup to manage: a cgroup namespace of its own, a mount to write to."""
    if (config.get("annotations") or {}).get(DELEGATE):
        return True
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    if not any(entry["type"] == "cgroup" and not entry.get("path") for entry in namespaces):
        return False
    return any(_is_writable(mount) for mount in config.get("mounts") or ())


def _is_writable(mount: dict[str, Any]) -> bool:
    if mount.get("type") not in ("cgroup", "cgroup2") or normal(mount["destination"]) != "/sys/fs/cgroup":
        return False
    given = [option for option in mount.get("options") or () if option in ("ro", "rw", "rro")]
    return not given or given[-1] == "rw"


def subgroup(annotations: dict[str, str], name: str) -> str:
    """The cgroup below the container's that an annotation names, as "/a/b"; "" without one."""
    path = annotations.get(name) or ""
    if path and (normal(path).strip("/") != path or "\0" in path):
        raise Error(
            f"{path!r} is no cgroup below the container's own",
            code="invalid-config",
            pointer=f"/annotations/{name}",
            hint="write a name such as payload, without / at its ends and without . and ..",
        )
    return f"/{path}" if path else ""


def check(manager: Manager, annotations: dict[str, str]) -> None:
    """Refuses to delegate what can't be."""
    if subgroup(annotations, DELEGATE) and manager.mode != "v2":
        raise Error(
            f"a cgroup can be delegated on cgroup v2 only, and here is {manager.mode}",
            code="not-supported",
            pointer=f"/annotations/{DELEGATE}",
        )


def delegate(manager: Manager, config: dict[str, Any], pid: int, warn: Callable[[str], None]) -> None:
    """Gives a container that waits for its start, by its process, what of its cgroup is to be its own.

    The owner becomes who the process will be on the host. Who isn't allowed to give it away keeps it.
    """
    if manager.mode != "v2" or not manager.groups:
        return
    group = manager.groups[0]
    below = subgroup(config.get("annotations") or {}, DELEGATE)
    if below:
        _enter(group.mount, group.path, below, pid)
    owner = privileges.mapped_uid(pid, config["process"]["user"].get("uid", 0))
    if owner >= 0 and owner != os.geteuid():
        _give(group.path + below, owner, warn)


def _enter(mount: str, path: str, below: str, pid: int) -> None:
    """Moves the process, for which `path` is the root of its cgroup namespace already, to the one below."""
    try:
        os.makedirs(path + below, 0o755, exist_ok=True)
    except OSError as error:
        raise files.failure(error, f"making the cgroup {path}{below}", f"/annotations/{DELEGATE}") from None
    move(path + below, pid)
    v2.enable_controllers(mount, path + below)  # which a cgroup with processes of its own can't


def _give(path: str, owner: int, warn: Callable[[str], None]) -> None:
    try:
        names = files.read(_LISTED).split()
    except OSError:
        names = list(_USUAL)
    for name in ("", *names):
        try:
            os.chown(f"{path}/{name}", owner, -1, follow_symlinks=False)
        except FileNotFoundError:
            continue  # of a controller that isn't enabled here
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            warn(f"the cgroup {path} doesn't become user {owner}'s: {name or 'it'} can't be given: {reason}")
            return
