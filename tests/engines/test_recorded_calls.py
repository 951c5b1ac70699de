"""What engines really call: it must be among what tests/system/test_engine_calls.py replays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from support import containerd, engine_calls
from support.buildah import LIMITS, Buildah
from support.cri import Kubelet, add_network
from support.directories import short_directory
from support.docker import Docker, missing
from support.podman import Podman, unmount_below
from support.recorder import Call, Recorder
from support.screen import Screen


def named(engine: str, calls: list[Call]) -> list[str]:
    """The known names of the calls, in their order; polling counts once."""
    names: list[str] = []
    for call in calls:
        name = engine_calls.known(engine, call.words)
        assert name, f"{engine} makes a call that isn't in the table: {' '.join(call.words)}"
        if names[-1:] != [name]:
            names.append(name)
    return names


def on_a_screen(command: list[str], environment: dict[str, str], descriptors: Collection[int] = ()) -> None:
    screen = Screen(command, environment=environment, descriptors=descriptors)
    assert screen.finish() == 0, screen.seen.decode()
    screen.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """One with a short name, as engines want it."""
    with short_directory("calls-") as name:
        yield Path(name)


@pytest.mark.skipif(not shutil.which("buildah"), reason="buildah isn't installed")
def test_buildahs(directory: Path, image_tar: Path, runtime_path: str) -> None:
    recorder = Recorder(directory, runtime_path)
    buildah = Buildah(directory, str(recorder.program))
    buildah.make_image(image_tar)
    working = buildah.ok("from", *LIMITS, "busybox")
    assert buildah.run(working, "sh", "-c", "exit 7").returncode == 7
    on_a_screen(["buildah", *buildah.run_words("--terminal", working, "true")], buildah.environment)
    buildah.clean()
    calls = recorder.calls()
    assert named("buildah", calls) == ["create", "start", "state", "delete"] * 2
    assert [call.words for call in calls if "--console-socket" in call.words]
    for call in calls:
        assert set(call.environment) >= set(buildah.environment)  # its own, handed on
    assert set(map(int, calls[0].descriptors)) > {0, 1, 2}, "the replay hands on descriptors that don't come"


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")
def test_dockers(tmp_path: Path, image_tar: Path, runtime_path: str) -> None:
    """Those of containerd's shim, and BuildKit's."""
    recorder = Recorder(tmp_path, runtime_path)
    docker = Docker(str(recorder.program))
    try:
        docker.start()
        docker.ok("import", str(image_tar), "box")
        docker.ok("run", "--detach", "--network", "none", "--name", "web", "box", "/bin/sleep", "1000")
        docker.ok("exec", "web", "true")
        on_a_screen(docker.command("exec", "--tty", "web", "true"), docker.environment)
        docker.ok("pause", "web")
        docker.ok("unpause", "web")
        docker.ok("top", "web")
        docker.ok("kill", "--signal", "HUP", "web")
        docker.ok("rm", "--force", "web")
        (tmp_path / "Dockerfile").write_text("FROM box\nRUN true\n")
        docker.ok("build", "--network", "none", str(tmp_path), env={"DOCKER_BUILDKIT": "1"})
    finally:
        docker.close()
    calls = recorder.calls()
    builds = [call for call in calls if "run" in call.words]
    assert named("buildkit", builds) == ["run"]
    names = named("containerd", [call for call in calls if call not in builds])
    assert {"version", "create", "start", "exec", "pause", "resume", "ps", "kill", "delete"} <= set(names)


@pytest.mark.skipif(bool(containerd.missing()), reason=f"not installed: {containerd.missing()}")
def test_ctrs_and_a_kubelets(tmp_path: Path, image_tar: Path, runtime_path: str) -> None:
    """Both through containerd's shim; a kubelet through the CRI plugin."""
    recorder = Recorder(tmp_path, runtime_path)
    daemon = containerd.Containerd(str(recorder.program))
    try:
        daemon.start()
        daemon.import_image(image_tar)
        with daemon.task("web"):
            daemon.ok("tasks", "exec", "--exec-id", "e", "web", "true")
            exec_on_terminal = daemon.command("tasks", "exec", "--exec-id", "t", "--tty", "web", "true")
            on_a_screen(exec_on_terminal, dict(os.environ), daemon.mounts.descriptors)
            daemon.ok("tasks", "pause", "web")
            daemon.ok("tasks", "resume", "web")
            daemon.ok("tasks", "ps", "web")
            daemon.ok("tasks", "kill", "--signal", "SIGHUP", "web")
            daemon.ok("tasks", "kill", "--all", "--signal", "SIGKILL", "web")
        ctrs = recorder.calls()
        add_network(daemon.directory / "cni")
        kubelet = Kubelet(daemon.address, daemon.parent, tmp_path)
        pod = kubelet.run_pod("pod")
        container = kubelet.run(pod, "web", "/bin/sleep", "300")
        assert kubelet.execute(container, "true") == (0, "", "")
        kubelet.update(container, memory_limit_in_bytes=96 << 20)
        kubelet.remove_pod(pod)
        kubelet.close()
    finally:
        daemon.close()
    names = set(named("containerd", ctrs))
    assert names >= {"create", "start", "exec", "pause", "resume", "ps", "kill", "kill all", "delete"}
    kubelets = recorder.calls()[len(ctrs) :]
    assert set(named("containerd", kubelets)) >= {"create", "start", "exec", "update", "kill", "delete"}
    (update,) = (call for call in kubelets if "update" in call.words)
    assert json.loads(update.given["--resources"])["memory"]["limit"] == 96 << 20
    assert any("--console-socket" in call.words for call in ctrs)


@pytest.mark.skipif(not shutil.which("podman"), reason="podman isn't installed")
def test_podmans(directory: Path, image_tar: Path, runtime_path: str) -> None:
    recorder = Recorder(directory, runtime_path)
    podman = Podman(directory, str(recorder.program))
    podman.ok("import", str(image_tar), "box")
    podman.start("web")
    podman.ok("exec", "web", "true")
    podman.ok("exec", "--detach", "--preserve-fds", "0", "web", "true")
    on_a_screen(["podman", "exec", "--interactive", "--tty", "web", "true"], podman.environment)
    podman.ok("pause", "web")
    podman.ok("unpause", "web")
    podman.ok("update", "--memory", "80m", "web")
    podman.ok("kill", "--signal", "HUP", "web")
    podman.ok("stop", "--time", "1", "web")
    podman.start("host", "--pid", "host")
    podman.ok("stop", "--time", "0", "host")
    podman.ok("run", "--rm", "--network", "none", "box", "true")
    podman.clean()
    unmount_below(directory)
    calls = recorder.calls()
    names = set(named("podman", calls))
    assert names >= {"create", "start", "exec", "pause", "resume", "update", "kill", "kill all", "delete"}
    for call in calls:
        name = engine_calls.known("podman", call.words)
        expected = engine_calls.PODMANS_VARIABLES.get(str(name))
        if expected:  # what is replayed is what comes, for all that the runtime could lean on
            assert set(call.environment) - {"CONTAINERS_CONF"} == expected, call.words
        assert max(map(int, call.descriptors)) == 2, "descriptors come along that the replay doesn't hand on"
