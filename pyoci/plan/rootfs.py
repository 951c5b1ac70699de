"""Compiling the container's filesystem: the order in which root, mounts, devices and masks are made."""

from __future__ import annotations

from pyoci.plan import steps
from pyoci.plan.devices import compile_devices
from pyoci.plan.kernel import MS_REC, MS_SLAVE
from pyoci.plan.mount_options import PROPAGATION
from pyoci.plan.mounts import compile_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.namespaces import Namespaces
    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step


def compile_root(config: dict[str, Any], rootfs: str) -> list[Step]:
    """From the copy of the host's mounts to a root that later paths are resolved beneath."""
    propagation = (config.get("linux") or {}).get("rootfsPropagation")
    # Slaves get what the host mounts later but give nothing back; a shared root is the config's wish.
    flags = PROPAGATION[propagation] if propagation else MS_SLAVE | MS_REC
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
    descriptors: dict[str, str],
    join: list[Step],
) -> list[Step]:
    """Every mount in its order, and `join` (the wait for the cgroup, and its namespace) at the last
    moment: a cgroup filesystem shows the cgroup of whoever mounts it, and until then the runtime
    has had time to move the process there."""
    plan: list[Step] = []
    in_user_namespace = namespaces.has("user")
    # Root of the host may reach sources that the container's user can't; anyone else has no right
    # to copy mounts before he is in a user namespace of his own (open_tree(2), EPERM).
    opened_outside = in_user_namespace and situation.privileged
    waiting = list(join)
    for index, mount in enumerate(config.get("mounts") or ()):
        if waiting and mount.get("type") in ("cgroup", "cgroup2"):
            plan += waiting
            waiting = []
        plan += compile_mount(
            index,
            mount,
            bundle=bundle,
            cgroups=situation.cgroups,
            cgroup_namespace=namespaces.has("cgroup"),
            in_user_namespace=in_user_namespace,
            descriptors=descriptors if opened_outside else None,
            warn=situation.warn,
        )
    plan += waiting
    plan += compile_devices(config, bound=in_user_namespace)
    return plan


def compile_cover(config: dict[str, Any]) -> list[Step]:
    """What hides or freezes parts of the finished tree."""
    linux = config.get("linux") or {}
    plan = [
        steps.readonly_path(f"/linux/readonlyPaths/{index}", path=path)
        for index, path in enumerate(linux.get("readonlyPaths") or ())
    ]
    plan += [
        steps.mask_path(f"/linux/maskedPaths/{index}", path=path)
        for index, path in enumerate(linux.get("maskedPaths") or ())
    ]
    return plan


def compile_change(config: dict[str, Any], pivot: bool) -> list[Step]:
    """The change of root, after which the host's tree can't be reached any more."""
    plan: list[Step] = [steps.pivot_root("/root") if pivot else steps.move_root("/root")]
    propagation = (config.get("linux") or {}).get("rootfsPropagation")
    if propagation:
        plan.append(steps.root_propagation("/linux/rootfsPropagation", flags=PROPAGATION[propagation]))
    if config["root"].get("readonly"):
        plan.append(steps.root_readonly("/root/readonly"))
    return plan
