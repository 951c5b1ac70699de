"""The rules for parts of config.json that few containers have, kept out of the others' start-up."""

from __future__ import annotations

from pyoci.bundle import unified
from pyoci.bundle.document import pointer, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.bundle.rules import Findings

LAST_ID = 2**32 - 2
MAJORS, MINORS = 1 << 12, 1 << 20  # of the kernel's dev_t
MAPPINGS = 340  # lines the kernel takes: UID_GID_MAP_MAX_EXTENTS
RESCTRL_OWN = ("info", "mon_data", "mon_groups")
NEED_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")


def check_process(process: dict[str, Any], prefix: str, findings: Findings) -> None:
    if "scheduler" in process:
        _scheduler(process["scheduler"], f"{prefix}/scheduler", findings)
    priority = process.get("ioPriority", {}).get("priority", 0)
    if not 0 <= priority <= 7:
        findings.refuse(f"{prefix}/ioPriority/priority", f"{priority} was found; 0 to 7 would do")
    for name, cpus in process.get("execCPUAffinity", {}).items():
        if name in ("initial", "final") and cpus and not _is_cpu_list(cpus):
            findings.refuse(
                f"{prefix}/execCPUAffinity/{name}", f"{quote(cpus)} was found; a list like 0-3,7 would do"
            )


def _scheduler(scheduler: dict[str, Any], prefix: str, findings: Findings) -> None:
    """The arguments of sched_setattr(2) that go together."""
    policy, nice, priority = scheduler["policy"], scheduler.get("nice", 0), scheduler.get("priority", 0)
    if policy == "SCHED_ISO":
        findings.refuse(f"{prefix}/policy", "SCHED_ISO was found, which Linux has not; SCHED_OTHER would do")
    for index, flag in enumerate(scheduler.get("flags", ())):
        if flag.startswith("SCHED_FLAG_UTIL_CLAMP_"):
            place = f"{prefix}/flags/{index}"
            findings.refuse(place, f"{flag} was found, for whose value there is no property; none would do")
    if not -20 <= nice <= 19:
        findings.refuse(f"{prefix}/nice", f"{nice} was found; -20 to 19 would do")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            findings.refuse(f"{prefix}/priority", f"{priority} was found; 1 to 99 would do for {policy}")
    elif priority:
        findings.refuse(f"{prefix}/priority", f"{priority} was found; only SCHED_FIFO and SCHED_RR have one")
    if policy == "SCHED_DEADLINE":
        runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
        period = scheduler.get("period", 0) or deadline
        if not 0 < runtime <= deadline <= period:
            findings.refuse(
                prefix,
                f"{runtime}, {deadline}, {period} were found; 0 < runtime <= deadline <= period would do",
            )
    else:
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                findings.refuse(
                    f"{prefix}/{name}", f"{scheduler[name]} was found; only SCHED_DEADLINE has one"
                )


def _is_cpu_list(text: str) -> bool:
    """Whether it is like "0-3, 7", as runc reads it."""
    if not text.isascii():
        return False
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not (last.isdigit() and int(first) <= int(last))):
            return False
    return True


def check_idmapped_mount(mount: dict[str, Any], place: str, user_namespace: bool, findings: Findings) -> None:
    """What config.md says of a mount's mappings, and of the options idmap and ridmap."""
    for name, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if mount.get(name):
            _mappings(mount[name], f"{place}/{name}", findings)
        elif mount.get(other):
            findings.refuse(f"{place}/{name}", f"nothing was found beside {other}; both would do")
    mapped = bool(mount.get("uidMappings") or mount.get("gidMappings"))
    asked = f"{place}/uidMappings" if mapped else ""
    for index, option in enumerate(mount.get("options", ())):
        name, _, given = option.partition("=")
        if name not in ("idmap", "ridmap"):
            continue
        asked = f"{place}/options/{index}"
        if given and mapped:
            findings.refuse(asked, f"{quote(option)} was found beside uidMappings; one of them would do")
        if not given and not mapped and not user_namespace:
            findings.refuse(
                asked,
                f"{name} was found without mappings or a user namespace; "
                "uidMappings and gidMappings would do",
            )
    options = mount.get("options", ())
    binds = "bind" in options or "rbind" in options or mount.get("type") == "bind"
    if asked and (not binds or "remount" in options):
        findings.refuse(asked, "an idmapped mount was found that isn't a bind mount; a new one would do")


def _mappings(mappings: list[dict[str, int]], place: str, findings: Findings) -> None:
    """The kernel's rules for /proc/PID/uid_map, see user_namespaces(7)."""
    if len(mappings) > MAPPINGS:
        findings.refuse(place, f"{len(mappings)} mappings were found; at most {MAPPINGS} would do")
    for side in ("containerID", "hostID"):
        last, before = -1, 0
        for first, size, index in sorted((entry[side], entry["size"], i) for i, entry in enumerate(mappings)):
            if first + size - 1 > LAST_ID:
                findings.refuse(
                    f"{place}/{index}/size",
                    f"{size} ids from {first} were found; ids up to {LAST_ID} would do",
                )
            if first <= last:
                findings.refuse(
                    f"{place}/{index}/{side}",
                    f"{first} was found, which {place}/{before} maps too; one would do",
                )
            if first + size - 1 > last:
                last, before = first + size - 1, index


def check_mapped(user: dict[str, Any], linux: dict[str, Any], findings: Findings) -> None:
    """Whom the process runs as has to be someone in its user namespace: setresuid(2), setgroups(2)."""
    wanted = [("uidMappings", "uid", user.get("uid", 0)), ("gidMappings", "gid", user.get("gid", 0))]
    wanted += [
        ("gidMappings", f"additionalGids/{index}", gid)
        for index, gid in enumerate(user.get("additionalGids", ()))
    ]
    for name, property, number in wanted:
        ranges = [(entry["containerID"], entry["size"]) for entry in linux.get(name, ())]
        if ranges and not any(first <= number < first + size for first, size in ranges):
            shown = ", ".join(f"{first} to {first + size - 1}" for first, size in ranges[:4] if size)
            findings.refuse(
                f"/process/user/{property}",
                f"{number} was found, which /linux/{name} doesn't map; {shown or 'a mapped one'} would do",
            )


def check_linux(linux: dict[str, Any], namespaces: dict[str, str], findings: Findings) -> None:
    for name in ("uidMappings", "gidMappings"):
        mappings = linux.get(name)
        if mappings:
            if "user" not in namespaces:
                findings.refuse(
                    f"/linux/{name}", "mappings were found without a user namespace; a new one would do"
                )
            _mappings(mappings, f"/linux/{name}", findings)
    if linux.get("timeOffsets") and namespaces.get("time") != "":
        findings.refuse("/linux/timeOffsets", "offsets were found without a new time namespace; one would do")
    _devices(linux.get("devices", ()), findings)
    _net_devices(linux.get("netDevices", {}), namespaces, findings)
    if "intelRdt" in linux:
        _intel_rdt(linux["intelRdt"], findings)
    if "memoryPolicy" in linux:
        _memory_policy(linux["memoryPolicy"], findings)
    for index, flag in enumerate(linux.get("personality", {}).get("flags", ())):
        # config.md#valid-values: what isn't supported is an error
        place = f"/linux/personality/flags/{index}"
        findings.refuse(place, f"{quote(flag)} was found; the specification has no flags yet")


def _devices(devices: list[dict[str, Any]], findings: Findings) -> None:
    seen: dict[str, tuple[int, tuple[Any, ...]]] = {}
    for index, device in enumerate(devices):
        place = f"/linux/devices/{index}"
        path, kind = device["path"], device["type"]
        if path[:1] != "/":
            findings.refuse(f"{place}/path", f"{quote(path)} was found; an absolute path would do")
        for name, most in (("major", MAJORS - 1), ("minor", MINORS - 1)):
            number: Any = device.get(name)
            if kind != "p" and number is None:
                findings.refuse(f"{place}/{name}", f"nothing was found, and a device of type {kind} needs it")
            elif kind != "p" and not 0 <= number <= most:
                findings.refuse(f"{place}/{name}", f"{number} was found; 0 to {most} would do")
        # engines may name a device twice; c and u are the same
        identity = (kind,) if kind == "p" else (kind == "b", device.get("major"), device.get("minor"))
        before, other = seen.setdefault(path, (index, identity))
        if other != identity:
            findings.refuse(
                f"{place}/path", f"{path} was found, where /linux/devices/{before} is; another would do"
            )


def _intel_rdt(section: dict[str, Any], findings: Findings) -> None:
    group = section.get("closID", "")
    # "/" is the default group; the others are directories beside those of the filesystem's own
    if group != "/" and ("/" in group or group in (".", "..", *RESCTRL_OWN)):
        findings.refuse(
            "/linux/intelRdt/closID", f"{quote(group)} was found; the name of a directory, or /, would do"
        )


def _net_devices(devices: dict[str, dict[str, str]], namespaces: dict[str, str], findings: Findings) -> None:
    if devices and "network" not in namespaces:
        findings.refuse(
            "/linux/netDevices", "devices were found without a network namespace; a new one would do"
        )
    seen: dict[str, str] = {}
    for name, device in devices.items():
        where = pointer(["linux", "netDevices", name])
        inside = device.get("name") or name
        for value, place in ((name, where), (inside.replace("%d", "0", 1), f"{where}/name")):
            if not _is_interface(value):
                findings.refuse(
                    place, f'{quote(value)} was found; a name of at most 15 bytes without "/" or ":" would do'
                )
        # eth%d is eth0, or the next that is free
        if seen.setdefault(inside, name) != name and "%d" not in inside:
            findings.refuse(
                f"{where}/name", f"{inside} was found, which {seen[inside]} is called too; another would do"
            )


def _is_interface(name: str) -> bool:
    """The kernel's dev_valid_name, and no colon, which names an alias."""
    return (
        0 < len(name.encode()) < 16
        and name not in (".", "..")
        and not any(c in "/:%" or c.isspace() for c in name)
    )


def _memory_policy(policy: dict[str, Any], findings: Findings) -> None:
    """What set_mempolicy(2) refuses with EINVAL."""
    prefix = "/linux/memoryPolicy"
    mode, nodes, flags = policy["mode"], policy.get("nodes", ""), policy.get("flags", ())
    if mode in NEED_NODES and not nodes:
        findings.refuse(f"{prefix}/nodes", f"no nodes were found; a list like 0-3,7 would do for {mode}")
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        findings.refuse(f"{prefix}/nodes", f"{quote(nodes)} was found; {mode} has none")
    if nodes and not _is_cpu_list(nodes):
        findings.refuse(f"{prefix}/nodes", f"{quote(nodes)} was found; a list like 0-3,7 would do")
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        findings.refuse(
            f"{prefix}/flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES were found; one would do"
        )


def check_resources(resources: dict[str, Any], prefix: str, findings: Findings) -> None:
    block = resources.get("blockIO", {})
    _weights(block, f"{prefix}/blockIO", findings)
    for index, device in enumerate(block.get("weightDevice", ())):
        place = f"{prefix}/blockIO/weightDevice/{index}"
        if "weight" not in device and "leafWeight" not in device:
            findings.refuse(place, "neither weight nor leafWeight was found; one or both would do")
        _weights(device, place, findings)
    for name, limits in resources.get("rdma", {}).items():
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            findings.refuse(
                f"{prefix}{pointer(['rdma', name])}",
                "neither hcaHandles nor hcaObjects was found; one would do",
            )
    for name, value in resources.get("unified", {}).items():
        against, remedy = unified.objection(name, value)
        if against:
            findings.refuse(f"{prefix}{pointer(['unified', name])}", f"{against}; {remedy} would do")


def _weights(holder: dict[str, Any], place: str, findings: Findings) -> None:
    """Of cgroup v1, 10 to 1000; 0 is none, as engines write it."""
    for name in ("weight", "leafWeight"):
        weight = holder.get(name, 0)
        if weight and not 10 <= weight <= 1000:
            findings.refuse(f"{place}/{name}", f"{weight} was found; 10 to 1000 would do")
