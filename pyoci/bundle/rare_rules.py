"""The rules for parts of config.json that few containers have, kept out of the others' start-up."""

from __future__ import annotations

from pyoci.bundle.document import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.bundle.rules import Violations

LAST_ID = 2**32 - 2
MAJORS, MINORS = 1 << 12, 1 << 20  # of the kernel's dev_t
MAPPINGS = 340  # lines the kernel takes: UID_GID_MAP_MAX_EXTENTS
NEED_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")


def check_process(process: dict[str, Any], prefix: str, wrong: Violations) -> None:
    if "scheduler" in process:
        _scheduler(process["scheduler"], f"{prefix}/scheduler", wrong)
    priority = process.get("ioPriority", {}).get("priority", 0)
    if not 0 <= priority <= 7:
        wrong.append((f"{prefix}/ioPriority/priority", f"{priority} was found; 0 to 7 would do"))
    for name, cpus in process.get("execCPUAffinity", {}).items():
        if name in ("initial", "final") and not _is_cpu_list(cpus):
            wrong.append((f"{prefix}/execCPUAffinity/{name}", f'"{cpus}" was found; a list like 0-3,7 would do'))


def _scheduler(scheduler: dict[str, Any], prefix: str, wrong: Violations) -> None:
    """The arguments of sched_setattr(2) that go together."""
    policy, nice, priority = scheduler["policy"], scheduler.get("nice", 0), scheduler.get("priority", 0)
    if not -20 <= nice <= 19:
        wrong.append((f"{prefix}/nice", f"{nice} was found; -20 to 19 would do"))
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            wrong.append((f"{prefix}/priority", f"{priority} was found; 1 to 99 would do for {policy}"))
    elif priority:
        wrong.append((f"{prefix}/priority", f"{priority} was found; only SCHED_FIFO and SCHED_RR have one"))
    if policy == "SCHED_DEADLINE":
        runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
        period = scheduler.get("period", 0) or deadline
        if not 0 < runtime <= deadline <= period:
            wrong.append((prefix, "runtime, deadline and period in this order would do, from above 0 upwards"))
    else:
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                wrong.append((f"{prefix}/{name}", f"it was found beside {policy}; only SCHED_DEADLINE has one"))


def _is_cpu_list(text: str) -> bool:
    """Whether it is like "0-3, 7", as runc reads it."""
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not (last.isdigit() and int(first) <= int(last))):
            return False
    return True


def check_mappings(mappings: list[dict[str, int]], prefix: str, wrong: Violations) -> None:
    """The kernel's rules for /proc/PID/uid_map, see user_namespaces(7)."""
    if len(mappings) > MAPPINGS:
        wrong.append((prefix, f"{len(mappings)} mappings were found; at most {MAPPINGS} would do"))
    for side in ("containerID", "hostID"):
        end, before = -1, 0
        for first, size, index in sorted((entry[side], entry["size"], i) for i, entry in enumerate(mappings)):
            if first + size - 1 > LAST_ID:
                wrong.append((f"{prefix}/{index}/size", f"{size} ids from {first} were found; up to {LAST_ID} would do"))
            if first <= end:
                wrong.append(
                    (f"{prefix}/{index}/{side}", f"{first} was found; an id outside {prefix}/{before}'s range would do")
                )
            if first + size - 1 > end:
                end, before = first + size - 1, index


def check_linux(
    linux: dict[str, Any], namespaces: dict[str, str], wrong: Violations, warnings: list[str]
) -> None:
    for kind in ("uidMappings", "gidMappings"):
        mappings = linux.get(kind)
        if mappings:
            if "user" not in namespaces:
                wrong.append((f"/linux/{kind}", "it was found without a user namespace; a new one would do"))
            check_mappings(mappings, f"/linux/{kind}", wrong)
    if linux.get("timeOffsets") and namespaces.get("time") != "":
        wrong.append(("/linux/timeOffsets", "it was found without a new time namespace; one would do"))
    _devices(linux.get("devices", ()), wrong)
    _net_devices(linux.get("netDevices", {}), namespaces, wrong)
    group = linux.get("intelRdt", {}).get("closID", "")
    if "/" in group or group in (".", ".."):
        wrong.append(("/linux/intelRdt/closID", f'"{group}" was found; the name of a directory would do'))
    if "memoryPolicy" in linux:
        _memory_policy(linux["memoryPolicy"], wrong)
    if linux.get("personality", {}).get("flags"):
        warnings.append("/linux/personality/flags: none is defined yet, so they are ignored")


def _devices(devices: list[dict[str, Any]], wrong: Violations) -> None:
    seen: dict[str, tuple[int, tuple[Any, ...]]] = {}
    for index, device in enumerate(devices):
        prefix = f"/linux/devices/{index}"
        path = device["path"]
        if path[:1] != "/":
            wrong.append((f"{prefix}/path", f'"{path}" was found; an absolute path would do'))
        if device["type"] != "p":
            for name, most in (("major", MAJORS), ("minor", MINORS)):
                if name not in device:
                    wrong.append((f"{prefix}/{name}", f"nothing was found, and a device of type {device['type']} has one"))
                elif not 0 <= device[name] < most:
                    wrong.append((f"{prefix}/{name}", f"{device[name]} was found; 0 to {most - 1} would do"))
        identity = (device["type"] == "b", device["type"] == "p", device.get("major"), device.get("minor"))
        before, other = seen.setdefault(path, (index, identity))
        if other != identity:
            wrong.append(
                (f"{prefix}/path", f"{path} was found, where /linux/devices/{before} puts another device; one would do")
            )


def _net_devices(devices: dict[str, dict[str, str]], namespaces: dict[str, str], wrong: Violations) -> None:
    if devices and "network" not in namespaces:
        wrong.append(("/linux/netDevices", "it was found without a network namespace; one would do"))
    seen: dict[str, str] = {}
    for name, device in devices.items():
        where = pointer(["linux", "netDevices", name])
        inside = device.get("name") or name
        for value, place in ((name, where), (inside, f"{where}/name")):
            if not _is_interface(value):
                wrong.append((place, f'"{value}" was found; a name of at most 15 bytes without "/" or ":" would do'))
        if seen.setdefault(inside, name) != name:
            wrong.append((f"{where}/name", f"{inside} was found, which {seen[inside]} is called too; another would do"))


def _is_interface(name: str) -> bool:
    """The kernel's dev_valid_name, and no colon, which names an alias."""
    return (
        0 < len(name.encode()) < 16 and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)
    )


def _memory_policy(policy: dict[str, Any], wrong: Violations) -> None:
    """What set_mempolicy(2) refuses with EINVAL."""
    prefix = "/linux/memoryPolicy"
    mode, nodes, flags = policy["mode"], policy.get("nodes", ""), policy.get("flags", ())
    if mode in NEED_NODES and not nodes:
        wrong.append((f"{prefix}/nodes", f"no nodes were found; a list like 0-3,7 would do for {mode}"))
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        wrong.append((f"{prefix}/nodes", f'"{nodes}" was found; {mode} has none'))
    if nodes and not _is_cpu_list(nodes):
        wrong.append((f"{prefix}/nodes", f'"{nodes}" was found; a list like 0-3,7 would do'))
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        wrong.append((f"{prefix}/flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES were found; one would do"))


def check_resources(resources: dict[str, Any], prefix: str, wrong: Violations) -> None:
    block = resources.get("blockIO", {})
    weights = [(f"{prefix}/blockIO", block)]
    for index, device in enumerate(block.get("weightDevice", ())):
        weights.append((f"{prefix}/blockIO/weightDevice/{index}", device))
        if "weight" not in device and "leafWeight" not in device:
            wrong.append((weights[-1][0], "neither weight nor leafWeight was found; one or both would do"))
    for place, holder in weights:
        for name in ("weight", "leafWeight"):
            if holder.get(name) and not 10 <= holder[name] <= 1000:
                wrong.append((f"{place}/{name}", f"{holder[name]} was found; 10 to 1000 would do"))
    for name, limits in resources.get("rdma", {}).items():
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            wrong.append(
                (f"{prefix}{pointer(['rdma', name])}", "neither hcaHandles nor hcaObjects was found; one would do")
            )
    for key in resources.get("unified", {}):
        if "/" in key or "." not in key.strip("."):
            wrong.append(
                (f"{prefix}{pointer(['unified', key])}", "a file of the cgroup's like memory.high would do")
            )
