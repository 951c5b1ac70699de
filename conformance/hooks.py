"""config.md#posix-platform-hooks and the hooks' places in runtime.md#lifecycle."""

from __future__ import annotations

import time

from conformance import host
from conformance.harness import Container, World, refused, succeeds
from conformance.registry import SHOULD, check, equal, requirement

HOOKS = "config.md#posix-platform-hooks"
CREATE = ("prestart", "createRuntime", "createContainer")
KINDS = (*CREATE, "startContainer", "poststart", "poststop")
# Hooks run in the runtime's namespaces, and the status in the state each kind is given.
OUTSIDE = ("prestart", "createRuntime", "poststart", "poststop")
STATUSES = {
    "prestart": ("creating",),
    "createRuntime": ("creating",),
    "createContainer": ("creating",),
    "startContainer": ("created",),
    "poststart": ("running",),
    "poststop": ("stopped",),
}


def whole_life(container: Container) -> None:
    """Create, start, end and delete, with the program waiting for its end till `start` has returned."""
    container.holding()
    succeeds(container.kill("TERM"))
    container.wait()
    succeeds(container.delete())


def names(container: Container) -> list[str]:
    return [call["hook"] for call in container.hook_calls()]


def one_call(container: Container, name: str) -> dict[str, object]:
    calls = [call for call in container.hook_calls() if call["hook"] == name]
    equal(len(calls), 1, f"number of calls of the {name} hook")
    return calls[0]


# ---------------------------------------------------------------- order and moment


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "runc": "1.1.5 runs poststart hooks at the end of create",
        "crun": "1.8.1 runs poststart hooks beside startContainer's",
    },
)
def hooks_run_in_the_order_of_the_lifecycle(world: World) -> None:
    """All six kinds of hooks run, in the order prestart, createRuntime, createContainer, startContainer,
    poststart, poststop.
    """
    container = world.container()
    for kind in reversed(KINDS):
        container.add_hook(kind, kind)
    whole_life(container)
    equal(names(container), list(KINDS), "hooks that ran")


@requirement(
    HOOKS,
    deviations={
        "runc": "1.1.5 runs poststart hooks at the end of create",
        "crun": "1.8.1 runs poststart hooks beside startContainer's",
    },
)
def hooks_of_a_kind_run_in_the_listed_order(world: World) -> None:
    """Hooks of one kind are called in the listed order, each after the one before it has ended."""
    container = world.container()
    expected = []
    for kind in KINDS:
        for number in (2, 1, 3):
            # The first sleeps, so that a runtime which doesn't wait for it records another order.
            pause = ("--sleep", "0.1") if number == 2 else ()
            container.add_hook(kind, f"{kind}-{number}", *pause)
            expected.append(f"{kind}-{number}")
    whole_life(container)
    equal(names(container), expected, "hooks that ran")


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "runc": "1.1.5 runs poststart hooks at the end of create",
        "crun": "1.8.1 does not wait for startContainer hooks in start",
    },
)
def hooks_run_in_their_operations(world: World) -> None:
    """prestart, createRuntime and createContainer hooks have run when `create` returns, startContainer and
    poststart hooks when `start` does, poststop hooks when `delete` does, and none of them earlier.
    """
    container = world.container()
    for kind in KINDS:
        container.add_hook(kind, kind)
    container.run_probe("--no-report", "--signals", str(container.shared / "signals"), "--hold")
    container.created()
    equal(names(container), list(CREATE), "hooks that ran when create returned")
    succeeds(container.start())
    equal(names(container), list(KINDS[:5]), "hooks that ran when start returned")
    check(host.until(lambda: container.signals() == ["ready"]), "the program did not run")
    succeeds(container.kill("TERM"))
    container.wait()
    equal(names(container), list(KINDS[:5]), "hooks that ran when the process had ended")
    succeeds(container.delete())
    equal(names(container), list(KINDS), "hooks that ran when delete returned")


@requirement(HOOKS)
def start_container_hooks_run_before_the_program(world: World) -> None:
    """startContainer hooks are called before the user's program is executed."""
    container = world.container()
    container.add_hook("startContainer", "hook", "--sleep", "0.3")
    container.run_probe("--hook", str(container.hook_log), "program")
    container.started()
    container.wait()
    lines = container.hook_log.read_text().splitlines()
    equal(['"hook":"hook"' in lines[0], len(lines)], [True, 2], "order of the records")


@requirement(HOOKS)
def create_hooks_run_when_the_namespaces_are_there(world: World) -> None:
    """createRuntime hooks are called when the environment is there: `pid` is in its new namespaces."""
    container = world.container()
    container.add_hook("createRuntime", "hook")
    container.created()
    found = one_call(container, "hook")["target_namespaces"]
    assert isinstance(found, dict)
    for kind in ("ipc", "net", "pid", "uts", "mnt"):
        inside = f"{kind}:[{host.namespaces(container.pid)[kind]}]"
        equal(found.get(kind), inside, f"{kind} namespace of `pid` when the hook ran")


# ---------------------------------------------------------------- where


@requirement(HOOKS)
def runtime_hooks_run_in_the_runtime_namespaces(world: World) -> None:
    """prestart, createRuntime, poststart and poststop hooks run in the runtime's namespaces."""
    container = world.container()
    for kind in OUTSIDE:
        container.add_hook(kind, kind)
    whole_life(container)
    expected = world.runtime.namespaces()
    for kind in OUTSIDE:
        call = one_call(container, kind)
        equal(call["namespaces"], expected, f"namespaces of the {kind} hook")
        equal(call["in_container_root"], False, f"whether the {kind} hook's root is the container's")


@requirement(HOOKS)
def create_container_hook_runs_in_the_container_namespaces(world: World) -> None:
    """createContainer hooks are found in the runtime's file system and run in the container's namespaces,
    before the root is changed.
    """
    container = world.container()
    container.add_hook("createContainer", "hook")
    container.created()
    call = one_call(container, "hook")
    equal(call["namespaces"], host.namespaces(container.pid), "namespaces of the hook")
    equal(call["in_container_root"], False, "whether the hook's root is the container's")


@requirement(HOOKS)
def start_container_hook_runs_in_the_container(world: World) -> None:
    """startContainer hooks are found in the container's file system and run in its namespaces."""
    container = world.container()
    container.add_hook("startContainer", "hook")
    container.holding()
    call = one_call(container, "hook")
    equal(call["namespaces"], host.namespaces(container.pid), "namespaces of the hook")
    equal(call["in_container_root"], True, "whether the hook's root is the container's")


# ---------------------------------------------------------------- what they are given


@requirement(
    HOOKS,
    deviations={
        "crun": "1.8.1 gives startContainer hooks `/` for the bundle",
    },
)
def hooks_get_the_state(world: World) -> None:
    """The state is passed to hooks on standard input: id, ociVersion, bundle, annotations, pid."""
    container = world.container()
    container.config["annotations"] = {"org.example.key": 'value "quoted"'}
    for kind in KINDS:
        container.add_hook(kind, kind)
    whole_life(container)
    for kind in KINDS:
        state = one_call(container, kind)["state"]
        assert isinstance(state, dict)
        equal(state.get("id"), container.id, f"id given to the {kind} hook")
        equal(state.get("bundle"), str(container.directory), f"bundle given to the {kind} hook")
        equal(
            state.get("annotations"), container.config["annotations"], f"annotations given to the {kind} hook"
        )
        check(state.get("ociVersion"), f"the {kind} hook is given no ociVersion")
        if kind in ("prestart", "createRuntime", "poststart"):
            equal(state.get("pid"), container.pid, f"pid given to the {kind} hook")


@requirement(
    "runtime.md#state",
    deviations={
        "runc": "1.1.5 runs poststart hooks at the end of create",
        "crun": "1.8.1 says created and starting",
    },
)
def hooks_get_the_status_of_their_moment(world: World) -> None:
    """The status is `creating` in hooks of create, `created` in startContainer, `running` in poststart and
    `stopped` in poststop.
    """
    container = world.container()
    for kind in KINDS:
        container.add_hook(kind, kind)
    whole_life(container)
    wrong = []
    for kind, allowed in STATUSES.items():
        state = one_call(container, kind)["state"]
        assert isinstance(state, dict)
        if state.get("status") not in allowed:
            wrong.append(f"{kind}: {state.get('status')!r} instead of {allowed[0]!r}")
    equal(wrong, [], "wrong statuses")


@requirement(HOOKS)
def hooks_get_their_arguments(world: World) -> None:
    """`args` is the hook's argv, the first of them included."""
    container = world.container()
    for kind in KINDS:
        container.add_hook(kind, kind, "--write", "/dev/null", "--exit", "0")
    whole_life(container)
    for kind in KINDS:
        expected = ["probe", "--hook", str(container.hook_log), kind, "--write", "/dev/null", "--exit", "0"]
        equal(one_call(container, kind)["argv"], expected, f"argv of the {kind} hook")


@requirement(HOOKS)
def hooks_get_their_environment(world: World) -> None:
    """`env` is the hook's environment, and nothing else is."""
    container = world.container()
    environment = ["ONE=1", "EMPTY=", "SPACED=a b=c"]
    for kind in KINDS:
        container.add_hook(kind, kind, env=environment)
    whole_life(container)
    for kind in KINDS:
        equal(one_call(container, kind)["env"], environment, f"environment of the {kind} hook")


# ---------------------------------------------------------------- failures


def fail_in_create(world: World, kind: str, *words: str, **properties: object) -> Container:
    """A container whose `create` a hook must make fail, with nothing left."""
    container = world.container()
    container.add_hook(kind, kind, *words, **properties)
    refused(container.create(), f"a {kind} hook failed")
    equal(world.leftovers(), [], f"left behind after a {kind} hook failed")
    refused(container.query(), f"create failed for a {kind} hook")
    return container


@requirement("runtime.md#lifecycle")
def failing_prestart_fails_create(world: World) -> None:
    """A failing prestart hook makes `create` generate an error and the container be destroyed."""
    fail_in_create(world, "prestart", "--exit", "1")


@requirement("runtime.md#lifecycle")
def failing_create_runtime_fails_create(world: World) -> None:
    """A failing createRuntime hook makes `create` generate an error and the container be destroyed."""
    fail_in_create(world, "createRuntime", "--exit", "1")


@requirement("runtime.md#lifecycle")
def failing_create_container_fails_create(world: World) -> None:
    """A failing createContainer hook makes `create` generate an error and the container be destroyed."""
    fail_in_create(world, "createContainer", "--exit", "1")


@requirement("runtime.md#lifecycle")
def failing_create_hook_ends_the_list(world: World) -> None:
    """After a failing createRuntime hook, no later hook of create runs."""
    container = world.container()
    container.add_hook("createRuntime", "fails", "--exit", "1")
    container.add_hook("createRuntime", "second")
    container.add_hook("createContainer", "third")
    refused(container.create(), "a createRuntime hook failed")
    equal(names(container), ["fails"], "hooks that ran")


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "crun": "1.8.1 runs no poststop hooks after a failed create",
    },
)
def failing_create_hook_is_followed_by_poststop(world: World) -> None:
    """After a hook of create failed, the container is destroyed and the poststop hooks are invoked."""
    for kind in CREATE:
        container = world.container()
        container.add_hook(kind, "fails", "--exit", "1")
        container.add_hook("poststop", "poststop")
        refused(container.create(), f"a {kind} hook failed")
        equal(names(container), ["fails", "poststop"], f"hooks that ran when a {kind} hook failed")


@requirement("runtime.md#lifecycle")
def missing_hook_fails_create(world: World) -> None:
    """A createRuntime or createContainer hook that can't be run makes `create` generate an error."""
    for kind in ("createRuntime", "createContainer"):
        container = world.container()
        container.config["hooks"] = {kind: [{"path": str(world.scratch / "none")}]}
        refused(container.create(), f"the {kind} hook does not exist")
        equal(world.leftovers(), [], "left behind")


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "runc": "1.1.5 start doesn't wait for startContainer hooks",
        "crun": "1.8.1 start doesn't wait for startContainer hooks",
    },
)
def failing_start_container_fails_start(world: World) -> None:
    """A failing startContainer hook makes `start` generate an error; the program doesn't run and the
    container is stopped.
    """
    container = world.container()
    container.add_hook("startContainer", "hook", "--exit", "1")
    ran = container.shared / "ran"
    container.run_probe("--no-report", "--write", str(ran), "--hold")
    container.created()
    refused(container.start(), "a startContainer hook failed")
    host.reap(container.pid, 2)
    check(not host.alive(container.pid), "the container's process was not stopped")
    check(not ran.exists(), "the program ran all the same")
    done = container.query()
    if done.ok:
        equal(container.status(), "stopped", "status")


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "runc": "1.1.5 fails create, where it runs poststart hooks",
        "crun": "1.8.1 is older than spec 1.3 and only warns",
    },
)
def failing_poststart_fails_start(world: World) -> None:
    """A failing poststart hook makes `start` generate an error and the container be stopped (since 1.3)."""
    container = world.container()
    container.add_hook("poststart", "hook", "--exit", "1")
    container.run_probe("--no-report", "--hold")
    container.created()
    refused(container.start(), "a poststart hook failed")
    host.reap(container.pid, 2)
    check(not host.alive(container.pid), "the container's process was not stopped")


@requirement(
    "runtime.md#lifecycle",
    deviations={
        "runc": "1.1.5 skips the hooks after the failed one",
    },
)
def failing_poststop_is_only_a_warning(world: World) -> None:
    """A failing poststop hook does not keep the others from running, nor the container from being deleted."""
    container = world.container()
    container.add_hook("poststop", "fails", "--exit", "1")
    container.add_hook("poststop", "second")
    container.run_probe("--no-report")
    container.started()
    container.wait()
    succeeds(container.delete())
    equal(names(container), ["fails", "second"], "hooks that ran")
    equal(world.leftovers(), [], "left behind")


@requirement(
    "runtime.md#lifecycle",
    SHOULD,
    deviations={
        "crun": "1.8.1 says nothing",
    },
)
def failing_poststop_is_logged(world: World) -> None:
    """A failing poststop hook is logged as a warning."""
    container = world.container()
    container.add_hook("poststop", "fails", "--exit", "42")
    container.run_probe("--no-report")
    container.started()
    container.wait()
    check(succeeds(container.delete()).err.strip(), "delete said nothing of the hook that failed")


@requirement(HOOKS)
def hooks_are_aborted_at_their_timeout(world: World) -> None:
    """A hook that takes longer than its `timeout` (seconds) is aborted, which is a failure of it."""
    for kind in CREATE:
        container = world.container()
        container.add_hook(kind, kind, "--sleep", "25", timeout=1)
        began = time.monotonic()
        refused(container.create(), f"the {kind} hook's time was up")
        check(time.monotonic() - began < 20, f"the {kind} hook was not aborted")
        equal(world.leftovers(), [], "left behind")


@requirement(HOOKS, deviations={"crun": "1.8.1 takes a timeout of 0 for none"})
def hook_that_can_be_none_is_an_error(world: World) -> None:
    """A hook with a relative path, or a timeout that isn't greater than zero, is an error."""
    for properties in (
        {"path": "bin/true"}, {"path": "/bin/true", "timeout": 0}, {"path": "/bin/true", "timeout": -1},
    ):  # fmt: skip
        container = world.container()
        container.config["hooks"] = {"createRuntime": [properties]}
        refused(container.create(), f"the hook is {properties}")
    equal(world.leftovers(), [], "left behind")


@requirement(
    HOOKS,
    deviations={
        "runc": "1.1.5 runs poststart hooks at the end of create",
        "crun": "1.8.1 runs poststart hooks beside startContainer's",
    },
)
def hooks_within_their_timeout_succeed(world: World) -> None:
    """A hook that ends before its `timeout` is as any other."""
    container = world.container()
    for kind in KINDS:
        container.add_hook(kind, kind, timeout=20)
    whole_life(container)
    equal(names(container), list(KINDS), "hooks that ran")


@requirement(
    HOOKS,
    deviations={
        "crun": "1.8.1 start dies of SIGPIPE",
    },
)
def hooks_need_not_read_the_state(world: World) -> None:
    """A hook that never reads its standard input is none the worse for it."""
    container = world.container()
    container.config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in KINDS}
    container.config["annotations"] = {f"org.example.{n}": "x" * 1000 for n in range(100)}
    container.holding()
