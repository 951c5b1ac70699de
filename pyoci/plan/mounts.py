"""Compiling config.mounts: each entry becomes the steps that make it (config.md#mounts)."""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.plan import mount_options, steps
from pyoci.plan.kernel import MOUNT_ATTR_RDONLY, MS_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.situation import CgroupView
    from pyoci.plan.steps import Step


def compile_mount(
    index: int,
    mount: dict[str, Any],
    *,
    bundle: str = "/",
    cgroups: CgroupView | None = None,
    cgroup_namespace: bool = False,
    descriptors: dict[str, str] | None = None,
) -> list[Step]:
    """One entry of `mounts` as steps. Relative sources are the bundle's.

    Into `descriptors`, where given, goes each bind's name -> source: trees that the runtime must
    open itself, as the container's user may not reach them.
    """
    pointer = f"/mounts/{index}"
    target = "/" + mount["destination"].lstrip("/")
    names = list(mount.get("options") or ())
    for position, name in enumerate(names):
        if name.partition("=")[0] in mount_options.REFUSED:
            raise Error(
                f"the mount option {name} can't be honoured by this version of pyoci",
                code="not-supported",
                pointer=f"{pointer}/options/{position}",
            )
    if mount.get("uidMappings") or mount.get("gidMappings"):
        raise Error(
            "mappings of a mount can't be honoured by this version of pyoci",
            code="not-supported",
            pointer=f"{pointer}/uidMappings",
        )
    options = mount_options.parse(names)
    kind = mount.get("type") or ("bind" if options.bind else "none")
    if options.bind or kind == "bind":
        plan = [_bind(index, pointer, mount, target, options, bundle, descriptors)]
    elif options.remount:
        plan = [
            steps.remount(
                pointer, target=target, superblock=options.superblock, set=options.set,
                clear=options.clear, options=options.data,
            )
        ]  # fmt: skip
    elif kind == "cgroup" and cgroups is not None:
        plan = _cgroup(pointer, target, options, cgroups, cgroup_namespace)
    else:
        plan = [_filesystem(pointer, kind, mount.get("source") or kind, target, options)]
        if options.rset or options.rclear:
            raise Error(
                "recursive options need a bind mount",
                code="invalid-config",
                pointer=f"{pointer}/options",
                hint="use the option without its leading r",
            )
    for flags in options.propagation[1:]:
        plan.append(steps.mount_propagation(pointer, target=target, flags=flags))
    return plan


def _first(propagation: list[int]) -> int:
    return propagation[0] if propagation else 0


def _filesystem(pointer: str, kind: str, source: str, target: str, options: mount_options.Options) -> Step:
    return steps.mount_filesystem(
        pointer, type=kind, source=source, target=target, options=options.data,
        superblock=options.superblock, attrs=options.set, propagation=_first(options.propagation),
        mode=0o755,
    )  # fmt: skip


def _bind(
    index: int,
    pointer: str,
    mount: dict[str, Any],
    target: str,
    options: mount_options.Options,
    bundle: str,
    descriptors: dict[str, str] | None,
) -> Step:
    if options.data:
        raise Error(
            f"a bind mount has no filesystem of its own that could take the option {options.data[0]!r}",
            code="invalid-config",
            pointer=f"{pointer}/options",
            hint="remove it, or give the mount a type other than bind",
        )
    source = mount.get("source")
    if not source:
        raise Error(
            "a bind mount needs a source",
            code="invalid-config",
            pointer=f"{pointer}/source",
            hint="name the file or directory on the host",
        )
    if not source.startswith("/"):
        source = f"{bundle}/{source}"
    tree = ""
    if descriptors is not None and not options.links & mount_options.LINKS["copy-symlink"]:
        tree = f"tree:{index}"
        descriptors[tree] = source
    return steps.mount_bind(
        pointer, source=source, tree=tree, target=target, recursive=int(options.recursive),
        set=options.set, clear=options.clear, rset=options.rset, rclear=options.rclear,
        propagation=_first(options.propagation), flags=options.links,
    )  # fmt: skip


def _cgroup(
    pointer: str,
    target: str,
    options: mount_options.Options,
    cgroups: CgroupView,
    namespace: bool,
) -> list[Step]:
    """A mount of type cgroup: what it means depends on the host's layout (config-linux.md)."""
    if cgroups.unified:
        if namespace:
            return [_filesystem(pointer, "cgroup2", "cgroup2", target, options)]
        return [_own_cgroup(pointer, cgroups.paths[""], target, options)]
    # v1: one directory a hierarchy in a small tmpfs, and a link for each controller that shares one.
    holder = mount_options.parse(["mode=755"])
    holder.set = options.set & ~MOUNT_ATTR_RDONLY
    holder.propagation = options.propagation
    plan = [_filesystem(pointer, "tmpfs", "tmpfs", target, holder)]
    for name in cgroups.v1:
        place = f"{target}/{name.removeprefix('name=')}"
        if namespace:
            one = mount_options.Options()
            one.set, one.superblock = options.set, options.superblock & ~MS_RDONLY
            one.data = ["none", name] if name.startswith("name=") else name.split(",")
            plan.append(_filesystem(pointer, "cgroup", "cgroup", place, one))
        else:
            plan.append(_own_cgroup(pointer, cgroups.paths[name], place, options))
        if "," in name:
            for controller in name.split(","):
                plan.append(steps.make_symlink(pointer, value=name, path=f"{target}/{controller}", replace=0))
    if options.set & MOUNT_ATTR_RDONLY:
        plan.append(
            steps.remount(pointer, target=target, superblock=0, set=MOUNT_ATTR_RDONLY, clear=0, options=[])
        )
    return plan


def _own_cgroup(pointer: str, source: str, target: str, options: mount_options.Options) -> Step:
    return steps.mount_bind(
        pointer, source=source, tree="", target=target, recursive=1, set=options.set,
        clear=options.clear, rset=0, rclear=0, propagation=_first(options.propagation), flags=0,
    )  # fmt: skip
