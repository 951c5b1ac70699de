"""The plans that change the mounts of a running container."""

from __future__ import annotations

from pyoci.plan import steps
from pyoci.plan.compile import compile_entry
from pyoci.plan.mounts import compile_mount
from pyoci.plan.namespaces import Namespaces
from pyoci.plan.plan import Plan
from pyoci.plan.rootfs import mount_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pyoci.plan.situation import CgroupView
    from pyoci.plan.steps import Step

MNT_DETACH = 2  # umount2(2)


def compile_addition(
    config: dict[str, Any],
    mounts: list[dict[str, Any]],
    *,
    bundle: str,
    cgroups: CgroupView | None,
    kinds: int,
    user: bool,
    warn: Callable[[str, str], None] | None = None,
) -> Plan:
    """Mounts in the container whose process is named `process`, as the compiler makes them from config.json.

    Every bind's source is opened by the runtime: in the container its path would be something else.

    kinds  CLONE_NEW* of the namespaces that differ from the runtime's
    user   whether the user namespace is among them
    warn   takes a pointer and a message
    """
    plan = Plan()
    plan.staged = True
    plan.steps = compile_entry("/linux/namespaces", kinds=kinds, user=user)
    label = mount_label(config)
    for index, mount in enumerate(mounts):
        compiled = compile_mount(
            index,
            mount,
            bundle=bundle,
            cgroups=cgroups,
            cgroup_namespace=Namespaces(config).has("cgroup"),
            linux=config.get("linux") or {},
            opened=plan,
            outside=True,
            label=label,
            warn=warn,
        )
        plan.steps += [_opened(step, index, plan) for step in compiled]
    return plan


def _opened(step: Step, index: int, plan: Plan) -> Step:
    """The step with its source opened by the runtime, as those of cgroups aren't yet."""
    if step.op != "mount_bind" or step.args[1]:
        return step
    tree = f"tree:{index}.{len(plan.descriptors)}"
    plan.descriptors[tree] = str(step.args[0])
    return steps.Step(step.op, step.pointer, (step.args[0], tree, *step.args[2:]))


def compile_removal(targets: Iterable[tuple[str, str]], *, kinds: int, user: bool) -> Plan:
    """Unmount targets, each given with the pointer that asked for it, and what is mounted below them.

    They go from the container's tree at once; a process that still uses one of them keeps it until it
    has done.
    """
    plan = Plan()
    plan.staged = True
    plan.steps = compile_entry("/linux/namespaces", kinds=kinds, user=user)
    plan.steps += [steps.unmount(pointer, target=target, flags=MNT_DETACH) for pointer, target in targets]
    return plan
