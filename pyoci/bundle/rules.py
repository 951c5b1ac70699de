"""The rules that a schema can't say: values of config.json that contradict each other or Linux.

Pure, and only for documents that the schema allows. What is seldom used is in rare_rules.
"""

from __future__ import annotations

from pyoci.bundle.document import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Violations = list[tuple[str, str]]  # JSON pointer, what was found and what would do

UNLIMITED = 2**64 - 1
NAME_LENGTH = 64  # of hostname and domainname: __NEW_UTS_LEN
CAPABILITIES = frozenset(
    "CAP_" + name
    for name in (
        "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH"
        " FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN"
        " NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT"
        " SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
    ).split()
)
IPC_SYSCTLS = frozenset(
    "kernel." + name for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
RARE_PROCESS = frozenset(("scheduler", "ioPriority", "execCPUAffinity"))
RARE_LINUX = frozenset(
    ("devices", "uidMappings", "gidMappings", "timeOffsets", "netDevices", "intelRdt", "memoryPolicy", "personality")
)
RARE_RESOURCES = frozenset(("blockIO", "rdma", "unified"))
RETURNING = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def check(config: dict[str, Any]) -> list[str]:
    """Check a config.json that the schema allows; returns warnings.

    Error (invalid-config): one line for each violation, "POINTER: what was found, what would do".
    """
    wrong: Violations = []
    warnings: list[str] = []
    linux = config.get("linux", {})
    namespaces = {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}
    _version(config["ociVersion"], wrong)
    _root(config, wrong)
    if "process" in config:
        _process(config["process"], "/process", wrong, warnings)
    else:
        wrong.append(("/process", "nothing was found, and a container needs a process"))
    _names(config, namespaces, wrong)
    _mounts(config.get("mounts", ()), wrong, warnings)
    _hooks(config.get("hooks", {}), wrong)
    _linux(linux, config, namespaces, wrong, warnings)
    for other in ("solaris", "windows", "vm", "zos", "freebsd"):
        if other in config:
            warnings.append(f"/{other}: this section isn't for Linux and is ignored")
    return _result(wrong, warnings)


def check_process(process: dict[str, Any], prefix: str = "/process") -> list[str]:
    """Check a process as exec --process gives it; prefix goes before every pointer."""
    wrong: Violations = []
    warnings: list[str] = []
    _process(process, prefix, wrong, warnings)
    return _result(wrong, warnings)


def check_resources(resources: dict[str, Any], prefix: str = "/linux/resources") -> list[str]:
    """Check resources as update --resources gives them; prefix goes before every pointer."""
    wrong: Violations = []
    _resources(resources, prefix, wrong)
    return _result(wrong, [])


def _result(wrong: Violations, warnings: list[str]) -> list[str]:
    if wrong:
        from pyoci.bundle.violations import problem

        raise problem(wrong)
    return warnings


def _version(version: str, wrong: Violations) -> None:
    """Any 1.x of SemVer: a later minor version only adds properties, of which each unknown one is warned of."""
    core = version.partition("+")[0].partition("-")[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() for part in core):
        wrong.append(("/ociVersion", f'"{version}" was found; a version like 1.3.0 would do'))
    elif core[0] != "1":
        wrong.append(("/ociVersion", f'"{version}" was found; a version 1.x would do'))


def _root(config: dict[str, Any], wrong: Violations) -> None:
    if "root" not in config:
        wrong.append(("/root", "nothing was found, and on Linux this property is required"))
    elif not config["root"]["path"]:
        wrong.append(("/root/path", "an empty path was found; that of a directory would do"))


def _names(config: dict[str, Any], namespaces: dict[str, str], wrong: Violations) -> None:
    for name in ("hostname", "domainname"):
        value = config.get(name)
        if not value:
            continue
        if "uts" not in namespaces:
            wrong.append((f"/{name}", "it was found without a uts namespace; one in /linux/namespaces would do"))
        if len(value.encode()) > NAME_LENGTH:
            wrong.append((f"/{name}", f"{len(value.encode())} bytes were found; at most {NAME_LENGTH} would do"))


def _process(process: dict[str, Any], prefix: str, wrong: Violations, warnings: list[str]) -> None:
    args = process.get("args")
    if not args or not args[0]:
        where = "/args/0" if args else "/args"
        wrong.append((prefix + where, "no program was found; its path or its name would do"))
    if process["cwd"][:1] != "/":
        wrong.append((f"{prefix}/cwd", f'"{process["cwd"]}" was found; an absolute path would do'))
    for index, entry in enumerate(process.get("env", ())):
        if entry.find("=") < 1:
            wrong.append((f"{prefix}/env/{index}", f'"{entry}" was found; NAME=value would do'))
    umask = process.get("user", {}).get("umask", 0)
    if umask > 0o7777:
        wrong.append((f"{prefix}/user/umask", f"{umask} was found; at most 4095 (octal 7777) would do"))
    if "rlimits" in process:
        _rlimits(process["rlimits"], f"{prefix}/rlimits", wrong)
    if "capabilities" in process:
        _capabilities(process["capabilities"], f"{prefix}/capabilities", wrong, warnings)
    if process.get("terminal"):
        for side, size in process.get("consoleSize", {}).items():
            if side in ("height", "width") and size > 65535:
                wrong.append((f"{prefix}/consoleSize/{side}", f"{size} was found; at most 65535 would do"))
    if not RARE_PROCESS.isdisjoint(process):
        from pyoci.bundle import rare_rules

        rare_rules.check_process(process, prefix, wrong)


def _rlimits(rlimits: list[dict[str, Any]], prefix: str, wrong: Violations) -> None:
    first: dict[str, int] = {}
    for index, limit in enumerate(rlimits):
        if first.setdefault(limit["type"], index) != index:
            wrong.append(
                (f"{prefix}/{index}/type", f"{limit['type']} was found again after {prefix}/{first[limit['type']]}")
            )
        if limit["soft"] > limit["hard"]:
            wrong.append(
                (f"{prefix}/{index}/soft", f"{limit['soft']} was found; at most the hard limit {limit['hard']} would do")
            )


def _capabilities(sets: dict[str, list[str]], prefix: str, wrong: Violations, warnings: list[str]) -> None:
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        names = sets.get(name)
        if names and not CAPABILITIES.issuperset(names):
            for index, capability in enumerate(names):
                if capability not in CAPABILITIES:
                    warnings.append(f'{prefix}/{name}/{index}: "{capability}" is no known capability and is left out')
    permitted = set(sets.get("permitted", ()))
    # capset(2) fails with EPERM for these
    for capability in CAPABILITIES.intersection(sets.get("effective", ())) - permitted:
        wrong.append((f"{prefix}/effective", f"{capability} was found; one that is also permitted would do"))
    ambient = CAPABILITIES.intersection(sets.get("ambient", ()))
    for capability in ambient - permitted.intersection(sets.get("inheritable", ())):
        warnings.append(f"{prefix}/ambient: {capability} has no effect unless it is permitted and inheritable too")


def _mounts(mounts: list[dict[str, Any]], wrong: Violations, warnings: list[str]) -> None:
    for index, mount in enumerate(mounts):
        destination = mount["destination"]
        if not destination:
            wrong.append((f"/mounts/{index}/destination", "an empty path was found; an absolute one would do"))
        elif destination[0] != "/":
            warnings.append(f'/mounts/{index}/destination: "{destination}" is taken as "/{destination}"')
        options = mount.get("options", ())
        if ("bind" in options or "rbind" in options) and not mount.get("source"):
            wrong.append((f"/mounts/{index}/source", "nothing was found; what to bind would do"))
        if ("uidMappings" in mount) != ("gidMappings" in mount):
            given, other = ("uid", "gid") if "uidMappings" in mount else ("gid", "uid")
            wrong.append(
                (f"/mounts/{index}/{other}Mappings", f"nothing was found beside {given}Mappings; both would do")
            )
        for kind in ("uidMappings", "gidMappings"):
            if kind in mount:
                from pyoci.bundle import rare_rules

                rare_rules.check_mappings(mount[kind], f"/mounts/{index}/{kind}", wrong)


def _hooks(hooks: dict[str, Any], wrong: Violations) -> None:
    for moment, entries in hooks.items():
        if moment in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
            for index, hook in enumerate(entries):
                if hook["path"][:1] != "/":
                    wrong.append(
                        (f"/hooks/{moment}/{index}/path", f'"{hook["path"]}" was found; an absolute path would do')
                    )


def _linux(
    linux: dict[str, Any],
    config: dict[str, Any],
    namespaces: dict[str, str],
    wrong: Violations,
    warnings: list[str],
) -> None:
    _namespaces(linux, namespaces, wrong)
    if "sysctl" in linux:
        _sysctl(linux["sysctl"], config, namespaces, wrong)
    for name in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(name)
        if paths and "mount" not in namespaces:
            wrong.append((f"/linux/{name}", "it was found without a mount namespace; one would do"))
        for index, path in enumerate(paths or ()):
            if path[:1] != "/":
                wrong.append((f"/linux/{name}/{index}", f'"{path}" was found; an absolute path would do'))
    cgroup = linux.get("cgroupsPath", "")
    if ".." in cgroup.split("/"):
        wrong.append(("/linux/cgroupsPath", f'"{cgroup}" was found; a path without ".." would do'))
    if "resources" in linux:
        _resources(linux["resources"], "/linux/resources", wrong)
    if "seccomp" in linux:
        _seccomp(linux["seccomp"], wrong)
    if not RARE_LINUX.isdisjoint(linux):
        from pyoci.bundle import rare_rules

        rare_rules.check_linux(linux, namespaces, wrong, warnings)


def _namespaces(linux: dict[str, Any], namespaces: dict[str, str], wrong: Violations) -> None:
    entries = linux.get("namespaces", ())
    if len(entries) != len(namespaces):
        first: dict[str, int] = {}
        for index, entry in enumerate(entries):
            kind = entry["type"]
            if first.setdefault(kind, index) != index:
                wrong.append(
                    (f"/linux/namespaces/{index}/type", f"{kind} was found again after /linux/namespaces/{first[kind]}")
                )
    for index, entry in enumerate(entries):
        path = entry.get("path", "")
        if path and path[0] != "/":
            wrong.append((f"/linux/namespaces/{index}/path", f'"{path}" was found; an absolute path would do'))
    for kind in ("uidMappings", "gidMappings"):
        if namespaces.get("user") == "" and not linux.get(kind):
            wrong.append((f"/linux/{kind}", "nothing was found, and a new user namespace needs both kinds of mappings"))


def sysctl_path(key: str) -> str:
    """The file below /proc/sys that a sysctl's name means, as sysctl(8) reads it.

    The first separator, dot or slash, separates; the other one is a dot within a name, as in
    net/ipv4/conf/eth0.100/mtu or net.ipv4.conf.eth0/100.mtu.
    """
    dot, slash = key.find("."), key.find("/")
    if slash < 0 or 0 <= dot < slash:
        return key.translate({0x2E: "/", 0x2F: "."})
    return key


def _sysctl(sysctl: dict[str, str], config: dict[str, Any], namespaces: dict[str, str], wrong: Violations) -> None:
    for key in sysctl:
        parts = sysctl_path(key).split("/")
        if "" in parts or "." in parts or ".." in parts or "\n" in key:
            reason = f'"{key}" was found; a name like net.ipv4.ip_forward would do'
        else:
            reason = _sysctl_reason(parts, config, namespaces)
        if reason:
            wrong.append((pointer(["linux", "sysctl", key]), reason))


def _sysctl_reason(parts: list[str], config: dict[str, Any], namespaces: dict[str, str]) -> str:
    """Why a sysctl can't be set for the container alone; "" if it can."""
    name = ".".join(parts[:2])
    if parts[0] == "net":
        needed = "network"
    elif name in IPC_SYSCTLS or name == "fs.mqueue":
        needed = "ipc"
    elif name in ("kernel.domainname", "kernel.hostname"):
        needed = "uts"
        if config.get(parts[1]):
            return f"it was found beside /{parts[1]}; one of the two would do"
    elif parts[0] == "user":
        needed = "user"
    else:
        return "it was found, and the kernel has only one of it, which the host uses; one of a namespace would do"
    if len(parts) < 2 or (needed == "ipc" and parts[0] == "kernel" and len(parts) > 2):
        return "it was found, and is no file below /proc/sys; a whole name would do"
    if needed not in namespaces:
        return f"it was found without a namespace of type {needed}, so it is the host's; one would do"
    return ""


def _resources(resources: dict[str, Any], prefix: str, wrong: Violations) -> None:
    memory = resources.get("memory")
    if memory:
        limit, swap = memory.get("limit", 0), memory.get("swap", 0)
        for name in ("limit", "reservation", "swap", "kernel", "kernelTCP"):
            if memory.get(name, 0) < -1:
                wrong.append((f"{prefix}/memory/{name}", f"{memory[name]} was found; -1 for no limit would do"))
        if 0 < swap < limit:
            wrong.append((f"{prefix}/memory/swap", f"{swap} was found; at least memory.limit, {limit}, would do"))
        # -1 as Docker writes it for "the kernel's default"
        if 100 < memory.get("swappiness", 0) < UNLIMITED:
            wrong.append((f"{prefix}/memory/swappiness", f"{memory['swappiness']} was found; 0 to 100 would do"))
    if resources.get("cpu"):
        _cpu(resources["cpu"], f"{prefix}/cpu", wrong)
    if not RARE_RESOURCES.isdisjoint(resources):
        from pyoci.bundle import rare_rules

        rare_rules.check_resources(resources, prefix, wrong)


def _cpu(cpu: dict[str, Any], prefix: str, wrong: Violations) -> None:
    """Bounds of the kernel's tg_set_cfs_bandwidth; 0 means unchanged, as engines write it."""
    quota, period, burst = cpu.get("quota", 0), cpu.get("period", 0), cpu.get("burst", 0)
    if period and not 1000 <= period <= 1000000:
        wrong.append((f"{prefix}/period", f"{period} was found; 1000 to 1000000 microseconds would do"))
    if quota < -1 or 0 < quota < 1000:
        wrong.append((f"{prefix}/quota", f"{quota} was found; at least 1000 microseconds, or -1 for no limit, would do"))
    if 0 < quota < burst:
        wrong.append((f"{prefix}/burst", f"{burst} was found; at most the quota, {quota}, would do"))
    if cpu.get("idle", 0) not in (0, 1):
        wrong.append((f"{prefix}/idle", f"{cpu['idle']} was found; 0 or 1 would do"))
    if 0 < cpu.get("realtimePeriod", 0) < cpu.get("realtimeRuntime", 0):
        wrong.append(
            (
                f"{prefix}/realtimeRuntime",
                f"{cpu['realtimeRuntime']} was found; at most realtimePeriod, {cpu['realtimePeriod']}, would do",
            )
        )


def _seccomp(seccomp: dict[str, Any], wrong: Violations) -> None:
    prefix = "/linux/seccomp"
    default = seccomp["defaultAction"]
    if default == "SCMP_ACT_NOTIFY":
        # the agent would have to answer for the very calls that bring it the listener
        wrong.append((f"{prefix}/defaultAction", "SCMP_ACT_NOTIFY was found; any other action would do"))
    if "defaultErrnoRet" in seccomp:
        _errno(default, seccomp["defaultErrnoRet"], f"{prefix}/defaultErrnoRet", wrong)
    listener = seccomp.get("listenerPath")
    if seccomp.get("listenerMetadata") and not listener:
        wrong.append((f"{prefix}/listenerMetadata", "it was found without listenerPath; both would do"))
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        action = rule["action"]
        if action == "SCMP_ACT_NOTIFY":
            if not listener:
                wrong.append((f"{prefix}/listenerPath", "nothing was found, and SCMP_ACT_NOTIFY needs it"))
            if "write" in rule["names"]:
                wrong.append((f"{prefix}/syscalls/{index}/names", "write was found; SCMP_ACT_NOTIFY can't take it"))
        if "errnoRet" in rule:
            _errno(action, rule["errnoRet"], f"{prefix}/syscalls/{index}/errnoRet", wrong)
        for position, arg in enumerate(rule.get("args", ())):
            if arg["index"] > 5:
                wrong.append(
                    (f"{prefix}/syscalls/{index}/args/{position}/index", f"{arg['index']} was found; 0 to 5 would do")
                )


def _errno(action: str, value: int, pointer: str, wrong: Violations) -> None:
    most = 4095 if action == "SCMP_ACT_ERRNO" else 65535  # MAX_ERRNO, SECCOMP_RET_DATA
    if action not in RETURNING:
        wrong.append((pointer, f"it was found beside {action}, which returns no value; SCMP_ACT_ERRNO would do"))
    elif value > most:
        wrong.append((pointer, f"{value} was found; at most {most} would do"))
