"""Pods under podman: containers around one that only waits and keeps their namespaces."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.podman import Podman

KEPT = ("ipc", "net", "uts")


@pytest.fixture(params=["our own", "podman's"])
def pod(podman: Podman, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pod named web; its first container's image is the one podman builds with catatonit, or ours."""
    flags = ["--infra-image", "box", "--infra-command", "/bin/sleep 1000"]
    if request.param == "podman's":
        if not shutil.which("catatonit") and not Path("/usr/libexec/podman/catatonit").exists():
            pytest.skip(
                "podman builds its pods' image from catatonit, which isn't installed: .ci/install test"
            )
        flags = []
    yield podman.ok(
        "pod", "create", "--name", "web", "--network", "none", "--hostname", "pod", *flags
    ).strip()
    podman.clean()
    images = podman.ok("images", "--quiet", "--filter", "reference=localhost/podman-pause").split()
    if images:
        podman.ok("rmi", "--force", *images)


def namespaces(pid: int) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in (*KEPT, "mnt", "pid")}


def test_containers_share_what_a_pod_keeps(podman: Podman, pod: str) -> None:
    podman.start("one", "--pod", "web")
    podman.start("two", "--pod", "web")
    infra = podman.ok("pod", "inspect", "--format", "{{.InfraContainerID}}", "web").strip()
    first, one, two = (namespaces(podman.pid(name)) for name in (infra, "one", "two"))
    for kind in KEPT:
        assert first[kind] == one[kind] == two[kind] != os.readlink(f"/proc/self/ns/{kind}"), kind
    assert len({found["mnt"] for found in (first, one, two)}) == 3
    assert len({found["pid"] for found in (first, one, two)}) == 3
    assert podman.ok("exec", "one", "hostname") == "pod\n"
    podman.ok("exec", "one", "touch", "/dev/shm/shared")
    podman.ok("exec", "two", "test", "-e", "/dev/shm/shared")
    told = json.loads(podman.ok("pod", "ps", "--format", "json"))
    assert [(found["Status"], len(found["Containers"])) for found in told] == [("Running", 3)]


@pytest.mark.parametrize("pod", ["podman's"], indirect=True)  # which ends when it is asked to
def test_a_pods_life(podman: Podman, pod: str) -> None:
    podman.start("one", "--pod", "web", script="echo ready; trap 'exit 3' TERM; while :; do sleep 0.05; done")
    assert "sh -c" in podman.ok("pod", "top", "web")
    podman.ok("pod", "pause", "web")
    assert podman.status("one") == "paused"
    podman.ok("pod", "unpause", "web")
    podman.ok("pod", "stop", "--time", "30", "web")
    assert podman.status("one") == "exited"
    podman.ok("pod", "start", "web")
    podman.ok("exec", "one", "true")
    podman.ok("pod", "restart", "web")
    assert podman.status("one") == "running"
    podman.ok("pod", "kill", "web")
    podman.eventually(lambda: podman.status("one") == "exited")
    podman.ok("pod", "rm", "--force", "--time", "0", "web")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_containers_see_each_other_if_the_pod_shares_processes(podman: Podman) -> None:
    flags = ["--infra-image", "box", "--infra-command", "/bin/sleep 1000", "--share", "pid,ipc,net,uts"]
    podman.ok("pod", "create", "--name", "web", "--network", "none", *flags)
    podman.start("one", "--pod", "web", script="exec sleep 301")
    podman.start("two", "--pod", "web", script="exec sleep 302")
    commands = podman.ok("exec", "one", "ps", "-o", "args")
    assert {"/bin/sleep 1000", "sleep 301", "sleep 302"} <= set(map(str.strip, commands.splitlines()))


def test_containers_that_begin_before_the_others(podman: Podman) -> None:
    flags = ["--infra-image", "box", "--infra-command", "/bin/sleep 1000"]
    podman.ok("pod", "create", "--name", "web", "--network", "none", *flags)
    for name, script in (("early", "echo first > /dev/shm/f"), ("later", "cat /dev/shm/f; sleep 300")):
        kind = ["--init-ctr", "always"] if name == "early" else []
        podman.ok("create", "--name", name, "--pod", "web", *kind, "box", "sh", "-c", script)
    podman.ok("pod", "start", "web")
    podman.eventually(lambda: podman.ok("logs", "later") == "first\n")


def test_a_pod_from_kubernetes_yaml(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("""\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: localhost/box
    imagePullPolicy: Never
    command: [sh, -c, "trap exit TERM; echo $WHO; while :; do sleep 0.05; done"]
    env: [{name: WHO, value: kube}, {name: PATH, value: /bin}]
    resources: {limits: {memory: 64Mi}}
    securityContext: {readOnlyRootFilesystem: true, runAsUser: 1000}
""")
    podman.ok("play", "kube", "--network", "none", str(tmp_path / "pod.yaml"))
    try:
        podman.eventually(lambda: podman.ok("logs", "web-one") == "kube\n")
        assert podman.ok("exec", "web-one", "id", "-u") == "1000\n"
        assert podman.call("exec", "web-one", "touch", "/new").returncode == 1
    finally:
        podman.ok("play", "kube", "--down", str(tmp_path / "pod.yaml"))
        podman.clean()
        images = podman.ok("images", "--quiet", "--filter", "reference=localhost/podman-pause").split()
        if images:
            podman.ok("rmi", "--force", *images)
