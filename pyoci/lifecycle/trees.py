"""Mount trees that the runtime itself opens for a plan: copied, and idmapped, in its own context.

Root of the host reaches sources that the container's user may not; and the kernel lets only root of the user
namespace that a filesystem belongs to change whose its files seem to be (mount_setattr(2)). The mapping is
handed to the kernel as a user namespace, which is made here by a process that does nothing else.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ENOSYS, ENOTDIR, EPERM

from pyoci._shim import lib
from pyoci.errors import Error
from pyoci.host import privileges
from pyoci.lifecycle import init as executor
from pyoci.plan import steps
from pyoci.plan.kernel import NAMESPACES, SIGKILL
from pyoci.plan.mount_options import LINKS
from pyoci.plan.mounts import HERE_FIRST
from pyoci.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.plan.idmap import Idmap
    from pyoci.plan.steps import Step

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_RECURSIVE, OPEN_TREE_CLONE = -100, 0x100, 0x8000, 1  # open_tree(2)


def open_trees(plan: Plan, opened: dict[str, int], warn: Callable[[str], None]) -> None:
    """Add the plan's trees to `opened`, which holds its namespaces already; all are the caller's to close.

    -1 stands for what has no tree: a symbolic link that is to be copied, or what only the container's own
    process may copy.
    """
    namespaces = _Namespaces(opened, warn)
    try:
        for name, path in plan.descriptors.items():
            if not name.startswith("tree:"):
                continue
            step = next(step for step in plan.steps if step.op == "mount_bind" and step.args[1] == name)
            idmap = plan.idmaps.get(name)
            opened[name] = tree = _open(step, path, idmap)
            if tree >= 0 and idmap:
                _map_owners(tree, namespaces.get(idmap), idmap, path)
    finally:
        namespaces.close()


def _open(step: Step, path: str, idmap: Idmap | None) -> int:
    """What a bind mount is to show, as a detached copy; with what is mounted below it if recursive."""
    recursive, links = step.args[3], step.args[9]
    assert isinstance(links, int)
    if links & LINKS["copy-symlink"] and os.path.islink(path):
        return -1
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC
    if recursive:
        flags |= AT_RECURSIVE
    if links & LINKS["src-nofollow"]:
        flags |= AT_SYMLINK_NOFOLLOW
    result: int = lib.shim_open_tree(AT_FDCWD, os.fsencode(path), flags)
    if result in (-EPERM, -ENOSYS) and links & HERE_FIRST:
        return -1  # root, but of a user namespace in which these mounts are somebody else's; or an old kernel
    if result == -ENOSYS:
        raise _too_old(step, idmap)
    if result < 0:
        missing = result in (-ENOENT, -ENOTDIR)
        hint = ""
        if missing:
            from pyoci.lifecycle.failures import no_source

            hint = no_source(path)
        elif result == -EPERM and not privileges.is_host_root():
            hint = "only root may copy mounts of the host for a container that runs, or map their owners"
        raise Error(
            f"can't bind {path} on {step.args[2]}: open_tree: {os.strerror(-result).lower()}",
            code="not-found" if missing else "permission" if result == -EPERM else "kernel",
            pointer=f"{step.pointer}/source",
            errno=-result,
            hint=hint,
        )
    return result


def _too_old(step: Step, idmap: Idmap | None) -> Error:
    what = "map the owners of a mount" if idmap else "hand mounts to a container that runs"
    return Error(
        f"this kernel can't {what}: open_tree: {os.strerror(ENOSYS).lower()}",
        code="not-supported",
        pointer=idmap.pointer if idmap else step.pointer,
        errno=ENOSYS,
        hint=f"it takes Linux {'5.12' if idmap else '5.2'}",
    )


def _map_owners(tree: int, namespace: int, idmap: Idmap, path: str) -> None:
    result = lib.shim_change_mount(tree, int(idmap.recursive), 0, namespace)
    if result < 0:
        from pyoci.host import idmap as host

        found, hint = host.explain(path, idmap.recursive, -result)
        raise Error(
            f"can't map the owners of {path}: {found}: {os.strerror(-result).lower()}",
            code={EPERM: "permission", EINVAL: "not-supported", ENOSYS: "not-supported"}.get(
                -result, "kernel"
            ),
            pointer=idmap.pointer,
            errno=-result,
            hint=hint,
        )


class _Namespaces:
    """The user namespaces that stand for mappings: one for all mounts whose mappings are equal."""

    def __init__(self, opened: dict[str, int], warn: Callable[[str], None]) -> None:
        self.opened = opened
        self.warn = warn
        self.made: dict[str, int] = {}

    def get(self, idmap: Idmap) -> int:
        if idmap.namespace:
            return self.opened[idmap.namespace]
        key = repr([[tuple(sorted(line.items())) for line in lines] for lines in (idmap.uids, idmap.gids)])
        if key not in self.made:
            self.made[key] = _make_namespace(idmap, self.warn)
        return self.made[key]

    def close(self) -> None:
        for namespace in self.made.values():
            os.close(namespace)


def _make_namespace(idmap: Idmap, warn: Callable[[str], None]) -> int:
    """A user namespace with this mapping. It outlives the process that made it by what is opened here."""
    from pyoci.lifecycle import mappings

    plan = Plan()
    plan.steps = [
        steps.unshare(idmap.pointer, flags=NAMESPACES["user"]),
        steps.die_with_parent(idmap.pointer, signal=SIGKILL),
        steps.wait_runtime(idmap.pointer, reason="the mount's mappings"),
    ]
    process = executor.spawn(plan, descriptors={}, warn=warn)
    try:
        process.receive()
        prefix = idmap.pointer.partition("/options/")[0].removesuffix("/uidMappings")
        lines = {"uidMappings": idmap.uids, "gidMappings": idmap.gids}
        mappings.write(lines, process.pid, prefix)
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        process.destroy()
