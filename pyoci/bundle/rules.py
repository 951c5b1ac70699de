"""The rules that a schema can't say: values of config.json that contradict each other or Linux.

Pure, and only for documents that the schema allows. What is seldom used is in rare_rules.
"""

from __future__ import annotations

from pyoci.bundle.document import pointer, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = 2**64 - 1
NAME_LENGTH = 64  # bytes of hostname and domainname: the kernel's __NEW_UTS_LEN
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
IPC_SYSCTLS = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
RARE_PROCESS = frozenset(("scheduler", "ioPriority", "execCPUAffinity"))
RARE_MOUNT = frozenset(("uidMappings", "gidMappings"))
RARE_LINUX = RARE_MOUNT.union(
    ("devices", "timeOffsets", "netDevices", "intelRdt", "memoryPolicy", "personality")
)
RETURNING = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

NOT_WHILE_IDLE = "can't be in force while the cgroup is idle; idle 0, or no shares, would do"


class Findings:
    """What a check found: refusals, of which one is an error, and warnings."""

    __slots__ = ("refusals", "warnings")

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def refuse(self, pointer: str, message: str) -> None:
        """Note what was found at a JSON pointer, and what would do there."""
        self.refusals.append((pointer, message))

    def warn(self, pointer: str, message: str) -> None:
        self.warnings.append(f"{pointer}: {message}")

    def result(self) -> list[str]:
        """The warnings; Error (invalid-config) with one line for each refusal."""
        if self.refusals:
            from pyoci.bundle.violations import problem

            raise problem(self.refusals)
        return self.warnings


def check(config: dict[str, Any]) -> list[str]:
    """Check a config.json that the schema allows; returns warnings.

    Error (invalid-config): one line for each violation, "POINTER: what was found, what would do".
    """
    findings = Findings()
    linux = config.get("linux", {})
    namespaces = {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}
    _version(config["ociVersion"], findings)
    _root(config, findings)
    if "process" in config:
        _process(config["process"], "/process", findings)
    else:
        findings.refuse("/process", "nothing was found, and a container needs a process")
    _names(config, namespaces, findings)
    _mounts(config.get("mounts", ()), namespaces, findings)
    _hooks(config.get("hooks", {}), findings)
    _linux(linux, config, namespaces, findings)
    for other in ("solaris", "windows", "vm", "zos", "freebsd"):
        if other in config:
            findings.warn(f"/{other}", "this section isn't for Linux and is ignored")
    return findings.result()


def check_process(process: dict[str, Any], prefix: str = "") -> list[str]:
    """Check a process as exec --process gives it; prefix goes before every pointer."""
    findings = Findings()
    _process(process, prefix, findings)
    return findings.result()


def check_mounts(mounts: list[dict[str, Any]], linux: dict[str, Any]) -> list[str]:
    """Check mounts as `mounts add` gives them to a container with this `linux` section."""
    findings = Findings()
    _mounts(mounts, {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}, findings)
    return findings.result()


def check_resources(resources: dict[str, Any], prefix: str = "") -> list[str]:
    """Check resources as update --resources gives them; prefix goes before every pointer.

    What goes against values in force is found by whoever knows those.
    """
    findings = Findings()
    _resources(resources, prefix, findings)
    return findings.result()


def swap_problem(swap: int, limit: int, in_force: str = "") -> str:
    """What is wrong with a limit of memory and swap together beside one of memory alone, "" for nothing.

    Bytes; below 0 is none, and 0 not given. v1 refuses such pairs (EINVAL), from others v2's limit of swap
    alone can't be got.
    """
    if swap <= 0:
        return ""
    if limit <= 0:
        return f"{swap} was found, without a limit of memory beside it; that too, or -1 for neither, would do"
    if swap < limit:
        return f"{swap} was found; at least {limit}, memory's own limit{in_force}, would do"
    return ""


def _version(version: str, findings: Findings) -> None:
    """Any 1.x of SemVer: a later minor version only adds properties, and unknown ones are warned of."""
    core = version.partition("+")[0].partition("-")[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() for part in core):
        findings.refuse("/ociVersion", f"{quote(version)} was found; a version like 1.3.0 would do")
    elif core[0] != "1":
        findings.refuse("/ociVersion", f"{quote(version)} was found; a version 1.x would do")


def _root(config: dict[str, Any], findings: Findings) -> None:
    if "root" not in config:
        findings.refuse("/root", "nothing was found, and on Linux this property is required")
    elif not config["root"]["path"]:
        findings.refuse("/root/path", "an empty path was found; that of a directory would do")


def _names(config: dict[str, Any], namespaces: dict[str, str], findings: Findings) -> None:
    for name in ("hostname", "domainname"):
        value = config.get(name)
        if value:
            if "uts" not in namespaces:
                findings.refuse(
                    f"/{name}", f"{quote(value)} was found without a uts namespace; a new one would do"
                )
            length = len(value.encode())
            if length > NAME_LENGTH:
                findings.refuse(f"/{name}", f"{length} bytes were found; at most {NAME_LENGTH} would do")


def _process(process: dict[str, Any], prefix: str, findings: Findings) -> None:
    args = process.get("args")
    if not args or not args[0]:
        where = "/args/0" if args else "/args"
        findings.refuse(prefix + where, "no program was found; its path or its name would do")
    if process["cwd"][:1] != "/":
        findings.refuse(f"{prefix}/cwd", f"{quote(process['cwd'])} was found; an absolute path would do")
    for index, entry in enumerate(process.get("env", ())):
        if entry.find("=") < 1:
            findings.refuse(f"{prefix}/env/{index}", f"{quote(entry)} was found; NAME=value would do")
    umask = process.get("user", {}).get("umask", 0)
    if umask > 0o7777:
        findings.refuse(f"{prefix}/user/umask", f"{umask} was found; at most 4095 (octal 7777) would do")
    if "rlimits" in process:
        _rlimits(process["rlimits"], f"{prefix}/rlimits", findings)
    if "capabilities" in process:
        _capabilities(process["capabilities"], f"{prefix}/capabilities", findings)
    if process.get("terminal"):
        for side, size in process.get("consoleSize", {}).items():
            if side in ("height", "width") and size > 65535:
                findings.refuse(f"{prefix}/consoleSize/{side}", f"{size} was found; at most 65535 would do")
    if not RARE_PROCESS.isdisjoint(process):
        from pyoci.bundle import rare_rules

        rare_rules.check_process(process, prefix, findings)


def _rlimits(rlimits: list[dict[str, Any]], prefix: str, findings: Findings) -> None:
    first: dict[str, int] = {}
    for index, limit in enumerate(rlimits):
        kind, soft, hard = limit["type"], limit["soft"], limit["hard"]
        before = first.setdefault(kind, index)
        if before != index:
            findings.refuse(f"{prefix}/{index}/type", f"{kind} was found again after {prefix}/{before}")
        if soft > hard:
            findings.refuse(
                f"{prefix}/{index}/soft", f"{soft} was found; at most {hard}, the hard limit, would do"
            )


def _capabilities(sets: dict[str, list[str]], prefix: str, findings: Findings) -> None:
    """Names are the compiler's to judge, which knows the kernel's; here only how the sets go together."""
    permitted = frozenset(sets.get("permitted", ()))
    # capset(2) fails with EPERM for these
    for name in sets.get("effective", ()):
        if name not in permitted:
            findings.refuse(f"{prefix}/effective", f"{name} was found; one that is also permitted would do")
    # and prctl(2) with PR_CAP_AMBIENT_RAISE for these, which no runtime takes for an error
    raisable = permitted.intersection(sets.get("inheritable", ()))
    idle = [name for name in sets.get("ambient", ()) if name not in raisable]
    if idle:
        findings.warn(f"{prefix}/ambient", f"{', '.join(idle)} must be permitted and inheritable too")


def _mounts(mounts: list[dict[str, Any]], namespaces: dict[str, str], findings: Findings) -> None:
    for index, mount in enumerate(mounts):
        place = f"/mounts/{index}"
        destination = mount["destination"]
        if destination[:1] != "/":
            findings.warn(f"{place}/destination", f'{quote(destination)} is taken as "/{destination}"')
        if len(destination) < 4 and not set(destination.split("/")) - {"", ".", ".."}:
            findings.refuse(
                f"{place}/destination", f"{quote(destination)} was found; a path below / would do"
            )
        options = mount.get("options", ())
        if "remount" in options:
            pass  # of what is there already: neither source nor type says anything
        elif "bind" in options or "rbind" in options or mount.get("type") == "bind":
            if not mount.get("source"):
                findings.refuse(f"{place}/source", "nothing was found; the path of what to bind would do")
        elif not mount.get("type"):
            findings.refuse(
                f"{place}/type", "nothing was found; a filesystem, or bind among the options, would do"
            )
        if not RARE_MOUNT.isdisjoint(mount) or "idmap" in ",".join(options):
            from pyoci.bundle import rare_rules

            rare_rules.check_idmapped_mount(mount, place, "user" in namespaces, findings)


def _hooks(hooks: dict[str, Any], findings: Findings) -> None:
    for moment in HOOKS:
        for index, hook in enumerate(hooks.get(moment, ())):
            path = hook["path"]
            if path[:1] != "/":
                findings.refuse(
                    f"/hooks/{moment}/{index}/path", f"{quote(path)} was found; an absolute path would do"
                )


def _linux(
    linux: dict[str, Any], config: dict[str, Any], namespaces: dict[str, str], findings: Findings
) -> None:
    _namespaces(linux, namespaces, findings)
    if "sysctl" in linux:
        _sysctl(linux["sysctl"], config, namespaces, findings)
    for name in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(name, ())
        if paths and "mount" not in namespaces:
            findings.refuse(
                f"/linux/{name}", "paths were found without a mount namespace; a new one would do"
            )
        for index, path in enumerate(paths):
            if path[:1] != "/":
                findings.refuse(
                    f"/linux/{name}/{index}", f"{quote(path)} was found; an absolute path would do"
                )
    cgroup = linux.get("cgroupsPath", "")
    if ".." in cgroup.split("/"):
        findings.refuse("/linux/cgroupsPath", f'{quote(cgroup)} was found; a path without ".." would do')
    if "resources" in linux:
        _resources(linux["resources"], "/linux/resources", findings)
        memory = linux["resources"].get("memory") or {}
        if not memory.get("limit"):  # nor is there one in force
            _swap(memory, "/linux/resources/memory", findings)
    if "seccomp" in linux:
        _seccomp(linux["seccomp"], findings)
    if not RARE_LINUX.isdisjoint(linux):
        from pyoci.bundle import rare_rules

        rare_rules.check_linux(linux, namespaces, findings)
        if namespaces.get("user") == "":
            rare_rules.check_mapped(config.get("process", {}).get("user", {}), linux, findings)


def _namespaces(linux: dict[str, Any], namespaces: dict[str, str], findings: Findings) -> None:
    first: dict[str, int] = {}
    for index, entry in enumerate(linux.get("namespaces", ())):
        place = f"/linux/namespaces/{index}"
        kind, path = entry["type"], entry.get("path", "")
        before = first.setdefault(kind, index)
        if before != index:
            findings.refuse(f"{place}/type", f"{kind} was found again after /linux/namespaces/{before}")
        if path and path[0] != "/":
            findings.refuse(f"{place}/path", f"{quote(path)} was found; an absolute path would do")
    if namespaces.get("user") == "":
        for name in ("uidMappings", "gidMappings"):
            if not linux.get(name):
                findings.refuse(f"/linux/{name}", "nothing was found, and a new user namespace needs it")


def sysctl_path(key: str) -> str:
    """The file below /proc/sys that a sysctl's name means, as sysctl(8) reads it.

    The first separator, dot or slash, separates; the other one is a dot within a name, as in
    net/ipv4/conf/eth0.100/mtu or net.ipv4.conf.eth0/100.mtu.
    """
    dot, slash = key.find("."), key.find("/")
    if slash < 0 or 0 <= dot < slash:
        return key.translate({0x2E: "/", 0x2F: "."})
    return key


def _sysctl(
    sysctl: dict[str, str], config: dict[str, Any], namespaces: dict[str, str], findings: Findings
) -> None:
    for key in sysctl:
        parts = sysctl_path(key).split("/")
        if "" in parts or "." in parts or ".." in parts:
            reason = "no such sysctl can be; a name like net.ipv4.ip_forward would do"
        else:
            reason = _sysctl_reason(parts, config, namespaces)
        if reason:
            findings.refuse(pointer(["linux", "sysctl", key]), reason)


def _sysctl_reason(parts: list[str], config: dict[str, Any], namespaces: dict[str, str]) -> str:
    """Why a sysctl can't be set for the container alone; "" if it can."""
    needed = ""
    if parts[0] == "kernel" and len(parts) == 2:
        if parts[1] in IPC_SYSCTLS:
            needed = "ipc"
        elif parts[1] in ("hostname", "domainname"):
            needed = "uts"
            if config.get(parts[1]):
                return f"a second value was found beside /{parts[1]}; one of them would do"
    elif parts[:2] == ["fs", "mqueue"] and len(parts) > 2:
        needed = "ipc"
    elif parts[0] in ("net", "user") and len(parts) > 1:
        needed = "network" if parts[0] == "net" else "user"
    if not needed:
        return "a sysctl of the whole host was found; those of net, user, fs.mqueue and System V IPC would do"
    if needed not in namespaces:
        return f"it would be the host's without a namespace of type {needed}; a new one would do"
    return ""


def _resources(resources: dict[str, Any], prefix: str, findings: Findings) -> None:
    if resources.get("memory"):
        _memory(resources["memory"], f"{prefix}/memory", findings)
    if resources.get("cpu"):
        _cpu(resources["cpu"], f"{prefix}/cpu", findings)
    block = resources.get("blockIO", {})
    # Docker always writes the weight 0, for none
    if "rdma" in resources or "unified" in resources or any(block.values()):
        from pyoci.bundle import rare_rules

        rare_rules.check_resources(resources, prefix, findings)


def _swap(memory: dict[str, Any], prefix: str, findings: Findings) -> None:
    problem = swap_problem(memory.get("swap", 0), memory.get("limit", 0))
    if problem:
        findings.refuse(f"{prefix}/swap", problem)


def _memory(memory: dict[str, Any], prefix: str, findings: Findings) -> None:
    for name in ("limit", "reservation", "swap", "kernel", "kernelTCP"):
        value = memory.get(name, 0)
        if value < -1:
            findings.refuse(f"{prefix}/{name}", f"{value} was found; bytes, or -1 for no limit, would do")
    if memory.get("limit"):
        _swap(memory, prefix, findings)
    swappiness = memory.get("swappiness", 0)
    # -1 in 64 bits, as Docker may write it, leaves the kernel's default
    if 100 < swappiness < UNLIMITED:
        findings.refuse(f"{prefix}/swappiness", f"{swappiness} was found; 0 to 100 would do")


def _cpu(cpu: dict[str, Any], prefix: str, findings: Findings) -> None:
    """Bounds of the kernel's tg_set_cfs_bandwidth; 0 leaves a value as it is, as engines write it."""
    quota, period, burst = cpu.get("quota", 0), cpu.get("period", 0), cpu.get("burst", 0)
    if period and not 1000 <= period <= 1000000:
        findings.refuse(f"{prefix}/period", f"{period} was found; 1000 to 1000000 microseconds would do")
    if quota < -1 or 0 < quota < 1000:
        findings.refuse(f"{prefix}/quota", f"{quota} was found; 1000 microseconds or more, or -1, would do")
    if 0 < quota < burst:
        findings.refuse(f"{prefix}/burst", f"{burst} was found; at most {quota}, the quota, would do")
    idle = cpu.get("idle", 0)
    if idle not in (0, 1):
        findings.refuse(f"{prefix}/idle", f"{idle} was found; 0 or 1 would do")
    if idle == 1 and cpu.get("shares"):
        # The kernel takes both, in this order, and forgets the weight (sched_group_set_idle).
        findings.refuse(f"{prefix}/shares", f"{cpu['shares']} {NOT_WHILE_IDLE}")
    runtime, period = cpu.get("realtimeRuntime", 0), cpu.get("realtimePeriod", 0)
    if 0 < period < runtime:
        findings.refuse(
            f"{prefix}/realtimeRuntime", f"{runtime} was found; at most {period}, its period, would do"
        )


def _seccomp(seccomp: dict[str, Any], findings: Findings) -> None:
    default = seccomp["defaultAction"]
    if default == "SCMP_ACT_NOTIFY":
        # the agent would have to answer for the very calls that bring it the listener
        findings.refuse("/linux/seccomp/defaultAction", f"{default} was found; any other action would do")
    if "defaultErrnoRet" in seccomp:
        _errno(default, seccomp["defaultErrnoRet"], "/linux/seccomp/defaultErrnoRet", findings)
    listener = seccomp.get("listenerPath")
    if seccomp.get("listenerMetadata") and not listener:
        findings.refuse("/linux/seccomp/listenerMetadata", "it was found without listenerPath; both would do")
    notifies = False
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        place = f"/linux/seccomp/syscalls/{index}"
        action = rule["action"]
        if action == "SCMP_ACT_NOTIFY":
            notifies = True
            if "write" in rule["names"]:
                findings.refuse(f"{place}/names", f"write was found; {action} would do for any other")
        if "errnoRet" in rule:
            _errno(action, rule["errnoRet"], f"{place}/errnoRet", findings)
        for position, arg in enumerate(rule.get("args", ())):
            if arg["index"] > 5:
                findings.refuse(
                    f"{place}/args/{position}/index", f"{arg['index']} was found; 0 to 5 would do"
                )
    if notifies and not listener:
        findings.refuse("/linux/seccomp/listenerPath", "nothing was found, and SCMP_ACT_NOTIFY needs it")


def _errno(action: str, value: int, place: str, findings: Findings) -> None:
    most = 4095 if action == "SCMP_ACT_ERRNO" else 65535  # MAX_ERRNO, SECCOMP_RET_DATA
    if action not in RETURNING:
        findings.refuse(place, f"{value} was found beside {action}, which returns nothing; no value would do")
    elif value > most:
        findings.refuse(place, f"{value} was found; at most {most} would do")
