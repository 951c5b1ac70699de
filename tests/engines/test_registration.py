"""The README's lines that register the runtime with each engine: the engine takes them, and knows it then."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import containerd, docker
from support.containers import REPOSITORY
from support.cri import Kubelet
from support.recorder import Recorder

README = (REPOSITORY / "README.md").read_text()


def lines(engine: str, runtime: str) -> str:
    """The README's block for an engine, with this runtime in it."""
    block = _block(engine)
    assert "/usr/local/bin/pyoci" in block
    return block.replace("/usr/local/bin/pyoci", runtime)


def _block(engine: str) -> str:
    """The lines below the paragraph that begins with an engine's name."""
    found = re.search(rf"^\*\*{engine}.*\n\n((?:    .*\n)+)", README, re.MULTILINE)
    assert found, engine
    return re.sub("^    ", "", found[1], flags=re.MULTILINE)


def output(*command: str, **environment: str) -> str:
    paths = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        command, env=paths | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("podman"), reason="podman isn't installed")
def test_podman(tmp_path: Path, runtime_path: str) -> None:
    (tmp_path / "containers.conf").write_text(lines("podman and buildah", runtime_path))
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/graph"\n'
    )
    described = output(
        *("podman", "--tmpdir", f"{tmp_path}/tmp", "info", "--format", "{{.Host.OCIRuntime.Path}}"),
        CONTAINERS_CONF=f"{tmp_path}/containers.conf",
        CONTAINERS_STORAGE_CONF=f"{tmp_path}/storage.conf",
        HOME=str(tmp_path),
    )
    assert described.strip() == runtime_path


@pytest.mark.skipif(bool(docker.missing()), reason=f"not installed: {docker.missing()}")
def test_docker(runtime_path: str) -> None:
    daemon = docker.Docker(runtime_path)
    (daemon.directory / "daemon.json").write_text(lines("Docker", runtime_path))
    try:
        daemon.start()
        known = json.loads(daemon.ok("info", "--format", "{{json .Runtimes}}"))
        assert known["pyoci"]["path"] == runtime_path
    finally:
        daemon.close()


@pytest.mark.skipif(bool(containerd.missing()), reason=f"there is no {containerd.missing()}")
def test_containerd(tmp_path: Path, image_tar: Path, runtime_path: str) -> None:
    """As a pod's RuntimeClass names it; a pod without one still gets containerd's own default, runc."""
    recorder = Recorder(tmp_path, runtime_path)
    program = str(recorder.program)
    daemon = containerd.Containerd(program, lines("containerd", program))
    with contextlib.ExitStack() as resources:
        resources.callback(daemon.close)
        daemon.start()
        daemon.import_image(image_tar)
        kubelet = Kubelet(daemon.address, daemon.parent, tmp_path)
        resources.callback(kubelet.close)
        on_the_host: dict[str, Any] = {"hostname": "", "namespaces": {"network": "NODE"}}
        pod = kubelet.run_pod("pod", handler="pyoci", **on_the_host)
        assert [call.words for call in recorder.calls() if "create" in call.words]
        assert kubelet.pod_status(pod).runtime_handler == "pyoci"
        other = kubelet.run_pod("other", handler="", **on_the_host)
        assert kubelet.pod_status(other).state == 0
        for each in (pod, other):
            kubelet.remove_pod(each)


def test_kubernetes() -> None:
    """A pod's runtimeClassName is the RuntimeClass's name, whose handler is the runtime's in containerd."""
    block = _block("Kubernetes")
    assert "kind: RuntimeClass" in block and "handler: pyoci" in block
    assert "pyoci = {runtime_type" in _block("containerd")
