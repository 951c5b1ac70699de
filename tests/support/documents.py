"""Documents to validate: what engines write, every property at once, and strategies that break them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = REPOSITORY / "schemas"
SPECIFICATION = Path(os.environ.get("PYOCI_SPEC", REPOSITORY.parent / "shared/spec"))
ENGINE_CONFIGS = sorted((REPOSITORY / "tests/unit/engine_configs").glob("*.json"))

IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
HOOKS = [{"path": "/bin/hook", "args": ["hook", "x"], "env": ["A=b"], "timeout": 5}]
DEVICE = {"major": 8, "minor": 0}

# Every property of the Linux parts; valid by schema and rules.
FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {
            "destination": "/data",
            "source": "/srv",
            "options": ["rbind", "ro"],
            "uidMappings": IDS,
            "gidMappings": IDS,
        },
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "cwd": "/",
        "env": ["PATH=/bin", "EMPTY="],
        "args": ["sh", "-c", ""],
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "apparmorProfile": "profile",
        "selinuxLabel": "u:r:t:s0",
        "capabilities": {
            kind: ["CAP_KILL"] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "noNewPrivileges": True,
        "oomScoreAdj": -5,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 10,
            "deadline": 20,
            "period": 30,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-3, 7", "final": "1"},
    },
    "hostname": "box",
    "domainname": "example.net",
    "hooks": dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"), HOOKS
    ),
    "annotations": {"a.b/c": "d"},
    "linux": {
        "namespaces": [
            {"type": "mount"},
            {"type": "pid", "path": "/proc/1/ns/pid"},
            *({"type": kind} for kind in ("network", "uts", "ipc", "user", "cgroup", "time")),
        ],
        "uidMappings": IDS,
        "gidMappings": IDS,
        "timeOffsets": {"boottime": {"secs": -1, "nanosecs": 5}, "monotonic": {"secs": 3}},
        "devices": [
            {"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}
        ],
        "netDevices": {"eth0": {"name": "inside0"}, "eth1": {}},
        "cgroupsPath": "/group",
        "resources": {
            "unified": {"memory.high": "1000000"},
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "access": "rw", **DEVICE},
            ],
            "memory": {
                "limit": 1000,
                "reservation": 900,
                "swap": 2000,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 60,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 50000,
                "burst": 1000,
                "period": 100000,
                "realtimeRuntime": 1,
                "realtimePeriod": 2,
                "cpus": "0-1",
                "mems": "0",
                "idle": 0,
            },
            "pids": {"limit": 10},
            "blockIO": {
                "weight": 100,
                "leafWeight": 100,
                "weightDevice": [{**DEVICE, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": [{**DEVICE, "rate": 600}],
                "throttleWriteBpsDevice": [{**DEVICE, "rate": 600}],
                "throttleReadIOPSDevice": [{**DEVICE, "rate": 600}],
                "throttleWriteIOPSDevice": [{**DEVICE, "rate": 600}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2**64 - 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
        },
        "rootfsPropagation": "rslave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "x",
            "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 38,
                    "args": [{"index": 0, "value": 2**64 - 1, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        },
        "sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/mtu": "1500", "kernel.shmmax": "1"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "u:o:t:s0",
        "intelRdt": {
            "closID": "group",
            "schemata": ["L3:0=ff"],
            "l3CacheSchema": "L3:0=ff",
            "memBwSchema": "MB:0=20",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32"},
    },
}

# What stands at the edge of some type.
EDGES = [
    None, True, False, 0, 1, -1, 1.0, 1.5, -1001, 1000, 65536, 2**32 - 2, 2**32 - 1, 2**63, 2**64 - 1, 2**64,
    "", "x", "\0", "/a", "\n", "MB:\n", "MB:", "2MB", "2MB\n", "02MB", "²MB", "0-3", "0-3\n", "rwm", "a", "c",
    "CAP_KILL", "rshared", "RLIMIT_CORE", "SCMP_ACT_ALLOW", "LINUX",
    [], [1], ["x"], {}, {"": "x"}, {"x": 1}, {"path": "/a"},
]  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in items for place in places(item, (*path, name)))]


def changed(document: Any, path: tuple[str | int, ...], change: str, value: Any) -> Any:
    """A copy of the document with the value at a path replaced or removed, or with one more beside it."""
    if not path:
        return value
    document = copy.deepcopy(document)
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    if change == "replace":
        holder[path[-1]] = value
    elif change == "remove":
        del holder[path[-1]]
    elif isinstance(holder, list):
        holder.append(value)
    else:
        holder[f"{path[-1]}x"] = value
    return document


@st.composite
def mutated(draw: st.DrawFn, documents: list[Any]) -> Any:
    """One of the documents with up to three values replaced, removed or added."""
    document = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)))
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        document = changed(document, path, change, copy.deepcopy(draw(st.sampled_from(EDGES))))
    return document


def inline(schema: Any, root: dict[str, Any], load: Any = None) -> Any:
    """A schema without references: hypothesis-jsonschema follows none to another file.

    load  returns the document of a file that a reference names
    """
    if isinstance(schema, list):
        return [inline(item, root, load) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        file, _, fragment = schema["$ref"].partition("#/")
        document = load(file) if file else root
        target = document
        for part in fragment.split("/"):
            target = target[part]
        return inline(target, document, load)
    return {name: inline(value, root, load) for name, value in schema.items() if name != "definitions"}


def leaves(schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    """The pointer of every property with a plain value; [] for any item, * for any name."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    if schema.get("properties"):
        for name, value in schema["properties"].items():
            yield from leaves(value, root, f"{path}/{name}")
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from leaves(schema["additionalProperties"], root, f"{path}/*")
    elif isinstance(schema.get("items"), dict):
        yield from leaves(schema["items"], root, f"{path}/[]")
    else:
        yield path


def read(path: Path) -> Any:
    return json.loads(path.read_text())
