"""Compiling config.mounts: each entry becomes the steps that make it (config.md#mounts)."""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.plan import mount_options, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.plan.labels import MountLabel
    from pyoci.plan.plan import Plan
    from pyoci.plan.situation import CgroupView
    from pyoci.plan.steps import Step


# mount_filesystem's flags
KEEP_MODE, FILL, KEEP_OWNER = 1, 2, 4
# mount_bind's flag beside those of mount_options.LINKS: the runtime's tree is for what can't be copied there.
HERE_FIRST = 8


def compile_mount(
    index: int,
    mount: dict[str, Any],
    *,
    bundle: str = "/",
    cgroups: CgroupView | None = None,
    cgroup_namespace: bool = False,
    in_user_namespace: bool = False,
    linux: dict[str, Any] | None = None,
    opened: Plan | None = None,
    outside: bool = False,
    label: MountLabel | None = None,
    warn: Callable[[str, str], None] | None = None,
) -> list[Step]:
    """One entry of `mounts` as steps. Relative sources are the bundle's.

    Into `opened` go the trees that the runtime must open itself: idmapped ones, as only root of the
    host may map them; with `outside` all others too, as the container's user may not reach them all.
    `warn` takes a pointer and a message.
    """
    pointer = f"/mounts/{index}"
    target = "/" + mount["destination"].lstrip("/")
    names = list(mount.get("options") or ())
    options = mount_options.parse(names)
    kind = mount.get("type") or ("bind" if options.bind else "none")
    binds = options.bind or kind == "bind"
    if binds:
        _check_bind_options(pointer, names, options, warn)
    if options.copy_up and (binds or options.remount or kind != "tmpfs"):
        raise Error(
            f"{mount_options.COPY_UP} fills a new tmpfs, and this mount isn't one",
            code="invalid-config",
            pointer=f"{pointer}/options/{names.index(mount_options.COPY_UP)}",
            hint="remove it, or give the mount the type tmpfs",
        )
    if options.remount:
        plan = _remount(pointer, target, options, binds)
    elif binds:
        mapped = _is_idmapped(mount)
        tree = f"tree:{index}" if opened is not None and (outside or mapped) else ""
        if in_user_namespace and not mapped:
            options.links |= HERE_FIRST
        plan = [_bind(pointer, mount, target, options, bundle, tree)]
        if opened is not None and tree:
            _open_outside(tree, plan[0], mount, linux or {}, opened)
    else:
        options.flatten()
        if kind in ("cgroup", "cgroup2") and cgroups is not None:
            from pyoci.plan.cgroup_mounts import compile_cgroup

            return compile_cgroup(pointer, kind, target, options, cgroups, cgroup_namespace, label)
        if label:
            label.add(kind, options)
        fallback = "/sys" if kind == "sysfs" and in_user_namespace else ""
        plan = [_filesystem(pointer, kind, mount.get("source") or kind, target, options, fallback)]
        if label and kind == "mqueue":  # it takes no such option, but its root takes a label
            plan.append(steps.label_path("/linux/mountLabel", path=target, value=label.value))
    for flags in options.propagation[1:]:
        plan.append(steps.mount_propagation(pointer, target=target, flags=flags))
    return plan


def _check_bind_options(
    pointer: str, names: list[str], options: mount_options.Options, warn: Callable[[str, str], None] | None
) -> None:
    """A bind mount shows a filesystem that is mounted already, whose own options stay what they are."""
    if options.data:
        raise Error(
            f"a bind mount has no filesystem of its own that could take the option {options.data[0]!r}",
            code="invalid-config",
            pointer=f"{pointer}/options/{names.index(options.data[0])}",
            hint="remove it, or give the mount a type other than bind",
        )
    for position, name in enumerate(names):
        if name in mount_options.OF_FILESYSTEMS:
            raise Error(
                f"{name} can't be honoured: {mount_options.OF_FILESYSTEMS[name]} is an option of whole "
                "filesystems, and a bind mount has none of its own",
                code="not-supported",
                pointer=f"{pointer}/options/{position}",
                hint="remove it, or mount the source's filesystem with it",
            )
        if name in mount_options.OF_FILESYSTEM and warn:
            warn(
                f"{pointer}/options/{position}",
                f"{name} has no effect on a bind mount: the source's filesystem keeps its own",
            )


def _first(propagation: list[int]) -> int:
    return propagation[0] if propagation else 0


def _filesystem(
    pointer: str,
    kind: str,
    source: str,
    target: str,
    options: mount_options.Options,
    fallback: str = "",
) -> Step:
    """A new filesystem. `fallback` is bound instead where a user namespace is refused it."""
    flags = 0
    if kind == "tmpfs":  # as of runc: over something, it takes that thing's mode
        given = {option.partition("=")[0] for option in options.data}
        if "mode" not in given:
            flags |= KEEP_MODE
        if options.copy_up:
            flags |= FILL if given & {"uid", "gid"} else FILL | KEEP_OWNER
    return steps.mount_filesystem(
        pointer, type=kind, source=source, target=target, options=options.data,
        superblock=options.superblock, attrs=options.set, propagation=_first(options.propagation),
        mode=0o755, fallback=fallback, flags=flags,
    )  # fmt: skip


def _remount(pointer: str, target: str, options: mount_options.Options, bind: bool) -> list[Step]:
    """What is mounted there already, changed: with bind, as of mount(8), the mount alone."""
    plan: list[Step] = [
        steps.remount(
            pointer, target=target, superblock=0 if bind else options.superblock, set=options.set,
            clear=options.clear, options=options.data,
        )
    ]  # fmt: skip
    if options.rset or options.rclear:
        plan.append(steps.tree_attributes(pointer, target=target, set=options.rset, clear=options.rclear))
    for flags in options.propagation[:1]:
        plan.append(steps.mount_propagation(pointer, target=target, flags=flags))
    return plan


def _bind(
    pointer: str,
    mount: dict[str, Any],
    target: str,
    options: mount_options.Options,
    bundle: str,
    tree: str,
) -> Step:
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
    return steps.mount_bind(
        pointer, source=source, tree=tree, target=target, recursive=int(options.recursive),
        set=options.set, clear=options.clear, rset=options.rset, rclear=options.rclear,
        propagation=_first(options.propagation), flags=options.links,
    )  # fmt: skip


def _is_idmapped(mount: dict[str, Any]) -> bool:
    return bool(mount.get("uidMappings")) or "idmap" in ",".join(mount.get("options") or ())


def _open_outside(tree: str, bind: Step, mount: dict[str, Any], linux: dict[str, Any], opened: Plan) -> None:
    """Note a tree that the runtime is to open for a bind, and to map if that is asked for."""
    opened.descriptors[tree] = str(bind.args[0])
    if _is_idmapped(mount):
        from pyoci.plan.idmap import compile_idmap

        idmap = compile_idmap(mount, bind.pointer, linux)
        if idmap:
            opened.idmaps[tree] = idmap
