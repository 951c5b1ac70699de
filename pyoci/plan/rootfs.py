"""Compiling the container's filesystem: the order in which root, mounts, devices and masks are made."""

from __future__ import annotations

from pyoci.plan import steps
from pyoci.plan.devices import at_dev, compile_devices
from pyoci.plan.kernel import MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from pyoci.plan.mount_options import LINKS, PROPAGATION, is_bind, parse
from pyoci.plan.mounts import compile_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.labels import MountLabel
    from pyoci.plan.namespaces import Namespaces
    from pyoci.plan.plan import Plan
    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step


def compile_root(config: dict[str, Any], rootfs: str) -> list[Step]:
    """From the copy of the host's mounts to a root that later paths are resolved beneath.

    Unless the root is to be shared, nothing of the copy may go on being so, whether `r` was written
    or not: what the container mounted on it would show on the host. Slaves still get what the host
    mounts later. That the root be unbindable has to wait, as volumes may be beneath the same mount.
    """
    propagation = (config.get("linux") or {}).get("rootfsPropagation")
    flags = PROPAGATION[propagation] if propagation else MS_SLAVE
    if not flags & MS_SHARED:
        flags = MS_REC | (MS_SLAVE if flags & MS_SLAVE else MS_PRIVATE)
    pointer = "/linux/rootfsPropagation" if propagation else "/root"
    return [
        steps.host_propagation(pointer, flags=flags),
        steps.open_root("/root/path", path=rootfs),
    ]


def compile_mounts(
    config: dict[str, Any],
    namespaces: Namespaces,
    situation: Situation,
    bundle: str,
    opened: Plan,
    join: list[Step],
) -> list[Step]:
    """Every mount in its order, and `join` (the wait for the cgroup, and its namespace) at the last
    moment: a cgroup filesystem shows the cgroup of whoever mounts it, and until then the runtime
    has had time to move the process there."""
    plan: list[Step] = []
    in_user_namespace = namespaces.has("user")
    # Root, be it only of a user namespace's, may reach sources that the container's user can't; anyone
    # else has no right to copy mounts before he is in a user namespace of his own (open_tree(2), EPERM).
    outside = in_user_namespace and situation.superuser
    waiting = list(join)
    label = mount_label(config)
    for index, mount in enumerate(config.get("mounts") or ()):
        if waiting and mount.get("type") in ("cgroup", "cgroup2"):
            plan += waiting
            waiting = []
        if situation.cgroups and situation.cgroups.shared and _may_write_cgroups(mount):
            situation.warn(
                f"/mounts/{index}", "is made read-only: the container has no cgroup but the one pyoci is in"
            )
        plan += compile_mount(
            index,
            _writable_dev(mount),
            bundle=bundle,
            cgroups=situation.cgroups,
            cgroup_namespace=namespaces.has("cgroup"),
            in_user_namespace=in_user_namespace or situation.nested,
            linux=config.get("linux") or {},
            opened=opened,
            outside=outside,
            label=label,
            warn=situation.warn,
        )
        if outside and _is_private_by_the_root(config, mount):
            # The clone of the runtime's own mount has been made a slave, where another would be private.
            propagation, target = MS_PRIVATE | MS_REC, mount["destination"]
            plan.append(steps.mount_propagation("/linux/rootfsPropagation", target=target, flags=propagation))
    plan += waiting
    plan += compile_devices(config, situation, bound=in_user_namespace or situation.nested)
    return plan


def _is_private_by_the_root(config: dict[str, Any], mount: dict[str, Any]) -> bool:
    """Whether it's a bind mount whose propagation only rootfsPropagation has a word on: none."""
    value = PROPAGATION.get((config.get("linux") or {}).get("rootfsPropagation") or "slave", 0)
    own = PROPAGATION.keys() | LINKS.keys()
    return (
        not value & (MS_SLAVE | MS_SHARED) and is_bind(mount) and own.isdisjoint(mount.get("options") or ())
    )


def _writable_dev(mount: dict[str, Any]) -> dict[str, Any]:
    """A /dev that is to be read-only has to wait for that until its nodes are made."""
    if _is_readonly_dev(mount):
        return {**mount, "options": [option for option in mount["options"] if option != "ro"]}
    return mount


def _is_readonly_dev(mount: dict[str, Any]) -> bool:
    if not at_dev(mount) or is_bind(mount):
        return False
    return bool(parse(mount.get("options") or []).set & MOUNT_ATTR_RDONLY)


def mount_label(config: dict[str, Any]) -> MountLabel | None:
    """linux.mountLabel, or None."""
    if not (config.get("linux") or {}).get("mountLabel"):
        return None
    from pyoci.plan.labels import MountLabel

    return MountLabel(config)


def _may_write_cgroups(mount: dict[str, Any]) -> bool:
    return mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options") or ())


def compile_cover(config: dict[str, Any]) -> list[Step]:
    """What hides or freezes parts of the finished tree."""
    linux = config.get("linux") or {}
    plan = [
        steps.remount(
            f"/mounts/{index}/options",
            target="/dev",
            superblock=0,
            set=MOUNT_ATTR_RDONLY,
            clear=0,
            options=[],
        )
        for index, mount in enumerate(config.get("mounts") or ())
        if _is_readonly_dev(mount)
    ]
    plan += [
        steps.readonly_path(f"/linux/readonlyPaths/{index}", path=path)
        for index, path in enumerate(linux.get("readonlyPaths") or ())
    ]
    plan += [  # without a slash at the end, for which the kernel would follow a link
        steps.mask_path(f"/linux/maskedPaths/{index}", path=path.rstrip("/") or "/")
        for index, path in enumerate(linux.get("maskedPaths") or ())
    ]
    return plan


def compile_change(config: dict[str, Any], pivot: bool) -> list[Step]:
    """The change of root, after which the host's tree can't be reached any more."""
    plan: list[Step] = [steps.pivot_root("/root") if pivot else steps.move_root("/root")]
    propagation = PROPAGATION.get((config.get("linux") or {}).get("rootfsPropagation") or "", 0)
    if propagation & (MS_SHARED | MS_UNBINDABLE):  # private and slave it is from the beginning
        plan.append(steps.root_propagation("/linux/rootfsPropagation", flags=propagation))
        if propagation & MS_REC:
            plan += _own_propagation(config)
    if config["root"].get("readonly"):
        plan.append(steps.root_readonly("/root/readonly"))
    return plan


def _own_propagation(config: dict[str, Any]) -> list[Step]:
    """Mounts that ask for a propagation of their own get it back from a recursive change; shared ones
    have kept their peers through rshared, and lose them to runbindable."""
    return [
        steps.mount_propagation(
            f"/mounts/{index}/options", target=mount["destination"], flags=PROPAGATION[name]
        )
        for index, mount in enumerate(config.get("mounts") or ())
        for name in mount.get("options") or ()
        if PROPAGATION.get(name, MS_SHARED) & MS_SHARED == 0
    ]
