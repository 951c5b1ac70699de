"""Starting a created container: the word at the gate, and the hooks on both sides of it."""

from __future__ import annotations

import os

from pyoci.bundle import document
from pyoci.errors import Error
from pyoci.lifecycle import channel, store
from pyoci.lifecycle import init as executor
from pyoci.plan.plan import Plan
from pyoci.plan.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.lifecycle.notify import Proxy
    from pyoci.lifecycle.settings import Settings

ENDING_SECONDS = 5.0


def start(settings: Settings, container_id: str) -> None:
    """runtime.md#start: the program runs when this returns; one that notifies is ready, too."""
    container = store.load(settings.root, container_id, lock=True)
    proxy = None
    try:
        status = container.status()
        if status != "created":
            raise _wrong_state(container_id, status)
        init = _connect(container, settings)
        try:
            proxy = notify_proxy(container, settings)
            begin(container, init, lambda: _say_start(container, init), settings.warn)
        finally:
            init.close()
        os.unlink("start", dir_fd=container.descriptor)
        if proxy:
            container.close()  # the lock: it may be signalled meanwhile
            proxy.wait_ready()
    finally:
        if proxy:
            proxy.close()
        container.close()


def notify_proxy(container: store.Container, settings: Settings) -> Proxy | None:
    """Who passes the container's notifications on, if its creator wanted that."""
    if not container.state.get("notify"):
        return None
    from pyoci.lifecycle import notify

    return notify.Proxy(container, settings.warn)


def _wrong_state(container_id: str, status: str) -> Error:
    if status == "running":
        message = f"cannot start container {container_id}: it is already running"
    elif status == "stopped":
        message = f"cannot start container {container_id}: it has stopped"
    else:
        message = f"cannot start container {container_id}: it is {status}, not created"
    return Error(message, code="wrong-state")


def _connect(container: store.Container, settings: Settings) -> executor.Init:
    """A conversation with the process at the gate, as `create` had one before."""
    try:
        connection = channel.connect(f"{container.path}/start", stream=False)
    except OSError as error:
        if _has_ended(container):
            raise _wrong_state(container.id, "stopped") from None
        raise Error(
            f"nobody waits for the start of container {container.id}: "
            + os.strerror(error.errno or 0).lower(),
            code="wrong-state",
            errno=error.errno or 0,
        ) from None
    plan = Plan()
    plan.steps = _recalled_steps(container)
    init = executor.Init(plan, connection, settings.warn)
    init.pid = container.state["pid"]
    return init


def _say_start(container: store.Container, init: executor.Init) -> None:
    try:
        init.control.send(b"start")
    except Error:
        if _has_ended(container):
            raise _wrong_state(container.id, "stopped") from None
        raise


def _has_ended(container: store.Container) -> bool:
    """Whether the process is gone, or soon is: one that was killed closes its files before it's a zombie."""
    try:
        pidfd = os.pidfd_open(container.state["pid"])
    except ProcessLookupError:
        return True
    try:
        return not container.alive() or channel.wait_readable(pidfd, ENDING_SECONDS)
    finally:
        os.close(pidfd)


def _recalled_steps(container: store.Container) -> list[Step]:
    entries = document.parse(container.read("steps.json"), "steps.json")
    assert isinstance(entries, list)
    steps = [Step("gate", "", ("",)) for _ in range(entries[-1][0] + 1)]
    for index, op, pointer, args in entries:
        steps[index] = Step(op, pointer, tuple(args))
    return steps


def begin(
    container: store.Container,
    init: executor.Init,
    say_start: Callable[[], object],
    warn: Callable[[str], None],
) -> None:
    """From `created` to `running`: startContainer hooks, the word, the program, poststart hooks. A
    failure kills the process: the container is stopped, and delete removes it. But where the state that
    is to come can't be written, nothing has happened yet, and it may be started later."""
    state = container.state
    written = state["phase"] == "running"
    if not written:
        container.prepare_phase("running")
    try:
        if state["hooks"].get("startContainer"):
            _start_hooks(container, warn)
        say_start()
        while True:
            report = init.receive()
            if report is None:
                check_executed(init, container)
                break
            if report.kind == executor.DESCRIPTOR:
                hand_listener(container, report.descriptor, state["pid"], "creating")
            init.answer()
        if not written:
            state["phase"] = "running"
            container.put_in_place("state.json")
        if state["hooks"].get("poststart"):
            from pyoci.lifecycle import hooks

            described = store.hook_state(state, "running", state["pid"])
            hooks.run(state["hooks"], "poststart", described, directory=state["bundle"], warn=warn)
    except BaseException:
        _kill(state["pid"])
        raise


def check_executed(init: executor.Init, container: store.Container) -> None:
    """The socket was closed: by the program's start, or because the executor died without a word, as
    it does when the seccomp filter refuses it even the calls for that."""
    try:
        with open(f"/proc/{init.pid}/comm") as file:
            name = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return  # it has run, and been reaped
    if name.startswith(executor.COMMAND_NAME):
        from pyoci.lifecycle.failures import died_silently

        raise died_silently(init.plan, init.pid, container)


def _start_hooks(container: store.Container, warn: Callable[[str], None]) -> None:
    from pyoci.lifecycle import hooks
    from pyoci.lifecycle.joining import Joined

    state = container.state
    joined = Joined(state["pid"])
    try:
        described = store.hook_state(state, "created", joined.inner_pid)
        hooks.run(
            state["hooks"],
            "startContainer",
            described,
            directory=state["bundle"],
            warn=warn,
            joined=joined,
            environment=state["environment"],
        )
    finally:
        joined.close()


def hand_listener(container: store.Container, descriptor: int, pid: int, status: str) -> None:
    """Send the seccomp notify descriptor with the container process state (config-linux.md#seccomp).

    pid     of the process that has the filter, the container's first or one of exec
    status  the container's, as agents know it: of its first process it is always `creating`
    """
    from pyoci.lifecycle import handover

    state = container.state
    path, metadata = state["seccomp_listener"]
    described = store.hook_state(state, status, state["pid"])
    message = {"ociVersion": described["ociVersion"], "fds": ["seccompFd"], "pid": pid, "state": described}
    if metadata:
        message["metadata"] = metadata
    try:
        text = document.dump(message, 0).encode()
        handover.send_descriptor(path, "/linux/seccomp/listenerPath", descriptor, text)
    finally:
        os.close(descriptor)


def _kill(pid: int) -> None:
    """Kill the container's process, and see it end: who asks next finds the container stopped."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        os.kill(pid, 9)
        channel.wait_readable(pidfd, ENDING_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
