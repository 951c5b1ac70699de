"""A kubelet's side of the Container Runtime Interface, as little of it as makes pods and containers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from support.containerd import IMAGE
from support.containers import SECONDS
from support.cri_stream import Stream

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # it would only warn
PROTOCOL = "support/cri.proto"
# What sets up a pod's network for containerd, as CNI has it: here an interface whose cable ends beside it.
NETWORK = """#!/bin/sh
set -e
case $CNI_COMMAND in
ADD)
    inside() { nsenter --net="$CNI_NETNS" ip "$@"; }
    if [ "$CNI_IFNAME" = lo ]; then
        inside link set lo up
        address=127.0.0.1/8
    else
        inside link add "$CNI_IFNAME" type veth peer name cable
        inside address add 10.99.0.2/24 dev "$CNI_IFNAME"
        inside link set "$CNI_IFNAME" up
        address=10.99.0.2/24
    fi
    printf '{"cniVersion": "0.3.1", '
    printf '"interfaces": [{"name": "%s", "sandbox": "%s"}], ' "$CNI_IFNAME" "$CNI_NETNS"
    printf '"ips": [{"version": "4", "interface": 0, "address": "%s"}]}' "$address"
    ;;
VERSION) echo '{"cniVersion": "0.3.1", "supportedVersions": ["0.3.0", "0.3.1"]}' ;;
esac
"""


def add_network(directory: Path) -> None:
    """A network in the directory that is both containerd's bin_dir and its conf_dir."""
    for name in ("own", "loopback"):
        (directory / name).write_text(NETWORK)
        (directory / name).chmod(0o755)
    network = {"cniVersion": "0.3.1", "name": "own", "plugins": [{"type": "own"}]}
    (directory / "10-own.conflist").write_text(json.dumps(network))


class Kubelet:
    """A client of a containerd's CRI plugin."""

    def __init__(self, address: str, parent: str, logs: Path) -> None:
        """The pods' cgroups come to be below that parent."""
        import grpc

        self.messages, services = grpc.protos_and_services(PROTOCOL)
        self.channel = grpc.insecure_channel(f"unix:{address}")
        grpc.channel_ready_future(self.channel).result(SECONDS)
        self.service = services.RuntimeServiceStub(self.channel)
        self.parent = parent
        self.logs = logs
        self.pods: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self.channel.close()

    def call(self, name: str, request: str = "Nothing", **fields: Any) -> Any:
        """One call; a failure is grpc.RpcError."""
        return getattr(self.service, name)(getattr(self.messages, request)(**fields), timeout=SECONDS)

    def run_pod(self, name: str, *, handler: str = "tested", **options: Any) -> str:
        """A sandbox; its id. The options are PodSandboxConfig's fields; linux.security_context's
        namespaces are given as `namespaces`."""
        linux = {
            "cgroup_parent": f"/{self.parent}/{name}",
            "security_context": {"namespace_options": options.pop("namespaces", {})},
            "sysctls": options.pop("sysctls", {}),
        }
        linux["security_context"]["privileged"] = options.pop("privileged", False)
        config = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "hostname": name,
            "log_directory": str(self.logs),
            "linux": linux,
            **options,
        }
        response = self.call("RunPodSandbox", "RunPodSandboxRequest", config=config, runtime_handler=handler)
        pod: str = response.pod_sandbox_id
        self.pods[pod] = config
        return pod

    def remove_pod(self, pod: str) -> None:
        self.call("StopPodSandbox", "PodSandboxId", pod_sandbox_id=pod)
        self.call("RemovePodSandbox", "PodSandboxId", pod_sandbox_id=pod)
        del self.pods[pod]

    def create(self, pod: str, name: str, *command: str, **options: Any) -> str:
        """A container; its id. `resources` and `security` are linux's, further options ContainerConfig's."""
        security = options.pop("security", {})
        security.setdefault("namespace_options", {}).setdefault("pid", "CONTAINER")  # as a kubelet does
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": f"{name}.log",
            "linux": {"resources": options.pop("resources", {}), "security_context": security},
            **options,
        }
        response = self.call(
            "CreateContainer",
            "CreateContainerRequest",
            pod_sandbox_id=pod,
            config=config,
            sandbox_config=self.pods[pod],
        )
        container: str = response.container_id
        return container

    def start(self, container: str) -> None:
        self.call("StartContainer", "ContainerId", container_id=container)

    def run(self, pod: str, name: str, *command: str, **options: Any) -> str:
        """A container that runs; its id."""
        container = self.create(pod, name, *command, **options)
        self.start(container)
        return container

    def stop(self, container: str, seconds: int) -> None:
        self.call("StopContainer", "StopContainerRequest", container_id=container, timeout=seconds)

    def remove(self, container: str) -> None:
        self.call("RemoveContainer", "ContainerId", container_id=container)

    def execute(self, container: str, *command: str, seconds: int = 0) -> tuple[int, str, str]:
        """Status, output and error output of a program in a container."""
        done = self.call("ExecSync", "ExecSyncRequest", container_id=container, cmd=command, timeout=seconds)
        return done.exit_code, done.stdout.decode(), done.stderr.decode()

    def stream(self, container: str, *command: str, terminal: bool = False, stdin: bool = True) -> Stream:
        """The standard streams of a program in a container, or with no command of the container's own."""
        streams = {"stdin": stdin, "stdout": True, "stderr": not terminal, "tty": terminal}
        if command:
            answer = self.call("Exec", "ExecRequest", container_id=container, cmd=command, **streams)
        else:
            answer = self.call("Attach", "AttachRequest", container_id=container, **streams)
        return Stream(answer.url)

    def update(self, container: str, **resources: Any) -> None:
        """Change some of LinuxContainerResources."""
        request = {"container_id": container, "linux": resources}
        self.call("UpdateContainerResources", "UpdateContainerResourcesRequest", **request)

    def status(self, container: str) -> Any:
        request = {"container_id": container}
        return self.call("ContainerStatus", "ContainerStatusRequest", **request).status

    def state(self, container: str) -> str:
        name: str = self.messages.ContainerState.Name(self.status(container).state)
        return name

    def pid(self, container: str) -> int:
        response = self.call(
            "ContainerStatus", "ContainerStatusRequest", container_id=container, verbose=True
        )
        pid: int = json.loads(response.info["info"])["pid"]
        return pid

    def pod_pid(self, pod: str) -> int:
        response = self.call("PodSandboxStatus", "PodSandboxStatusRequest", pod_sandbox_id=pod, verbose=True)
        pid: int = json.loads(response.info["info"])["pid"]
        return pid

    def pod_status(self, pod: str) -> Any:
        return self.call("PodSandboxStatus", "PodSandboxStatusRequest", pod_sandbox_id=pod).status
