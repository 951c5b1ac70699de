"""A further process in a running container: its namespaces, its cgroup, its limits and filters."""

from __future__ import annotations

import os
from errno import EBUSY

from pyoci.bundle import document
from pyoci.cgroup import manager
from pyoci.errors import Error
from pyoci.host import privileges
from pyoci.lifecycle import facts, handover, store
from pyoci.lifecycle import init as executor
from pyoci.lifecycle.joining import Joined
from pyoci.lifecycle.start import check_executed
from pyoci.plan import compile as compiler
from pyoci.plan.situation import Situation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.lifecycle.foreground import Foreground
    from pyoci.lifecycle.options import ExecOptions
    from pyoci.lifecycle.settings import Settings
    from pyoci.plan.plan import Plan


def execute(settings: Settings, container_id: str, options: ExecOptions) -> int:
    """Run a process in a container; its exit status (128 + n for signal n), 0 when detached."""
    container = store.load(settings.root, container_id)
    try:
        _check_state(container, options)
        config = container.config()
        process = build_process(config, options)
        _check_terminal(process, options)
        joined = Joined(container.state["pid"])
        try:
            if not container.alive():
                raise _not_running(container_id, "stopped")
            return _Execution(settings, container, options, config, process, joined).run()
        finally:
            joined.close()
    finally:
        container.close()


def _not_running(container_id: str, status: str) -> Error:
    return Error(
        f"cannot exec in container {container_id}: container not running, it is {status}",
        code="wrong-state",
    )


def _check_state(container: store.Container, options: ExecOptions) -> None:
    status = container.status()
    if not options.ignore_paused and (status == "paused" or options.cgroup):
        _check_thawed(container, status, options)
    if status not in ("running", "created", "paused"):
        raise _not_running(container.id, status)


def _check_thawed(container: store.Container, status: str, options: ExecOptions) -> None:
    """Refuses to put a process where it would stand still, before anybody waits for it."""
    cgroup = manager.load(container.state["cgroup"])
    at = cgroup.frozen_at(options.cgroup)
    if not at and status != "paused":
        return
    own = not at or os.path.dirname(at) in cgroup.paths().values()
    raise Error(
        f"cannot exec in container {container.id}: "
        f"{'it is paused' if status == 'paused' else 'that cgroup is frozen'}, so the process would hang"
        + (f" ({at})" if at else ""),
        code="wrong-state",
        hint=f"{f'pyoci resume {container.id}' if own else f'thaw it by {at}'}, or give --ignore-paused",
    )


def _check_terminal(process: dict[str, Any], options: ExecOptions) -> None:
    if process.get("terminal") and options.detach and not options.console_socket:
        raise Error(
            "the process wants a terminal, and nobody is given to hold its other end",
            code="usage",
            hint="give --console-socket, or leave --detach away",
        )
    if options.console_socket and not (process.get("terminal") and options.detach):
        raise Error(
            "--console-socket takes the terminal of a detached process, and there is none here",
            code="usage",
            hint="give --tty and --detach too",
        )


# What a process file that is silent about it leaves as it is in the container: otherwise an engine that
# says little would run the process with less confinement than the container's (as runc and crun do).
INHERITED = (
    "apparmorProfile", "capabilities", "env", "execCPUAffinity", "ioPriority", "oomScoreAdj", "rlimits",
    "scheduler", "selinuxLabel", "user",
)  # fmt: skip


def build_process(config: dict[str, Any], options: ExecOptions) -> dict[str, Any]:
    """The `process` object to run: the given file, or the container's own with the flags' changes."""
    if options.process_file:
        process = _read_process(options.process_file)
        own = config["process"]
        process.update({name: own[name] for name in INHERITED if name in own and not process.get(name)})
        if options.tty:
            process["terminal"] = True
    else:
        process = dict(config["process"])
        process["terminal"] = options.tty
        process.pop("consoleSize", None)
        process["args"] = list(options.args)
        _apply_user(process, options)
        _apply_environment(process, options)
        if options.cwd:
            process["cwd"] = options.cwd
        if options.no_new_privs:
            process["noNewPrivileges"] = True
        if options.caps:
            process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, options.caps)
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    if not process.get("args"):
        raise Error(
            "there is no program to run",
            code="usage",
            hint="name it after the container's id, or give --process FILE",
        )
    return process


def _read_process(path: str) -> dict[str, Any]:
    from pyoci.bundle import rules, schema

    process = document.parse(document.read_file(path, "the process file"), path)
    schema.check_process(process)
    assert isinstance(process, dict)
    rules.check_process(process)
    return process


def _apply_user(process: dict[str, Any], options: ExecOptions) -> None:
    user = dict(process.get("user") or {})
    if options.user is not None:
        uid, gid = options.user
        user["uid"] = uid
        user["gid"] = gid if gid is not None else user.get("gid", 0)
    if options.additional_gids:
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *options.additional_gids]
    process["user"] = user


def _apply_environment(process: dict[str, Any], options: ExecOptions) -> None:
    given = {entry.partition("=")[0] for entry in options.env}
    kept = [entry for entry in process.get("env") or () if entry.partition("=")[0] not in given]
    if options.user is not None:
        # Another user has another home: it is looked up again in the container's /etc/passwd.
        kept = [entry for entry in kept if not entry.startswith("HOME=")]
    process["env"] = [*kept, *options.env]


def _with_capabilities(sets: dict[str, Any], names: Any) -> dict[str, Any]:
    """The given ones in addition, but never inheritable: that would hand them on to programs that
    an unprivileged user runs (CVE-2022-29162)."""
    result = dict(sets)
    for kind in ("bounding", "effective", "permitted"):
        result[kind] = [*(sets.get(kind) or ()), *(n for n in names if n not in (sets.get(kind) or ()))]
    return result


class _Execution:
    """One exec, from the stage's start to the process's end."""

    def __init__(
        self,
        settings: Settings,
        container: store.Container,
        options: ExecOptions,
        config: dict[str, Any],
        process: dict[str, Any],
        joined: Joined,
    ) -> None:
        self.settings = settings
        self.container = container
        self.options = options
        self.config = config
        self.process = process
        self.joined = joined
        self.cgroup = manager.load(container.state["cgroup"])
        self.born = False  # in the container's cgroup, rather than moved there
        self.master = -1
        self.watch: Foreground | None = None

    def _plan(self) -> Plan:
        situation = Situation(self.container.id)
        situation.preserve = self.options.preserve_fds
        situation.privileged = privileges.is_host_root()
        situation.set_groups = self.joined.set_groups
        situation.keyring = self.container.state.get("keyring", True)
        situation.listening = self.options.listening
        situation.last_capability = privileges.last_capability()
        if not self.joined.user:
            situation.bounding = privileges.bounding_set()
        if self.process.get("apparmorProfile") or self.process.get("selinuxLabel"):
            from pyoci.host import lsm

            lsm.check_labels(self.process)
        facts.compile_filter(self.config, self.settings, situation)
        plan = compiler.compile_exec(
            self.config,
            self.process,
            situation,
            kinds=self.joined.kinds,
            user=self.joined.maps_root,
        )
        for warning in situation.warnings:
            self.settings.warn(warning)
        return plan

    def run(self) -> int:
        plan = self._plan()
        try:
            init = self._spawn(plan)
            try:
                self._converse(init)
                if not self.watch:
                    return 0
                status = self.watch.wait(init.pid, init.pidfd)
                init.pid = 0
                return status
            except BaseException:
                if init.stage and self.options.ignore_paused:
                    self.cgroup.leave_frozen(init.stage)
                init.destroy()
                raise
            finally:
                init.close()
        finally:
            if self.watch:
                self.watch.close()
            if self.master >= 0:
                os.close(self.master)

    def _spawn(self, plan: Plan) -> executor.Init:
        """Start the executor, where there is only cgroup v2 in the container's cgroup: moving it there later
        would keep every fork and exit on the machine waiting (cgroup_threadgroup_rwsem)."""
        # What is born in a frozen cgroup couldn't even say why it fails.
        frozen = self.options.ignore_paused
        places = [] if frozen else self.cgroup.exec_places(self.options.cgroup, self.joined.pid)
        for place in places:
            try:
                birth = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                break  # exec_join() says what is missing
            try:
                init = self._spawn_in(plan, birth)
            except Error as error:
                if error.errno != EBUSY:
                    raise
            else:
                self.born = True
                return init
            finally:
                os.close(birth)
        return self._spawn_in(plan, -1)

    def _spawn_in(self, plan: Plan, cgroup: int) -> executor.Init:
        return executor.spawn(
            plan,
            descriptors={"process": self.joined.pidfd},
            keep=range(3, 3 + self.options.preserve_fds),
            cgroup=cgroup,
            warn=self.settings.warn,
        )

    def _converse(self, init: executor.Init) -> None:
        while True:
            report = init.receive()
            if report is None:
                break
            if report.kind == executor.DESCRIPTOR:
                self._take(report, init.pid)
            else:
                reason = init.plan.steps[report.step].args[0]
                if reason == compiler.JOIN:
                    if not self.born:
                        self.cgroup.exec_join(init.stage, self.options.cgroup, self.joined.pid)
                    if self.container.state.get("resctrl"):
                        from pyoci.cgroup import resctrl

                        resctrl.load(self.container.state["resctrl"]).join(init.stage)
                elif reason == compiler.START:
                    self._finish(init)
            init.answer()
        if not init.pid:
            from pyoci.lifecycle.failures import died_silently

            raise died_silently(init.plan, init.stage, self.container)
        check_executed(init, self.container)

    def _take(self, report: executor.Report, pid: int) -> None:
        if report.value == executor.LISTENER:
            from pyoci.lifecycle.start import hand_listener

            hand_listener(self.container, report.descriptor, pid, "running")
        elif self.options.console_socket:
            handover.send_terminal(self.options.console_socket, report.descriptor)
        else:
            self.master = report.descriptor

    def _finish(self, init: executor.Init) -> None:
        """Just before the program: what is set from outside, and what the caller gets."""
        if not self.options.detach:
            from pyoci.lifecycle.foreground import Foreground

            self.watch = Foreground()  # only now: until here an interrupt ends pyoci
            if self.master >= 0:
                self.watch.attach(self.master)  # before the program looks at its window's size
        adjustment = self.process.get("oomScoreAdj")
        if adjustment is not None or self.joined.user:
            from pyoci.lifecycle import outside

            if adjustment is not None:
                outside.set_oom_score(init.pid, adjustment)
            if self.joined.user:
                outside.set_for_user_namespace(self.process, init.pid)
        handover.tell_process(self.options, init.pid, init.pidfd)
