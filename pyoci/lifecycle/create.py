"""Creating a container: everything from the bundle to a process that waits for start.

The order, and what undoes it. The state directory comes first: whatever follows can be found by it.

    claim the id       remove the directory
    state `creating`   (with the names of the cgroups)
    start the executor kill it; it also dies with us, by PR_SET_PDEATHSIG
    cgroups            kill what is in them, remove them
    converse           mappings, cgroup, terminal, hooks as the executor comes to each
    state `created`    from here on `delete` is what undoes
"""

from __future__ import annotations

import os
from time import gmtime, strftime, time_ns

from pyoci.bundle.load import load
from pyoci.cgroup import DELEGATE, layout
from pyoci.errors import Error
from pyoci.host import mountinfo, procfs
from pyoci.lifecycle import channel, facts, handover, store
from pyoci.lifecycle import init as executor
from pyoci.plan import compile as compiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.bundle.load import Bundle
    from pyoci.cgroup.manager import Manager
    from pyoci.cgroup.resctrl import Group
    from pyoci.lifecycle.options import CreateOptions
    from pyoci.lifecycle.settings import Settings
    from pyoci.plan.plan import Plan
    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step


class Making:
    """A container on its way: what there is to go on with, and to undo.

    master    the terminal's master where the runtime keeps it (foreground), else -1
    devices   network devices that are moved into the container, as net_devices.look() describes them
    resctrl   its group of the resctrl filesystem, if linux.intelRdt asks for one
    network   its network namespace once they are, else -1: held, as they go with its last process
    notify    the caller's NOTIFY_SOCKET if the container is to reach it, else ""
    """

    __slots__ = (
        "bundle", "cgroup", "container", "devices", "init", "listener", "master", "network", "notify",
        "options", "plan", "resctrl", "settings", "situation",
    )  # fmt: skip

    def __init__(self, settings: Settings, options: CreateOptions, bundle: Bundle) -> None:
        self.settings = settings
        self.options = options
        self.bundle = bundle
        self.init: executor.Init | None = None
        self.listener = -1
        self.master = -1
        self.devices: list[dict[str, Any]] = []
        self.network = -1
        self.notify = ""
        self.resctrl: Group | None = None
        self.plan: Plan
        self.cgroup: Manager
        self.situation: Situation
        self.container: store.Container

    def close(self) -> None:
        """Give up our hold on a container that is made; it goes on by itself."""
        if self.init:
            self.init.close()
        if self.listener >= 0:
            os.close(self.listener)
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        if self.network >= 0:
            os.close(self.network)
            self.network = -1
        self.container.close()

    def take_back_devices(self) -> None:
        """Return the network devices, if they were moved."""
        if self.network >= 0:
            from pyoci.lifecycle import net_devices

            net_devices.take_back(self.devices, self.network, self.settings.warn)
            os.close(self.network)
            self.network = -1

    def undo(self) -> None:
        """Take back everything, in the opposite order."""
        self.take_back_devices()
        if self.init:
            self.init.destroy()
        if self.listener >= 0:
            os.close(self.listener)
        if self.master >= 0:
            os.close(self.master)
        self.cgroup.kill(9)
        self.cgroup.destroy()
        if self.resctrl:
            self.resctrl.destroy()
        self.container.remove()
        self.container.close()


def create(settings: Settings, container_id: str, options: CreateOptions) -> None:
    """runtime.md#create: afterwards the container is `created`, its program not yet run."""
    making = make(settings, container_id, options, gated=True, detached=True)
    making.close()


def make(
    settings: Settings,
    container_id: str,
    options: CreateOptions,
    *,
    gated: bool,
    detached: bool,
    trace: Callable[[Step, int], None] | None = None,
) -> Making:
    """Make a container whose process waits at its gate, or (not gated) for this process's word."""
    store.check_id(container_id)  # before anything is named after it
    bundle = load(options.bundle, options.config)
    for warning in bundle.warnings:
        settings.warn(warning)
    _check_terminal(bundle.config, options, detached)
    making = Making(settings, options, bundle)
    if os.environ.get("NOTIFY_SOCKET"):
        from pyoci.lifecycle import notify

        making.notify = notify.arrange(bundle.config, f"{settings.root}/{container_id}")
    prepare(making, container_id, gated)
    making.container = store.claim(settings.root, container_id)
    try:
        making.cgroup.check()  # before a state names them: delete kills what is in a container's cgroups
        making.container.state = _first_state(making, container_id)
        making.container.save()
        making.container.replace("config.json", bundle.raw)
        if making.notify:
            notify.make_directory(making.container)
        _spawn(making, gated, trace)
        _converse(making)
    except BaseException as error:
        making.undo()
        if isinstance(error, Error) and error.code == "hook":
            # runtime.md#lifecycle: a failing hook continues at the step that deletes.
            from pyoci.lifecycle import delete

            delete.run_poststop(making.container.state, settings)
        raise
    return making


def _check_terminal(config: dict[str, Any], options: CreateOptions, detached: bool) -> None:
    terminal = bool(config["process"].get("terminal"))
    if terminal and detached and not options.console_socket:
        raise Error(
            "the container wants a terminal, and nobody is given to hold its other end",
            code="usage",
            pointer="/process/terminal",
            hint="give --console-socket, or pyoci run without --detach",
        )
    if options.console_socket and not (terminal and detached):
        raise Error(
            "--console-socket takes the terminal of a detached container, and there is none here",
            code="usage",
            pointer="/process/terminal",
            hint="set process.terminal to true, or leave the flag away",
        )


def prepare(making: Making, container_id: str, gated: bool) -> None:
    """Everything that touches nothing: names, facts, the plan."""
    config, settings = making.bundle.config, making.settings
    linux, annotations = config.get("linux") or {}, config.get("annotations") or {}
    where = layout.detect()
    making.cgroup = facts.choose_cgroups(config, where, container_id, settings)
    making.cgroup.mark = f"{settings.root}/{container_id}"
    memory = (linux.get("resources") or {}).get("memory") or {}
    if memory.get("disableOOMKiller") and "memory" in where.v1:
        from pyoci.lifecycle import shortage

        shortage.check(memory)
    if DELEGATE in annotations:
        from pyoci.cgroup import delegation

        delegation.check(making.cgroup, annotations)
    making.situation = facts.gather(config, making.options, container_id, settings)
    making.situation.gated = gated
    if any(mount.get("type") in ("cgroup", "cgroup2") for mount in config.get("mounts") or ()):
        making.situation.cgroups = facts.cgroup_view(where, making.cgroup, annotations)
    if linux.get("netDevices"):
        from pyoci.lifecycle import net_devices

        making.devices = net_devices.look(linux["netDevices"])
    if linux.get("intelRdt") is not None:
        from pyoci.cgroup import resctrl

        mount = resctrl.find_mount(mountinfo.read())
        making.resctrl = resctrl.plan(linux["intelRdt"], container_id, mount)
    making.plan = compiler.compile_container(
        config, making.situation, bundle=making.bundle.path, rootfs=making.bundle.rootfs
    )
    for warning in making.situation.warnings:
        settings.warn(warning)


def _resources(config: dict[str, Any]) -> dict[str, Any]:
    """linux.resources, with pids.limit as the document's version of the specification means it: 0 is
    no limit before 1.3, where podman and others write it for that, and really 0 since."""
    resources: dict[str, Any] = (config.get("linux") or {}).get("resources") or {}
    pids = resources.get("pids") or {}
    major, minor = config["ociVersion"].split(".")[:2]
    if pids.get("limit") == 0 and (int(major), int(minor)) < (1, 3):
        return {**resources, "pids": {"limit": -1}}
    return resources


def _first_state(making: Making, container_id: str) -> dict[str, Any]:
    config, bundle = making.bundle.config, making.bundle
    now = time_ns()
    created = strftime("%Y-%m-%dT%H:%M:%S", gmtime(now // 10**9))
    seccomp = (config.get("linux") or {}).get("seccomp") or {}
    return {
        "version": 1,
        "ociVersion": config["ociVersion"],
        "id": container_id,
        "bundle": bundle.path,
        "rootfs": bundle.rootfs,
        "created": f"{created}.{now % 10**9:09d}Z",
        "owner": os.geteuid(),
        "annotations": config.get("annotations") or {},
        "phase": "creating",
        "pid": 0,
        "start_time": 0,
        "boot": procfs.boot_id(),
        "cgroup": making.cgroup.record(),
        "resctrl": making.resctrl.record() if making.resctrl else None,
        "net_devices": making.devices,
        "hooks": config.get("hooks") or {},
        "environment": config["process"].get("env") or [],
        "notify": making.notify,
        "keyring": making.situation.keyring,
        "seccomp_listener": [seccomp.get("listenerPath"), seccomp.get("listenerMetadata") or ""],
    }


def _spawn(making: Making, gated: bool, trace: Callable[[Step, int], None] | None) -> None:
    """Start the executor, and do what can be done beside it while it works."""
    plan, cgroup = making.plan, making.cgroup
    opened: dict[str, int] = {}
    birth = -1
    try:
        open_descriptors(plan, opened, making.settings)
        if gated:
            making.listener = channel.listen(f"{making.container.path}/start")
            opened["listener"] = making.listener
        if cgroup.births():
            cgroup.create()
            birth = cgroup.birth_fd()
        making.init = executor.spawn(
            plan,
            descriptors=opened,
            keep=range(3, 3 + making.situation.preserve),
            cgroup=birth,
            warn=making.settings.warn,
            trace=trace,
        )
    finally:
        for name, descriptor in opened.items():
            if name != "listener" and descriptor >= 0:
                os.close(descriptor)
        if birth >= 0:
            os.close(birth)
    if not cgroup.births():
        cgroup.create()
    cgroup.set(_resources(making.bundle.config))
    if making.resctrl:
        making.resctrl.create(making.bundle.config["linux"]["intelRdt"])


def open_descriptors(plan: Plan, opened: dict[str, int], settings: Settings) -> None:
    """Add to `opened` what the plan needs open: namespaces, and mount trees copied in our own context."""
    for name, path in plan.descriptors.items():
        if not name.startswith("tree:"):
            opened[name] = _open_namespace(plan, name, path)
    if len(opened) < len(plan.descriptors):
        from pyoci.lifecycle import trees

        trees.open_trees(plan, opened, settings.warn)


def _open_namespace(plan: Plan, name: str, path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(
            f"can't open the namespace {path}: {os.strerror(error.errno or 0).lower()}",
            code="not-found",
            pointer=next((s.pointer for s in plan.steps if name in s.args), "/linux/namespaces"),
            errno=error.errno or 0,
        ) from None


def _join(making: Making) -> None:
    """Mappings, cgroup and OOM score of the container's process: from outside, by the host's root."""
    init, config = making.init, making.bundle.config
    assert init
    linux = config.get("linux") or {}
    if any(step.op == "wait_runtime" and step.pointer == "/linux/uidMappings" for step in init.plan.steps):
        from pyoci.lifecycle import mappings

        mappings.write(linux, init.pid)
    elif linux.get("uidMappings") or linux.get("gidMappings"):
        from pyoci.lifecycle import mappings

        mappings.compare(linux, init.pid)
    if not making.cgroup.births():
        making.cgroup.join(init.pid)
    if making.resctrl:
        making.resctrl.join(init.pid)
    adjustment = config["process"].get("oomScoreAdj")
    if adjustment is not None:
        from pyoci.lifecycle.outside import set_oom_score

        set_oom_score(init.pid, adjustment)


def _give_devices(making: Making) -> None:
    from pyoci.lifecycle import net_devices

    assert making.init
    making.network = os.open(f"/proc/{making.init.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    net_devices.give(making.devices, making.network, making.init.pid)


def _converse(making: Making) -> None:
    """Answer the executor until its process stands at the gate."""
    init = making.init
    assert init
    while True:
        report = init.receive()
        if report is None:
            from pyoci.lifecycle.failures import died_silently

            raise died_silently(init.plan, init.pid or init.stage, making.container)
        if report.kind == executor.DESCRIPTOR:
            _take_terminal(making, report.descriptor)
        elif report.kind == executor.READY:
            _finish(making)
            init.answer()
            while init.receive():
                continue  # it closes the socket once it no longer dies with us
            return
        else:
            reason = init.plan.steps[report.step].args[0]
            if reason == compiler.JOIN:
                _join(making)
            elif reason == compiler.DEVICES:
                _give_devices(making)
            elif reason == compiler.HOOKS:
                _run_hooks(making)
            elif reason == compiler.START:
                _finish(making)
                return
        init.answer()


def _take_terminal(making: Making, master: int) -> None:
    if not making.options.console_socket:
        making.master = master
        return
    handover.send_terminal(making.options.console_socket, master)


def _run_hooks(making: Making) -> None:
    from pyoci.lifecycle import hooks
    from pyoci.lifecycle.joining import Joined

    state, init = making.container.state, making.init
    assert init
    _note_process(making)
    making.container.save()  # a hook may ask for the state, or send a signal
    entries, directory, warn = state["hooks"], state["bundle"], making.settings.warn
    for kind in ("prestart", "createRuntime"):
        described = store.hook_state(state, "creating", init.pid)
        hooks.run(entries, kind, described, directory=directory, warn=warn)
    if entries.get("createContainer"):
        joined = Joined(init.pid)
        try:
            described = store.hook_state(state, "creating", joined.inner_pid)
            hooks.run(entries, "createContainer", described, directory=directory, warn=warn, joined=joined)
        finally:
            joined.close()


def _note_process(making: Making) -> None:
    init, state = making.init, making.container.state
    assert init
    state["pid"] = init.pid
    state["start_time"] = procfs.start_time(init.pid) or 0


def _finish(making: Making) -> None:
    """At the gate: what is set from outside, what the caller gets, and the state `created`."""
    init, options, config = making.init, making.options, making.bundle.config
    assert init
    if any(entry["type"] == "user" for entry in (config.get("linux") or {}).get("namespaces") or ()):
        from pyoci.lifecycle.outside import set_for_user_namespace

        set_for_user_namespace(config["process"], init.pid)
    if making.cgroup.mode == "v2":
        from pyoci.cgroup import delegation

        if delegation.wanted(config):
            delegation.delegate(making.cgroup, config, init.pid, making.settings.warn)
    _note_process(making)
    state = making.container.state
    state["phase"] = "created"
    if making.situation.gated:
        making.container.write_new("steps.json", remembered_steps(init.plan))
    elif not state["hooks"].get("startContainer"):
        state["phase"] = "running"  # in a moment: nobody can look in between, so it is written once
    making.container.save()
    handover.tell_process(options, init.pid, init.pidfd)


# Steps before the gate that tell what one after it means.
REMEMBERED = ("join_namespace", "wait_runtime", "enter_directory", "find_program")


def remembered_steps(plan: Plan) -> bytes:
    """What `start` needs to name a step that fails after the gate: [index, name, pointer, args]."""
    from pyoci.bundle import document

    gate = next((i for i, step in enumerate(plan.steps) if step.op == "gate"), len(plan.steps))
    entries = [
        [index, step.op, step.pointer, ["" if isinstance(arg, bytes) else arg for arg in step.args]]
        for index, step in enumerate(plan.steps)
        if index > gate or step.op in REMEMBERED
    ]
    return document.dump(entries, 0).encode()
