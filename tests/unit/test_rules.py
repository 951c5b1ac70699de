"""What config.json may not say although the schema allows it: each rule on its own, broken and kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from pyoci.bundle import rules, schema
from pyoci.errors import Error
from support.documents import ENGINE_CONFIGS, FULL, IDS, SCHEMAS, inline, mutated, read

BASE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}
NULL = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}


def config(
    path: str = "", value: Any = None, namespaces: tuple[str, ...] = ("mount", "pid")
) -> dict[str, Any]:
    """The base with a value at a path like process/cwd, None for none, in these namespaces."""
    result = copy.deepcopy(BASE)
    result["linux"]["namespaces"] = [{"type": kind} for kind in namespaces]
    if "user" in namespaces:
        result["linux"].update(uidMappings=IDS, gidMappings=IDS)
    *above, last = path.split("/")
    holder = result
    for part in above:
        holder = holder.setdefault(part, {})
    if value is None:
        holder.pop(last, None)
    else:
        holder[last] = value
    return result


def refused(document: dict[str, Any]) -> list[str]:
    """The lines of the error, or none."""
    assert schema.check(document) == []
    try:
        rules.check(document)
    except Error as error:
        assert error.code == "invalid-config"
        assert str(error).startswith(error.pointer)
        return str(error).split("\n")
    return []


def seccomp(**properties: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", **properties}


def rule(**properties: Any) -> list[dict[str, Any]]:
    return [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", **properties}]


def namespaces(*entries: tuple[str, str]) -> list[dict[str, str]]:
    return [{"type": kind, "path": path} for kind, path in entries]


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


def mapped(*mappings: dict[str, int]) -> dict[str, Any]:
    """In a user namespace with these user mappings."""
    return config("linux/uidMappings", list(mappings), ("user",))


ALL = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")
BROKEN = [
    (config("ociVersion", "2.0.0"), '/ociVersion: "2.0.0" was found; a version 1.x would do'),
    (config("ociVersion", "0.5.0-dev"), "/ociVersion: "),
    (config("ociVersion", "1.0"), '/ociVersion: "1.0" was found; a version like 1.3.0 would do'),
    (config("ociVersion", "latest"), "/ociVersion: "),
    (config("ociVersion", "1.².0"), "/ociVersion: "),
    (config("root"), "/root: nothing was found"),
    (config("root/path", ""), "/root/path: an empty path was found"),
    (config("process"), "/process: nothing was found"),
    (config("process/args"), "/process/args: no program was found"),
    (config("process/args", []), "/process/args: no program was found"),
    (config("process/args", [""]), "/process/args/0: no program was found"),
    (config("process/cwd", ""), '/process/cwd: "" was found; an absolute path would do'),
    (config("process/cwd", "tmp"), '/process/cwd: "tmp" was found'),
    (config("process/env", ["A=b", "FOO"]), '/process/env/1: "FOO" was found; NAME=value would do'),
    (config("process/env", ["=x"]), '/process/env/0: "=x" was found'),
    (config("process/user", {"umask": 0o10000}), "/process/user/umask: 4096 was found"),
    (
        config("process/rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2),
        "/process/rlimits/1/type: RLIMIT_CORE was found again after /process/rlimits/0",
    ),
    (
        config("process/rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
        "/process/rlimits/0/soft: 2 was found; at most 1, the hard limit, would do",
    ),
    (
        config("process/capabilities", {"effective": ["CAP_KILL"], "permitted": ["CAP_CHOWN"]}),
        "/process/capabilities/effective: CAP_KILL was found",
    ),
    (
        config("process/capabilities", {"effective": ["CAP_KILL"]}),
        "/process/capabilities/effective: CAP_KILL",
    ),
    (
        config(
            "process", {**BASE["process"], "terminal": True, "consoleSize": {"height": 65536, "width": 1}}
        ),
        "/process/consoleSize/height: 65536 was found",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_OTHER", "nice": 20}),
        "/process/scheduler/nice: 20 was found",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_OTHER", "priority": 1}),
        "/process/scheduler/priority: 1 was",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_FIFO"}),
        "/process/scheduler/priority: 0 was found; 1 to 99",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_RR", "priority": 100}),
        "/process/scheduler/priority: 100 was",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_BATCH", "runtime": 1}),
        "/process/scheduler/runtime: 1 was",
    ),
    (
        config("process/scheduler", {"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1}),
        "/process/scheduler: 2",
    ),
    (
        config("process/ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}),
        "/process/ioPriority/priority: 8",
    ),
    (
        config("process/execCPUAffinity", {"initial": "3-1"}),
        '/process/execCPUAffinity/initial: "3-1" was found',
    ),
    (
        config("process/execCPUAffinity", {"final": "1,,2"}),
        '/process/execCPUAffinity/final: "1,,2" was found',
    ),
    (config("hostname", "box"), '/hostname: "box" was found without a uts namespace'),
    (config("domainname", "box"), '/domainname: "box" was found without a uts namespace'),
    (config("hostname", "é" * 33, ("uts",)), "/hostname: 66 bytes were found; at most 64 would do"),
    (config("mounts", [{"destination": "", "type": "x"}]), '/mounts/0/destination: "" was found'),
    (config("mounts", [{"destination": "//", "type": "x"}]), '/mounts/0/destination: "//" was found'),
    (config("mounts", [{"destination": "/..", "type": "x"}]), '/mounts/0/destination: "/.." was found'),
    (config("mounts", [{"destination": "/x", "options": ["rbind"]}]), "/mounts/0/source: nothing was found"),
    (
        config("mounts", [{"destination": "/x", "type": "bind", "source": ""}]),
        "/mounts/0/source: nothing was found",
    ),
    (config("mounts", [{"destination": "/x", "source": "tmpfs"}]), "/mounts/0/type: nothing was found"),
    (
        config("mounts", [{"destination": "/x", "type": "bind", "source": "/y", "uidMappings": IDS}]),
        "/mounts/0/gidMappings: nothing was found beside uidMappings",
    ),
    (
        config("mounts", [{"destination": "/x", "type": "bind", "source": "/y", "gidMappings": IDS}]),
        "/mounts/0/uidMappings: nothing was found beside gidMappings",
    ),
    (
        config("hooks", {"poststop": [{"path": "bin/x"}]}),
        '/hooks/poststop/0/path: "bin/x" was found; an absolute',
    ),
    (
        config("linux/namespaces", [{"type": "pid"}] * 2),
        "/linux/namespaces/1/type: pid was found again after",
    ),
    (
        config("linux/namespaces", [{"type": "ipc"}, *namespaces(("ipc", "/proc/1/ns/ipc"))]),
        "/linux/namespaces/1/type: ipc was found again after /linux/namespaces/0",
    ),
    (
        config("linux/namespaces", namespaces(("ipc", "proc/1"))),
        '/linux/namespaces/0/path: "proc/1" was found',
    ),
    (config("linux/uidMappings", [], ("user",)), "/linux/uidMappings: nothing was found"),
    (config("linux/gidMappings", [], ("user",)), "/linux/gidMappings: nothing was found"),
    (config("linux/uidMappings", IDS), "/linux/uidMappings: mappings were found without a user namespace"),
    (
        mapped(mapping(0, 1000, 10), mapping(9, 5000, 1)),
        "/linux/uidMappings/1/containerID: 9 was found, which /linux/uidMappings/0 maps too",
    ),
    (
        mapped(mapping(0, 1000, 10), mapping(100, 900, 101)),
        "/linux/uidMappings/0/hostID: 1000 was found, which /linux/uidMappings/1 maps too",
    ),
    (
        mapped(mapping(0, 7, 1), mapping(2**32 - 2, 8, 2)),
        "/linux/uidMappings/1/size: 2 ids from 4294967294 were found",
    ),
    (
        config("process/user", {"uid": 65536}, ("user",)),
        "/process/user/uid: 65536 was found, which /linux/uidMappings doesn't map; 0 to 65535 would do",
    ),
    (config("process/user", {"gid": 65536}, ("user",)), "/process/user/gid: 65536 was found, which"),
    (
        config("process/user", {"additionalGids": [7, 70000]}, ("user",)),
        "/process/user/additionalGids/1: 70000 was found, which /linux/gidMappings doesn't map",
    ),
    (mapped(mapping(1, 1000, 1)), "/process/user/uid: 0 was found, which"),
    (
        mapped(*(mapping(i, i, 1) for i in range(341))),
        "/linux/uidMappings: 341 mappings were found; at most 340",
    ),
    (
        config("linux/timeOffsets", {"boottime": {"secs": 1}}),
        "/linux/timeOffsets: offsets were found without",
    ),
    (
        config(
            "linux",
            {"namespaces": namespaces(("time", "/proc/1/ns/time")), "timeOffsets": {"boottime": {"secs": 1}}},
        ),
        "/linux/timeOffsets: offsets were found without a new time namespace",
    ),
    *(
        (config("linux/sysctl", {key: "1"}, kinds), f"/linux/sysctl/{pointer}: {reason}")
        for kinds, key, pointer, reason in [
            (ALL, "kernel.core_pattern", "kernel.core_pattern", "a sysctl of the whole host"),
            (ALL, "kernel/core_pattern", "kernel~1core_pattern", "a sysctl of the whole host"),
            (ALL, "net/../kernel/core_pattern", "net~1..~1kernel~1core_pattern", "no such sysctl can be"),
            (ALL, "net.ipv4.../../..", "net.ipv4...~1..~1..", "no such sysctl can be"),
            (ALL, "net.//.kernel.core_pattern", "net.~1~1.kernel.core_pattern", "no such sysctl can be"),
            (ALL, "/net/x", "~1net~1x", "no such sysctl can be"),
            (ALL, "net/./x", "net~1.~1x", "no such sysctl can be"),
            (ALL, "", "", "no such sysctl can be"),
            (ALL, "net", "net", "a sysctl of the whole host"),
            (ALL, "kernel.sem.x", "kernel.sem.x", "a sysctl of the whole host"),
            (ALL, "vm.swappiness", "vm.swappiness", "a sysctl of the whole host"),
            (ALL, "fs.mqueue", "fs.mqueue", "a sysctl of the whole host"),
            (ALL, "netx.y", "netx.y", "a sysctl of the whole host"),
            (
                ("uts",),
                "kernel/shm_rmid_forced",
                "kernel~1shm_rmid_forced",
                "it would be the host's without a namespace of type ipc",
            ),
            (
                ("uts",),
                "fs.mqueue.msg_max",
                "fs.mqueue.msg_max",
                "it would be the host's without a namespace of type ipc",
            ),
            (
                ("uts",),
                "net.ipv4.ip_forward",
                "net.ipv4.ip_forward",
                "it would be the host's without a namespace of type network",
            ),
            (
                ("ipc",),
                "kernel.hostname",
                "kernel.hostname",
                "it would be the host's without a namespace of type uts",
            ),
            (
                ("ipc",),
                "user.max_user_namespaces",
                "user.max_user_namespaces",
                "it would be the host's without a namespace of type user",
            ),
        ]
    ),
    (
        {**config("linux/sysctl", {"kernel.domainname": "x"}, ("uts",)), "domainname": "y"},
        "/linux/sysctl/kernel.domainname: a second value was found beside /domainname",
    ),
    (
        config("linux/maskedPaths", ["proc"]),
        '/linux/maskedPaths/0: "proc" was found; an absolute path would do',
    ),
    (config("linux/readonlyPaths", ["/x", ""]), '/linux/readonlyPaths/1: "" was found'),
    (
        config("linux/maskedPaths", ["/proc"], ("pid",)),
        "/linux/maskedPaths: paths were found without a mount",
    ),
    (config("linux/cgroupsPath", "/a/../b"), '/linux/cgroupsPath: "/a/../b" was found'),
    (
        config("linux/devices", [{"path": "/dev/x", "type": "c", "major": 1}]),
        "/linux/devices/0/minor: nothing was",
    ),
    (
        config("linux/devices", [{"path": "/dev/x", "type": "b", "minor": 1}]),
        "/linux/devices/0/major: nothing was",
    ),
    (config("linux/devices", [{**NULL, "path": "dev/x"}]), '/linux/devices/0/path: "dev/x" was found'),
    (config("linux/devices", [{**NULL, "major": -1}]), "/linux/devices/0/major: -1 was found; 0 to 4095"),
    (config("linux/devices", [{**NULL, "minor": 1 << 20}]), "/linux/devices/0/minor: 1048576 was found"),
    (config("linux/devices", [NULL, {**NULL, "minor": 5}]), "/linux/devices/1/path: /dev/x was found, where"),
    (config("linux/netDevices", {"eth0": {}}), "/linux/netDevices: devices were found without a network"),
    *(
        (config("linux/netDevices", {"eth0": {"name": name}}, ("network",)), "/linux/netDevices/eth0/name: ")
        for name in ("a/b", "a:b", "a b", ".", "..", "x" * 16, "é" * 8, "%s", "a%d%d", "x%d" * 5)
    ),
    (
        config("linux/netDevices", {"eth0": {"name": "x"}, "eth1": {"name": "x"}}, ("network",)),
        "/linux/netDevices/eth1/name: x was found, which eth0 is called too",
    ),
    (config("linux/intelRdt", {"closID": "a/b"}), '/linux/intelRdt/closID: "a/b" was found'),
    *(
        (config("linux/intelRdt", {"closID": name}), f'/linux/intelRdt/closID: "{name}" was found')
        for name in ("..", "/a", "info", "mon_groups")
    ),
    (
        config("linux/personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
        '/linux/personality/flags/0: "ADDR_NO_RANDOMIZE" was found; the specification has no flags yet',
    ),
    (config("linux/memoryPolicy", {"mode": "MPOL_BIND"}), "/linux/memoryPolicy/nodes: no nodes were found"),
    (
        config("linux/memoryPolicy", {"mode": "MPOL_LOCAL", "nodes": "0"}),
        '/linux/memoryPolicy/nodes: "0" was',
    ),
    (config("linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "²"}), '/linux/memoryPolicy/nodes: "²" was'),
    (
        config(
            "linux/memoryPolicy",
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]},
        ),
        "/linux/memoryPolicy/flags: ",
    ),
    *(
        (config(f"linux/resources/{path}", value), f"/linux/resources/{message}")
        for path, value, message in [
            ("memory", {"limit": 10, "swap": 9}, "memory/swap: 9 was found; at least 10"),
            ("memory", {"swap": 9}, "memory/swap: 9 was found, without a limit of memory beside it"),
            ("memory", {"limit": -1, "swap": 9}, "memory/swap: 9 was found, without a limit of memory"),
            ("memory", {"limit": -2}, "memory/limit: -2 was found"),
            ("memory", {"swappiness": 101}, "memory/swappiness: 101 was found; 0 to 100 would do"),
            ("cpu", {"period": 999}, "cpu/period: 999 was found"),
            ("cpu", {"period": 1000001}, "cpu/period: 1000001 was found"),
            ("cpu", {"quota": 999}, "cpu/quota: 999 was found"),
            ("cpu", {"quota": -2}, "cpu/quota: -2 was found"),
            ("cpu", {"quota": 2000, "burst": 2001}, "cpu/burst: 2001 was found; at most 2000, the quota"),
            ("cpu", {"idle": 2}, "cpu/idle: 2 was found"),
            ("cpu", {"idle": 1, "shares": 9}, "cpu/shares: 9 can't be in force while the cgroup is idle; "),
            ("cpu", {"realtimeRuntime": 2, "realtimePeriod": 1}, "cpu/realtimeRuntime: 2 was found"),
            ("blockIO", {"weight": 9}, "blockIO/weight: 9 was found; 10 to 1000 would do"),
            ("blockIO", {"leafWeight": 1001}, "blockIO/leafWeight: 1001 was found"),
            (
                "blockIO",
                {"weightDevice": [{"major": 8, "minor": 0}]},
                "blockIO/weightDevice/0: neither weight",
            ),
            (
                "blockIO",
                {"weightDevice": [{"major": 8, "minor": 0, "weight": 5}]},
                "blockIO/weightDevice/0/weight: 5 was found",
            ),
            ("rdma", {"mlx/5": {}}, "rdma/mlx~15: neither hcaHandles nor hcaObjects"),
            *(
                ("unified", {name: "1"}, f"unified/{name.replace('/', '~1')}: that is no name of a cgroup's")
                for name in ("", ".", "..", "../memory.max", "memory", "a.\0", "\ud800.max")
            ),
            ("unified", {"cgroup.procs": "1"}, "unified/cgroup.procs: it moves the process that it names"),
            ("unified", {"cgroup.threads": "1"}, "unified/cgroup.threads: it moves the process"),
            ("unified", {"cgroup.kill": "1"}, "unified/cgroup.kill: it kills every process of the container"),
            ("unified", {"cgroup.freeze": "0"}, "unified/cgroup.freeze: it stops the container"),
            ("unified", {"cgroup.type": "threaded"}, "unified/cgroup.type: it makes a cgroup of threads"),
            (
                "unified",
                {"cpu.pressure": "some 9 99"},
                "unified/cpu.pressure: it asks for notices, which end",
            ),
            ("unified", {"memory.high": "1\0"}, 'unified/memory.high: "1\\u0000" was found; printable'),
            ("unified", {"memory.high": "\ud800"}, 'unified/memory.high: "\ud800" was found; printable'),
        ]
    ),
    *(
        (config("linux/seccomp", value), f"/linux/seccomp/{message}")
        for value, message in [
            (seccomp(defaultAction="SCMP_ACT_NOTIFY"), "defaultAction: SCMP_ACT_NOTIFY was found"),
            (seccomp(defaultErrnoRet=1), "defaultErrnoRet: 1 was found beside SCMP_ACT_ALLOW"),
            (seccomp(listenerMetadata="x"), "listenerMetadata: it was found without listenerPath"),
            (seccomp(syscalls=rule(action="SCMP_ACT_NOTIFY")), "listenerPath: nothing was found"),
            (
                seccomp(syscalls=rule(action="SCMP_ACT_NOTIFY", names=["read", "write"]), listenerPath="/x"),
                "syscalls/0/names: write was found",
            ),
            (
                seccomp(syscalls=rule(action="SCMP_ACT_KILL", errnoRet=1)),
                "syscalls/0/errnoRet: 1 was found beside",
            ),
            (
                seccomp(syscalls=rule(errnoRet=4096)),
                "syscalls/0/errnoRet: 4096 was found; at most 4095 would do",
            ),
            (
                seccomp(syscalls=rule(action="SCMP_ACT_TRACE", errnoRet=65536)),
                "syscalls/0/errnoRet: 65536 was found; at most 65535",
            ),
            (
                seccomp(syscalls=rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])),
                "syscalls/0/args/0/index: 6 was found; 0 to 5 would do",
            ),
        ]
    ),
]
KEPT = [
    BASE,
    FULL,
    config("ociVersion", "1.99.3-rc.1+dev"),
    config("process/env", ["A=b", "A=c", "E=", "é=ü"]),
    config("process/capabilities", {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}),
    config("process/consoleSize", {"height": 70000, "width": 1}),  # ignored without a terminal
    config("process/scheduler", {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2}),
    config("process/execCPUAffinity", {"initial": ""}),
    config("hostname", ""),
    config("linux/namespaces", [{"type": "uts", "path": ""}, {"type": "mount"}]),
    config("linux/namespaces", namespaces(("user", "/proc/1/ns/user"))),
    {**config("linux/namespaces", namespaces(("uts", "/proc/1/ns/uts"))), "hostname": "box"},
    # equal mappings beside a user namespace to join are for whoever can read that one's
    config("linux", {"namespaces": namespaces(("user", "/proc/1/ns/user")), "uidMappings": IDS}),
    mapped(mapping(10, 1000, 10), mapping(0, 900, 10), mapping(20, 1010, 2**32 - 1 - 1010)),
    config("linux/timeOffsets", {}),
    config("linux/sysctl", {"kernel/shm_rmid_forced": "1", "fs.mqueue.msg_max": "1"}, ("ipc",)),
    config(
        "linux/sysctl", {"net/ipv4/conf/eth0.100/mtu": "1", "net.ipv4.conf.eth0/1.mtu": "1"}, ("network",)
    ),
    config("linux/sysctl", {"kernel.domainname": "x", "kernel.hostname": "y"}, ("uts",)),
    config("linux/sysctl", {"user.max_user_namespaces": "1"}, ("user",)),
    config("linux/maskedPaths", [], ("pid",)),
    config("linux/cgroupsPath", "system.slice:pyoci:..x"),
    config("linux/devices", [NULL, {**NULL, "type": "u"}, {"path": "/p", "type": "p"}]),
    config("mounts", [{"destination": "/x", "options": ["remount", "ro"]}]),
    config("linux/resources/memory", {"limit": -1, "swap": -1, "swappiness": 2**64 - 1}),
    config("linux/resources/memory", {"limit": 10, "swap": 0}),
    config("linux/resources/cpu", {"quota": -1, "period": 0, "burst": 5}),
    config("linux/resources/blockIO", {"weight": 0}),
    config("linux/resources/unified", {"memory.high": "1", "hugetlb.1GB.max": "2"}),
    config("linux/resources/unified", {"io.max": "8:0 rbps=1\n8:16\twbps=2\n", "cpuset.cpus": ""}),
    config("linux/resources/unified", {"cgroup.max.depth": "1", "cgroup.max.descendants": "max"}),
    config("linux/resources/unified", {"cgroup.subtree_control": "+pids", "cgroup.pressure": "0"}),
    config("linux/memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": ""}),
    config("linux/seccomp", seccomp(listenerPath="/x", listenerMetadata="x")),
    config("linux/seccomp", seccomp(defaultAction="SCMP_ACT_TRACE", defaultErrnoRet=65535)),
]


@pytest.mark.parametrize(("document", "line"), BROKEN, ids=[line[:50] for _, line in BROKEN])
def test_broken(document: dict[str, Any], line: str) -> None:
    (found,) = refused(document)
    assert found.startswith(line)
    assert found.count(": ") >= 1


@pytest.mark.parametrize("document", KEPT)
def test_kept(document: dict[str, Any]) -> None:
    assert refused(document) == []


@pytest.mark.parametrize("path", ENGINE_CONFIGS, ids=lambda path: path.stem)
def test_what_engines_write_is_kept(path: Any) -> None:
    assert rules.check(read(path)) == []


def test_values_in_messages_are_short_and_on_one_line() -> None:
    (line,) = refused(config("process/cwd", "a\n" + "x" * 5000))
    assert line.startswith('/process/cwd: "a\\nxxx')
    assert len(line) < 120


def test_all_that_is_broken_is_listed() -> None:
    document = config("process", {"cwd": "x", "args": [], "env": ["x"]})
    document["hostname"] = "box"
    del document["root"]
    lines = refused(document)
    assert [line.split(":")[0] for line in lines] == [
        "/root", "/hostname", "/process/args", "/process/cwd", "/process/env/0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "warning"),
    [
        (
            config("process/capabilities", {"permitted": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]}),
            "/process/capabilities/ambient: CAP_KILL, CAP_CHOWN must be permitted and inheritable too",
        ),
        (
            config("mounts", [{"destination": "x", "type": "tmpfs"}]),
            '/mounts/0/destination: "x" is taken as "/x"',
        ),
        (config("windows", {}), "/windows: this section isn't for Linux and is ignored"),
    ],
)
def test_warnings(document: dict[str, Any], warning: str) -> None:
    (found,) = rules.check(document)
    assert found.startswith(warning)


def test_a_process_alone() -> None:
    assert rules.check_process(FULL["process"]) == []
    with pytest.raises(Error) as raised:
        rules.check_process({"cwd": "x", "args": ["sh"]})
    assert raised.value.pointer == "/cwd"


def test_resources_alone() -> None:
    assert rules.check_resources(FULL["linux"]["resources"]) == []
    with pytest.raises(Error) as raised:
        rules.check_resources({"memory": {"limit": 2, "swap": 1}}, "/linux/resources")
    assert raised.value.pointer == "/linux/resources/memory/swap"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.mtu", "net/ipv4/conf/eth0.100/mtu"),
        ("net/ipv4/conf/eth0.100/mtu", "net/ipv4/conf/eth0.100/mtu"),
        ("x", "x"),
    ],
)
def test_sysctl_names(key: str, path: str) -> None:
    assert rules.sysctl_path(key) == path


@given(st.text(st.sampled_from("./ab"), max_size=8).map(lambda text: f"net{text}"))
def test_no_sysctl_leaves_the_directory_of_its_namespace(key: str) -> None:
    """Whatever is accepted names a file below /proc/sys/net, without a step up."""
    document = config("linux/sysctl", {key: "1"}, ("network",))
    if not refused(document):
        parts = rules.sysctl_path(key).split("/")
        assert parts[0] == "net"
        assert len(parts) > 1
        assert not {"", ".", ".."} & set(parts)


SCHEMA = read(SCHEMAS / "config-schema.json")


@settings(max_examples=40)
@given(from_schema(inline(SCHEMA, SCHEMA)))
def test_any_valid_config_is_answered(document: Any) -> None:
    """With warnings or an Error that begin with a pointer; never with another exception."""
    try:
        assert all(warning.startswith("/") for warning in rules.check(document))
    except Error as error:
        assert str(error).startswith("/")


@settings(max_examples=120)
@given(mutated([FULL, *map(read, ENGINE_CONFIGS)]))
def test_any_mutated_config_is_answered(document: Any) -> None:
    try:
        schema.check(document)
        rules.check(document)
    except Error as error:
        assert error.code == "invalid-config"
