"""runtime.md: the state, the operations, their errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from conformance import bundle, cgroups, host
from conformance.harness import World, refused, succeeds
from conformance.registry import SHOULD, check, equal, requirement

SEMVER = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
NOWHERE = "no-such-container"


# ---------------------------------------------------------------- state


@requirement("runtime.md#query-state")
def state_without_id_is_an_error(world: World) -> None:
    """`state` without an id generates an error."""
    refused(world.runtime.call("state"), "no id was given")


@requirement("runtime.md#query-state")
def state_of_unknown_id_is_an_error(world: World) -> None:
    """`state` of a container that doesn't exist generates an error."""
    refused(world.runtime.call("state", NOWHERE), "there is no such container")


@requirement("runtime.md#state")
def state_when_created(world: World) -> None:
    """The state of a created container has ociVersion, id, status `created`, pid and bundle."""
    container = world.container().created()
    state = container.state()
    check(
        SEMVER.fullmatch(str(state.get("ociVersion"))),
        f"ociVersion is no version: {state.get('ociVersion')!r}",
    )
    equal(state.get("id"), container.id, "id")
    equal(state.get("status"), "created", "status")
    equal(state.get("bundle"), str(container.directory), "bundle")
    check(isinstance(state.get("pid"), int) and state["pid"] > 0, f"pid is no pid: {state.get('pid')!r}")
    check(host.alive(state["pid"]), f"pid {state['pid']} is no process on the host")


@requirement("runtime.md#state")
def state_when_running(world: World) -> None:
    """The state of a running container has status `running` and the pid it had when created."""
    container = world.container().holding()
    state = container.state()
    equal(state.get("status"), "running", "status")
    equal(state.get("pid"), container.pid, "pid")
    equal(state.get("id"), container.id, "id")
    equal(state.get("bundle"), str(container.directory), "bundle")


@requirement("runtime.md#state")
def state_when_stopped(world: World) -> None:
    """The state of a container whose process has exited has status `stopped`, id, ociVersion and bundle."""
    container = world.container()
    container.run_probe("--no-report")
    container.started()
    container.wait()
    state = container.state()
    equal(state.get("status"), "stopped", "status")
    equal(state.get("id"), container.id, "id")
    equal(state.get("bundle"), str(container.directory), "bundle")
    check("ociVersion" in state, "no ociVersion")


@requirement("runtime.md#state")
def state_is_stopped_before_anyone_reaped_the_process(world: World) -> None:
    """A container whose process has exited is `stopped`, also while the process is still a zombie."""
    container = world.container()
    container.run_probe("--no-report")
    container.started()
    check(host.until(lambda: not host.alive(container.pid)), "the program did not end")
    equal(container.status(), "stopped", "status while the process is a zombie")


@requirement("runtime.md#state")
def state_has_the_annotations(world: World) -> None:
    """The state contains the annotations of the container."""
    container = world.container()
    annotations = {"org.example.one": "1", "org.example.empty": "", "org.example.other": 'två "2"\n'}
    container.config["annotations"] = annotations
    container.created()
    equal(container.state().get("annotations"), annotations, "annotations")


@requirement("runtime.md#state")
def state_of_many_containers_is_their_own(world: World) -> None:
    """Ids are unique: each of several containers is told from the others."""
    containers = [world.container().created() for _ in range(3)]
    for container in containers:
        state = container.state()
        equal((state.get("id"), state.get("pid")), (container.id, container.pid), "id and pid")


@requirement("runtime.md#state")
def state_bundle_is_absolute_for_a_relative_bundle(world: World) -> None:
    """The bundle in the state is absolute, also if `create` was given a relative path."""
    container = world.container()
    bundle.write_config(container.directory, container.config)
    succeeds(world.runtime.call("create", "--bundle", container.id, container.id, directory=world.scratch))
    equal(container.state().get("bundle"), str(container.directory), "bundle")


# ---------------------------------------------------------------- create


@requirement("runtime.md#create")
def create_without_id_is_an_error(world: World) -> None:
    """`create` without an id generates an error."""
    container = world.container()
    bundle.write_config(container.directory, container.config)
    refused(world.runtime.call("create", "--bundle", str(container.directory)), "no id was given")


@requirement("runtime.md#create")
def create_without_bundle_is_an_error(world: World) -> None:
    """`create` without a bundle, where the working directory is none either, generates an error."""
    refused(world.runtime.call("create", f"{world.token}-x"), "no bundle was given")
    equal(world.leftovers(), [], "left behind")


@requirement("runtime.md#create")
def create_of_missing_bundle_is_an_error(world: World) -> None:
    """`create` of a bundle that doesn't exist generates an error and makes nothing."""
    name = f"{world.token}-x"
    refused(world.runtime.call("create", "--bundle", str(world.scratch / "none"), name), "there is no bundle")
    refused(world.runtime.call("state", name), "nothing was created")
    equal(world.leftovers(), [], "left behind")


@requirement("bundle.md#container-format")
def create_without_config_is_an_error(world: World) -> None:
    """A bundle without a config.json is an error and makes nothing."""
    container = world.container()
    done = world.runtime.call("create", "--bundle", str(container.directory), container.id)
    refused(done, "the bundle has no config.json")
    equal(world.leftovers(), [], "left behind")


@requirement("runtime.md#create")
def create_of_malformed_config_is_an_error(world: World) -> None:
    """A config.json that is no JSON is an error and makes nothing."""
    container = world.container()
    for text in ('{"ociVersion": "1.0.2", ', "", "[]", '"text"'):
        (container.directory / "config.json").write_text(text)
        done = world.runtime.call("create", "--bundle", str(container.directory), container.id)
        refused(done, f"config.json is {text!r}")
    equal(world.leftovers(), [], "left behind")


@requirement("runtime.md#create")
def create_with_id_in_use_is_an_error(world: World) -> None:
    """`create` with the id of another container generates an error and does that container nothing."""
    first = world.container().holding()
    second = world.container()
    bundle.write_config(second.directory, second.config)
    before = first.state()
    done = world.runtime.call("create", "--bundle", str(second.directory), first.id)
    refused(done, "the id is in use")
    equal(first.state(), before, "the state of the container that has the id")
    succeeds(first.kill("TERM"))
    equal(first.wait(), 128 + signal.SIGTERM, "exit status of the container that has the id")
    succeeds(first.delete())


@requirement("runtime.md#create")
def create_with_invalid_id_is_an_error(world: World) -> None:
    """An id that is no name (empty, `.`, `..`, with a slash, of 2,000 characters) generates an error."""
    container = world.container()
    bundle.write_config(container.directory, container.config)
    for name in ("", ".", "..", f"{world.token}/b", f"../{world.token}", world.token + "x" * 2000):
        done = world.runtime.call("create", "--bundle", str(container.directory), name)
        refused(done, f"the id is {name[:40]!r}")
    equal(world.leftovers(), [], "left behind")


@requirement("runtime.md#create")
def create_does_not_run_the_program(world: World) -> None:
    """`create` does not run the user's program; `start` does."""
    container = world.container()
    container.share()
    container.run_probe("--no-report", "--write", str(container.shared / "ran"))
    container.created()
    check(not host.until((container.shared / "ran").exists, 0.3), "the program ran before start")
    succeeds(container.start())
    container.wait()
    check((container.shared / "ran").exists(), "the program did not run after start")


@requirement("runtime.md#create")
def create_makes_the_resources(world: World) -> None:
    """`create` makes what the configuration asks for: after it, the process is in its new namespaces."""
    container = world.container().created()
    outer, inner = world.runtime.namespaces(), host.namespaces(container.pid)
    for kind in ("pid", "net", "ipc", "uts", "mnt"):
        check(inner[kind] != outer[kind], f"the created process is in the runtime's {kind} namespace")
    paths = cgroups.named(container.id)
    check(paths, "the container has no cgroup of its own")


@requirement("runtime.md#lifecycle")
def config_edited_after_create_has_no_effect(world: World) -> None:
    """Changes of config.json after `create` do not affect the container."""
    container = world.container()
    container.config["annotations"] = {"time": "before"}
    container.config["process"]["env"].append("TIME=before")
    container.created()
    container.config["annotations"] = {"time": "after"}
    container.config["process"]["env"][-1] = "TIME=after"
    container.config["process"]["args"] = ["/bin/probe", "--no-report", "--exit", "9"]
    container.config["hooks"] = {"poststart": [{"path": "/bin/false"}], "poststop": [{"path": "/bin/false"}]}
    bundle.write_config(container.directory, container.config)
    succeeds(container.start())
    equal(container.wait(), 0, "exit status")
    view = container.read_view()
    check("TIME=before" in view["env"], f"the environment is {view['env']}")
    equal(container.state().get("annotations"), {"time": "before"}, "annotations")
    succeeds(container.delete())


@requirement("runtime.md#lifecycle")
def container_lives_without_its_config(world: World) -> None:
    """A created container can be used though config.json was removed since."""
    container = world.container()
    container.run_probe("--no-report", "--exit", "3")
    container.created()
    (container.directory / "config.json").unlink()
    succeeds(container.start())
    equal(container.wait(), 3, "exit status")
    equal(container.status(), "stopped", "status")
    succeeds(container.delete())


@requirement("config.md#root")
def create_with_missing_rootfs_is_an_error(world: World) -> None:
    """A root.path where no directory is generates an error and makes nothing."""
    container = world.container()
    for path in ("none", "config.json", str(world.scratch / "none")):
        container.config["root"]["path"] = path
        refused(container.create(), f"root.path is {path}")
        equal(world.leftovers(), [], "left behind")


@requirement(
    "config.md#specification-version",
    deviations={"runc": "1.1.5 takes a configuration without ociVersion"},
)
def create_without_required_properties_is_an_error(world: World) -> None:
    """On Linux, `root` and `ociVersion` are required; a version that is none is an error."""
    breakages: list[dict[str, object]] = [
        {"root": None}, {"root": {}}, {"ociVersion": None}, {"ociVersion": "one"},
    ]  # fmt: skip
    for breakage in breakages:
        container = world.container()
        for key, value in breakage.items():
            container.config.pop(key)
            if value is not None:
                container.config[key] = value
        refused(container.create(), f"config.json has {breakage}")
    equal(world.leftovers(), [], "left behind")


@requirement("config.md#process")
def start_without_process_is_an_error(world: World) -> None:
    """`process` is required when `start` is called: without it, `create` or `start` generates an error."""
    container = world.container()
    del container.config["process"]
    done = container.create()
    if done.ok:
        done = container.start()
    refused(done, "there is no process")


@requirement("runtime.md#errors")
def failed_create_leaves_nothing(world: World) -> None:
    """A `create` that fails late (a mount that can't be made) leaves the host as it was; the id is free."""
    container = world.container()
    container.config["mounts"].append(
        {"destination": "/work", "type": "bind", "source": str(world.scratch / "none"), "options": ["bind"]}
    )
    refused(container.create(), "the source of a bind mount is missing")
    equal(world.leftovers(), [], "left behind")
    refused(container.query(), "create failed")
    container.config["mounts"].pop()
    container.created()
    equal(container.status(), "created", "status of a second try with the same id")


# ---------------------------------------------------------------- start


@requirement("runtime.md#start")
def start_without_id_is_an_error(world: World) -> None:
    """`start` without an id generates an error."""
    refused(world.runtime.call("start"), "no id was given")


@requirement("runtime.md#start")
def start_of_unknown_id_is_an_error(world: World) -> None:
    """`start` of a container that doesn't exist generates an error."""
    refused(world.runtime.call("start", NOWHERE), "there is no such container")


@requirement("runtime.md#start")
def start_of_running_is_an_error(world: World) -> None:
    """`start` of a running container generates an error and does it nothing."""
    container = world.container().holding()
    before = container.state()
    refused(container.start(), "the container is running")
    equal(container.state(), before, "state")
    equal(container.signals(), ["ready"], "what happened to the program")


@requirement("runtime.md#start")
def start_of_stopped_is_an_error(world: World) -> None:
    """`start` of a stopped container generates an error."""
    container = world.container()
    container.run_probe("--no-report")
    container.started()
    container.wait()
    refused(container.start(), "the container is stopped")
    equal(container.status(), "stopped", "status")


@requirement("runtime.md#start")
def start_runs_the_program_as_pid_one(world: World) -> None:
    """`start` runs the user's program: the very process that `pid` names, the first of its pid namespace."""
    container = world.container().holding()
    found = os.readlink(f"/proc/{container.pid}/exe")
    check(found.endswith("/bin/probe"), f"process {container.pid} runs {found}")
    fields = Path(f"/proc/{container.pid}/status").read_text()
    check(re.search(rf"^NSpid:\t{container.pid}\t1$", fields, re.M), f"not pid 1 of its namespace: {fields}")


@requirement("runtime.md#start")
def start_of_missing_program_is_an_error(world: World) -> None:
    """A program that can't be run makes `create` or `start` generate an error, and nothing is `running`."""
    for args in (["/bin/none"], ["none-on-the-path"], ["/etc/passwd"], ["/etc"]):
        container = world.container()
        container.config["process"]["args"] = args
        created = container.create()
        if not created.ok:
            equal(world.leftovers(), [], "left behind")
            continue
        refused(container.start(), f"the program is {args[0]}")
        if container.query().ok:
            check(container.status() in ("created", "stopped"), f"status {container.status()!r}")
        container.remove()


# ---------------------------------------------------------------- kill


@requirement("runtime.md#kill")
def kill_without_id_is_an_error(world: World) -> None:
    """`kill` without an id generates an error."""
    refused(world.runtime.call("kill"), "no id was given")


@requirement("runtime.md#kill")
def kill_of_unknown_id_is_an_error(world: World) -> None:
    """`kill` of a container that doesn't exist generates an error."""
    refused(world.runtime.call("kill", NOWHERE, "TERM"), "there is no such container")


@requirement("runtime.md#kill")
def kill_of_stopped_is_an_error(world: World) -> None:
    """`kill` of a stopped container generates an error, reaped or not."""
    container = world.container()
    container.run_probe("--no-report")
    container.started()
    check(host.until(lambda: not host.alive(container.pid)), "the program did not end")
    refused(container.kill("TERM"), "the container is stopped (its process a zombie)")
    container.wait()
    refused(container.kill("TERM"), "the container is stopped")
    equal(container.status(), "stopped", "status")


@requirement("runtime.md#kill")
def kill_sends_the_signal(world: World) -> None:
    """`kill` sends the process the given signal: by number, and by name with and without SIG."""
    container = world.container().holding()
    expected = ["ready"]
    for name, number in (("10", 10), ("USR2", 12), ("SIGHUP", 1), ("SIGWINCH", 28), ("35", 35), ("64", 64)):
        succeeds(container.kill(name))
        expected.append(str(number))
        check(host.until(lambda: container.signals() == expected), f"after {name}: got {container.signals()}")
    equal(container.status(), "running", "status")


@requirement("runtime.md#kill")
def kill_stops_the_container(world: World) -> None:
    """When a signal has ended the process, the status is `stopped`."""
    for name, expected in (("TERM", 128 + signal.SIGTERM), ("KILL", -signal.SIGKILL)):
        container = world.container().holding()
        succeeds(container.kill(name))
        equal(container.wait(), expected, f"exit status after {name}")
        equal(container.status(), "stopped", f"status after {name}")
        succeeds(container.delete())


@requirement("runtime.md#kill")
def kill_of_created_sends_the_signal(world: World) -> None:
    """`kill` of a created container sends the signal: SIGKILL makes it `stopped`."""
    container = world.container().created()
    succeeds(container.kill("KILL"))
    container.wait()
    equal(container.status(), "stopped", "status")
    refused(container.start(), "the created container was killed")
    succeeds(container.delete())


@requirement(
    "runtime.md#kill",
    deviations={
        "crun": "1.8.1 takes any word for a signal",
    },
)
def kill_with_unknown_signal_is_an_error(world: World) -> None:
    """`kill` with what is no signal generates an error and sends nothing."""
    container = world.container().holding()
    for name in ("NONE", "SIGNONE", "-1", "4711"):
        refused(container.kill(name), f"{name!r} is no signal")
    equal(container.signals(), ["ready"], "signals")
    equal(container.status(), "running", "status")


# ---------------------------------------------------------------- delete


@requirement("runtime.md#delete")
def delete_without_id_is_an_error(world: World) -> None:
    """`delete` without an id generates an error."""
    refused(world.runtime.call("delete"), "no id was given")


@requirement("runtime.md#delete")
def delete_of_unknown_id_is_an_error(world: World) -> None:
    """`delete` of a container that doesn't exist generates an error."""
    refused(world.runtime.call("delete", NOWHERE), "there is no such container")


@requirement("runtime.md#delete")
def delete_of_running_is_an_error(world: World) -> None:
    """`delete` of a running container generates an error and does it nothing."""
    container = world.container().holding()
    before = container.state()
    refused(container.delete(), "the container is running")
    equal(container.state(), before, "state")
    equal(container.signals(), ["ready"], "what happened to the program")


@requirement(
    "runtime.md#delete",
    deviations={
        "runc": "kills and deletes a created container, as its callers expect",
        "crun": "kills and deletes a created container, as runc does",
        "pyoci": "kills and deletes a created container, as runc's and crun's callers expect",
    },
)
def delete_of_created_is_an_error(world: World) -> None:
    """`delete` of a created container, which is not stopped, generates an error and does it nothing."""
    container = world.container().created()
    refused(container.delete(), "the container is created, not stopped")
    equal(container.status(), "created", "status")


@requirement("runtime.md#delete")
def delete_removes_everything(world: World) -> None:
    """`delete` removes what `create` made: processes, mounts, cgroups, the state."""
    container = world.container().holding("--fork")
    paths = cgroups.named(container.id)
    check(paths, "the container had no cgroup")
    succeeds(container.kill("TERM"))
    container.wait()
    succeeds(container.delete())
    equal(world.leftovers(), [], "left behind")
    refused(container.query(), "the container was deleted")


@requirement("runtime.md#delete")
def deleted_id_can_be_used_again(world: World) -> None:
    """The id of a deleted container is free."""
    container = world.container()
    for _ in range(2):
        container.view()


@requirement("runtime.md#delete")
def delete_spares_files_and_namespaces_of_others(world: World) -> None:
    """`delete` does not remove what the container used but didn't make: bind sources, joined namespaces."""
    source = world.scratch / "source"
    source.mkdir()
    (source / "file").write_text("kept")
    holder = world.helper(subprocess.Popen(["unshare", "--net", "sleep", "1000"]))
    outer = host.namespaces()["net"]
    check(host.until(lambda: host.namespaces(holder.pid)["net"] != outer), "no network namespace to join")
    container = world.container()
    container.config["mounts"].append(
        {"destination": "/work", "type": "bind", "source": str(source), "options": ["rbind"]}
    )
    for namespace in container.config["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = f"/proc/{holder.pid}/ns/net"
    inside = host.namespaces(holder.pid)["net"]
    equal(container.view()["namespaces"]["net"], inside, "network namespace of the container")
    equal((source / "file").read_text(), "kept", "a file in a bind mount's source")
    check(host.alive(holder.pid), "the process whose network namespace was joined is gone")


@requirement("runtime.md#delete")
def delete_spares_an_older_cgroup(world: World) -> None:
    """`delete` does not remove a cgroup that was there before the container."""
    older = [top / world.token for top in set(cgroups.hierarchies().values()) if top.is_dir()]
    for path in older:
        path.mkdir(exist_ok=True)
    try:
        container = world.container()
        container.config["linux"]["cgroupsPath"] = f"/{world.token}/inner"
        container.view()
        gone = [str(path) for path in older if not path.exists()]
        equal(gone, [], "removed cgroups that were there before")
        inner = [str(path / "inner") for path in older if (path / "inner").exists()]
        equal(inner, [], "cgroups made by create and not removed")
    finally:
        for path in cgroups.named(world.token):
            path.rmdir()


# ---------------------------------------------------------------- the process's end


@requirement("runtime.md#lifecycle")
def exit_status_is_the_programs(world: World) -> None:
    """The process ends as the user's program does: with its status, or by the signal that ended it."""
    for words, expected in (
        (("--exit", "0"), 0),
        (("--exit", "77"), 77),
        (("--kill-self", "11"), -signal.SIGSEGV),
    ):
        container = world.container()
        container.run_probe("--no-report", *words)
        container.started()
        equal(container.wait(), expected, f"exit code of probe {' '.join(words)}")
        equal(container.status(), "stopped", "status")


@requirement("runtime.md#lifecycle", SHOULD)
def children_end_with_a_pid_namespace(world: World) -> None:
    """When the first process of the pid namespace ends, so do the others, and the container is `stopped`."""
    container = world.container().holding("--fork")
    others = host.descendants(container.pid)
    check(others, "the program's child isn't to be seen")
    succeeds(container.kill("KILL"))
    container.wait()
    check(host.until(lambda: not any(map(host.alive, others))), "the program's child outlived the container")
    equal(container.status(), "stopped", "status")
