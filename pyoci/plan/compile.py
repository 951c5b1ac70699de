"""The order of things: from config.json to the whole plan of a container, or of a further process.

stage       (only with joined or time namespaces) join, then clone
early       die with the runtime, wait for the user's mappings, session, names, network devices, sysctls
filesystem  root, mounts - with a wait for the cgroup on the way -, devices, terminal
hooks       a wait, in which the runtime runs prestart, createRuntime and createContainer
change      read-only and masked paths, the change of root
process     working directory, program
gate        created; on start: limits, labels, user, capabilities, seccomp
execute     the program
"""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.plan import steps
from pyoci.plan.identity import compile_directory, compile_execute, compile_identity
from pyoci.plan.kernel import NAMESPACES, SIGKILL
from pyoci.plan.namespaces import Namespaces, compile_names, compile_stage, compile_sysctls, descriptor
from pyoci.plan.plan import Plan
from pyoci.plan.rootfs import compile_change, compile_cover, compile_mounts, compile_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step

# What the runtime is asked for at each wait.
JOIN = "user mappings and cgroup"
DEVICES = "network devices"
HOOKS = "hooks"
START = "start"

# Hooks that run while the container's process waits before its root has changed.
EARLY_HOOKS = ("prestart", "createRuntime", "createContainer")


def compile_container(config: dict[str, Any], situation: Situation, *, bundle: str, rootfs: str) -> Plan:
    """The plan of a container's first process (runtime.md#lifecycle, steps 2 to 8)."""
    process = config["process"]
    namespaces = Namespaces(config)
    if not namespaces.has("mount"):
        raise Error(
            "there is no mount namespace, so the container's mounts would be the host's",
            code="invalid-config",
            pointer="/linux/namespaces",
            hint='add {"type": "mount"}',
        )
    plan = Plan()
    plan.staged = True
    for kind, path in namespaces.joined.items():
        plan.descriptors[descriptor(kind)] = path
    plan.steps += compile_stage(namespaces, situation.privileged)
    plan.steps += _early(config, namespaces, situation)
    plan.steps += compile_root(config, rootfs)
    plan.steps += compile_mounts(config, namespaces, situation, bundle, plan, _join(namespaces))
    # What it inherited is the runtime's own: it gets every CPU that its cgroup allows.
    plan.steps.append(steps.affinity("/process", mask=b""))
    # Now, as the root may soon be read-only.
    plan.steps.append(steps.make_directory("/process/cwd", path=process["cwd"], mode=0o755))
    if process.get("terminal"):
        plan.steps.append(_terminal(process, "/process", attach=1))
    if any((config.get("hooks") or {}).get(kind) for kind in EARLY_HOOKS):
        plan.steps.append(steps.wait_runtime("/hooks", reason=HOOKS))
    plan.steps += compile_cover(config)
    plan.steps += compile_change(config, situation.pivot)
    plan.steps += _process(config, process, situation, "/process", namespaces.has("user"))
    gate = [steps.gate("", listener="listener")] if situation.gated else _started()
    index = _gate_index(plan.steps)
    plan.steps[index:index] = gate
    return plan


def _started() -> list[Step]:
    """The wait for the runtime's word, after which the process outlives the runtime."""
    return [steps.wait_runtime("", reason=START), steps.die_with_parent("", signal=0)]


def _gate_index(plan: list[Step]) -> int:
    """Right after the program has been found: a missing one is create's error, not start's."""
    for index in range(len(plan) - 1, -1, -1):
        if plan[index].op == "find_program":
            return index + 1
    return len(plan)


def _early(config: dict[str, Any], namespaces: Namespaces, situation: Situation) -> list[Step]:
    plan: list[Step] = [steps.die_with_parent("", signal=SIGKILL)]
    if namespaces.has("user"):
        if "user" in namespaces.new:
            # Before its mappings are written the process is nobody, and may do nothing.
            # An unprivileged runtime can write them only for a process that it may trace, proc(5).
            if not situation.privileged:
                plan.append(steps.set_dumpable("/linux/uidMappings", value=1))
            plan.append(steps.wait_runtime("/linux/uidMappings", reason=JOIN))
            if not situation.privileged:
                plan.append(steps.set_dumpable("/linux/uidMappings", value=0))
        if _maps_root(config, namespaces):
            if situation.set_groups:
                plan.append(steps.groups("/linux/namespaces", gids=[]))
            plan.append(steps.user("/linux/namespaces", uid=0, gid=0))
            # The kernel forgets it at every change of user, prctl(2).
            plan.append(steps.die_with_parent("", signal=SIGKILL))
        if namespaces.owns_ipc:
            plan.append(steps.unshare(namespaces.pointers["ipc"], flags=NAMESPACES["ipc"]))
    plan.append(steps.new_session("/process"))
    if situation.keyring:
        plan.append(_keyring(config["process"], situation))
    if "network" in namespaces.new:
        plan.append(steps.loopback_up(namespaces.pointers["network"]))
    plan += compile_names(config)
    if (config.get("linux") or {}).get("netDevices"):
        plan.append(steps.wait_runtime("/linux/netDevices", reason=DEVICES))  # before their own sysctls
    plan += compile_sysctls(config)
    return plan


def _keyring(process: dict[str, Any], situation: Situation) -> Step:
    label = process.get("selinuxLabel") or ""
    pointer = "/process/selinuxLabel" if label else "/process"
    return steps.session_keyring(pointer, name="_ses." + situation.container_id, label=label)


def _maps_root(config: dict[str, Any], namespaces: Namespaces) -> bool:
    if "user" in namespaces.joined:
        return True
    mappings = (config.get("linux") or {}).get("uidMappings") or ()
    return any(mapping["containerID"] == 0 for mapping in mappings)


def _join(namespaces: Namespaces) -> list[Step]:
    """The wait until the process is in its cgroup, unless the one for the mappings was it, and the
    cgroup namespace that then has this cgroup as its root."""
    plan: list[Step] = []
    if "user" not in namespaces.new:
        plan.append(steps.wait_runtime("/linux/cgroupsPath", reason=JOIN))
    if "cgroup" in namespaces.new:
        plan.append(steps.unshare(namespaces.pointers["cgroup"], flags=NAMESPACES["cgroup"]))
    return plan


def _terminal(process: dict[str, Any], pointer: str, *, attach: int) -> Step:
    size = process.get("consoleSize") or {}
    user = process.get("user") or {}
    return steps.terminal(
        pointer + "/terminal", width=size.get("width", 0), height=size.get("height", 0), attach=attach,
        uid=user.get("uid", 0), gid=-1,
    )  # fmt: skip


def _process(
    config: dict[str, Any],
    process: dict[str, Any],
    situation: Situation,
    pointer: str,
    in_user_namespace: bool,
) -> list[Step]:
    """Everything from the working directory to the program itself."""
    plan = compile_directory(process, pointer)
    if any(key in process for key in ("scheduler", "ioPriority")) or any(
        key in (config.get("linux") or {}) for key in ("personality", "memoryPolicy")
    ):
        from pyoci.plan.scheduling import compile_scheduling

        plan += compile_scheduling(config, process, pointer, priorities=not in_user_namespace)
    # Inside a user namespace nobody may raise a hard limit or a priority: there the runtime sets them.
    plan += compile_identity(process, situation, pointer, limits=not in_user_namespace)
    plan.append(compile_execute(process, situation, pointer))
    return plan


def compile_exec(
    config: dict[str, Any], process: dict[str, Any], situation: Situation, *, kinds: int, user: bool
) -> Plan:
    """The plan of a further process in a running container, whose pidfd is named `process`.

    kinds  CLONE_NEW* of the namespaces that differ from the runtime's
    user   whether the user namespace is among them
    """
    plan = Plan()
    plan.staged = True
    add = plan.steps.append
    add(steps.die_with_parent("", signal=SIGKILL))
    add(steps.wait_runtime("/linux/cgroupsPath", reason=JOIN))
    if not process.get("execCPUAffinity"):
        add(steps.affinity("/process", mask=b""))
    if kinds:
        add(steps.join_process("/linux/namespaces", pidfd="process", kinds=kinds))
    add(steps.clone("/process", flags=0))
    add(steps.die_with_parent("", signal=SIGKILL))
    if user:
        if situation.set_groups:
            add(steps.groups("/linux/namespaces", gids=[]))
        add(steps.user("/linux/namespaces", uid=0, gid=0))
        add(steps.die_with_parent("", signal=SIGKILL))
    add(steps.new_session("/process"))
    if situation.keyring:
        add(_keyring(process, situation))
    if process.get("terminal"):
        add(_terminal(process, "/process", attach=0))
    body = _process(config, process, situation, "/process", user)
    index = _gate_index(body)
    plan.steps += [*body[:index], *_started()]
    if process.get("execCPUAffinity"):
        from pyoci.plan.scheduling import compile_affinity

        plan.steps += compile_affinity(process, "final", "/process")
        plan.steps[1:1] = compile_affinity(process, "initial", "/process")
    plan.steps += body[index:]
    return plan


def compile_entry(pointer: str, *, kinds: int, user: bool) -> list[Step]:
    """From the runtime's namespaces into those of the process named `process`, as its root."""
    return [
        steps.die_with_parent("", signal=SIGKILL),
        steps.join_process(pointer, pidfd="process", kinds=kinds),
        steps.clone(pointer, flags=0),
        steps.die_with_parent("", signal=SIGKILL),
        *([steps.user(pointer, uid=0, gid=0), steps.die_with_parent("", signal=SIGKILL)] if user else []),
    ]


def compile_hook(
    hook: dict[str, Any], pointer: str, *, kinds: int, user: bool, environment: list[str]
) -> Plan:
    """The plan of a hook; with `kinds`, inside the namespaces of the process named `process`."""
    plan = Plan()
    add = plan.steps.append
    if kinds:
        plan.staged = True
        plan.steps += compile_entry(pointer, kinds=kinds, user=user)
    else:
        add(steps.die_with_parent("", signal=SIGKILL))
    add(steps.close_descriptors(pointer, first=3))
    argv = hook.get("args") or [hook["path"]]
    add(steps.find_program(pointer + "/path", name=hook["path"], search=[]))
    add(steps.execute(pointer + "/path", argv=argv, env=environment, home_of=-1, listening=0))
    return plan
