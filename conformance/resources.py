"""config-linux.md#control-groups: where the container's cgroup is and what its limits are."""

from __future__ import annotations

import errno
from pathlib import Path

from conformance import cgroups, host
from conformance.harness import Container, World, refused, succeeds
from conformance.registry import SHOULD, Skip, check, equal, requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "config-linux.md#cgroups-path"
MEMORY = "config-linux.md#memory"
CPU = "config-linux.md#cpu"
DEVICES = "config-linux.md#allowed-device-list"


def created_with(world: World, **resources: Any) -> Container:
    """A created container with these resources (and the default list of devices, unless given)."""
    container = world.container()
    container.config["linux"]["resources"].update(resources)
    return container.created()


def limit_is(container: Container, name: str, *expected: str) -> None:
    """The process's limit has one of the values; skipped where the machine hasn't the limit."""
    value = cgroups.limit(container.pid, name)
    if value is None:
        raise Skip(f"no hierarchy of this machine has {name}")
    check(value in expected, f"{name}: expected {' or '.join(expected)}, found {value}")


# ---------------------------------------------------------------- where


@requirement(PATH)
def cgroups_path_absolute_is_below_the_mount(world: World) -> None:
    """An absolute cgroupsPath is relative to the hierarchies' mount points."""
    container = world.container()
    container.config["linux"]["cgroupsPath"] = f"/{container.id}"
    container.created()
    own = cgroups.paths("self")
    wrong = {
        controller: path
        for controller, path in cgroups.paths(container.pid).items()
        # A hierarchy that the runtime doesn't use leaves the process where its caller was.
        if path not in (f"/{container.id}", own.get(controller))
    }
    equal(wrong, {}, "other cgroups")
    check(cgroups.named(container.id), "there is no cgroup of the name")


@requirement(PATH)
def cgroups_path_is_consistent(world: World) -> None:
    """The same cgroupsPath leads to the same place each time."""
    container = world.container()
    container.config["linux"]["cgroupsPath"] = f"/{container.id}"
    places = []
    for _ in range(2):
        container.created()
        places.append(cgroups.paths(container.pid))
        container.remove()
        refused(container.query(), "the container was deleted")
    equal(places[0], places[1], "cgroups of two containers with one cgroupsPath")


@requirement(PATH)
def cgroup_is_made_and_removed(world: World) -> None:
    """The cgroup is made if it doesn't exist, and removed with the container."""
    container = world.container().created()
    check(cgroups.named(container.id), "create made no cgroup")
    succeeds(container.kill("KILL"))
    container.wait()
    succeeds(container.delete())
    equal(cgroups.named(container.id), [], "cgroups after delete")


@requirement(PATH, SHOULD)
def cgroup_without_a_path_is_the_containers_own(world: World) -> None:
    """Without cgroupsPath the container still has a cgroup of its own."""
    container = world.container()
    del container.config["linux"]["cgroupsPath"]
    container.created()
    check(cgroups.named(container.id), "no cgroup is named after the container")


@requirement(
    "config-linux.md#control-groups",
    SHOULD,
    deviations={
        "runc": "1.1.5 only warns; 1.2 refuses",
        "crun": "1.8.1 takes it",
    },
)
def cgroup_that_is_not_empty_is_an_error(world: World) -> None:
    """A cgroup with other processes in it is not fit for a new container."""
    first = world.container().holding()
    second = world.container()
    second.config["linux"]["cgroupsPath"] = first.config["linux"]["cgroupsPath"]
    refused(second.create(), "the cgroup is another container's")
    equal(first.status(), "running", "status of the container whose cgroup it is")
    check(cgroups.named(first.id), "the other container's cgroup was removed")


@requirement("config-linux.md#namespaces")
def cgroup_namespace_hides_the_path(world: World) -> None:
    """In a cgroup namespace of its own, the container's cgroup is the root."""
    container = world.container()
    container.config["linux"]["namespaces"].append({"type": "cgroup"})
    lines = container.view()["cgroup"].splitlines()
    check(not [line for line in lines if container.id in line], f"the path can be seen: {lines}")
    check(any(line.endswith(":/") for line in lines), f"no cgroup is the root: {lines}")


# ---------------------------------------------------------------- memory


@requirement(MEMORY)
def memory_limit_is_set(world: World) -> None:
    """`limit` is the memory limit in bytes."""
    limit_is(created_with(world, memory={"limit": 64 << 20}), "memory.limit", str(64 << 20))


@requirement(MEMORY)
def memory_reservation_is_set(world: World) -> None:
    """`reservation` is the soft limit in bytes."""
    container = created_with(world, memory={"limit": 64 << 20, "reservation": 32 << 20})
    limit_is(container, "memory.reservation", str(32 << 20))


@requirement(MEMORY)
def memory_swap_is_set(world: World) -> None:
    """`swap` is the limit of memory and swap together."""
    container = created_with(world, memory={"limit": 64 << 20, "swap": 96 << 20})
    # Version 2 has a limit of swap alone.
    expected = 96 << 20 if "memory" in cgroups.hierarchies() else 32 << 20
    limit_is(container, "memory.swap", str(expected))


@requirement(MEMORY)
def memory_unlimited_is_set(world: World) -> None:
    """-1 is no limit."""
    unlimited = str((1 << 63) - 4096)
    limit_is(created_with(world, memory={"limit": -1}), "memory.limit", unlimited, "max")


@requirement(MEMORY)
def memory_swappiness_is_set(world: World) -> None:
    """`swappiness` is the cgroup's."""
    limit_is(created_with(world, memory={"swappiness": 7}), "memory.swappiness", "7")


@requirement(MEMORY)
def memory_oom_killer_is_disabled(world: World) -> None:
    """`disableOOMKiller` is the cgroup's."""
    container = created_with(world, memory={"disableOOMKiller": True})
    value = cgroups.limit(container.pid, "memory.disableOOMKiller")
    if value is None:
        raise Skip("no hierarchy of this machine can disable the OOM killer")
    check("oom_kill_disable 1" in value.splitlines(), f"memory.oom_control: {value!r}")


@requirement(MEMORY, SHOULD)
def memory_limit_too_small_is_an_error(world: World) -> None:
    """A limit no process can live in is an error, and nothing is left."""
    container = world.container()
    container.config["linux"]["resources"]["memory"] = {"limit": 4096}
    done = container.create()
    if done.ok:
        done = container.start()
    refused(done, "the limit is 4096 bytes")
    container.remove()


# ---------------------------------------------------------------- cpu, pids


@requirement(CPU)
def cpu_shares_are_set(world: World) -> None:
    """`shares` is the relative weight of the cgroup."""
    limit_is(created_with(world, cpu={"shares": 512}), "cpu.shares", "512")


@requirement(CPU)
def cpu_quota_and_period_are_set(world: World) -> None:
    """`quota` and `period` are the cgroup's, in microseconds."""
    container = created_with(world, cpu={"quota": 20000, "period": 50000})
    limit_is(container, "cpu.quota", "20000")
    limit_is(container, "cpu.period", "50000")


@requirement(
    CPU,
    deviations={
        "crun": "1.8.1 writes -1 as an unsigned number",
    },
)
def cpu_quota_without_limit_is_set(world: World) -> None:
    """A quota of -1 is no limit."""
    limit_is(created_with(world, cpu={"quota": -1}), "cpu.quota", "-1", "max")


@requirement(CPU)
def cpu_sets_are_set(world: World) -> None:
    """`cpus` and `mems` are the processors and memory nodes of the container."""
    container = created_with(world, cpu={"cpus": "0", "mems": "0"})
    limit_is(container, "cpu.cpus", "0")
    limit_is(container, "cpu.mems", "0")
    container.remove()
    container = world.container()
    container.config["linux"]["resources"]["cpu"] = {"cpus": "0"}
    equal(container.view()["affinity"], [0], "processors the program may run on")


@requirement(
    CPU,
    deviations={
        "crun": "1.8.1 leaves the cgroups behind",
    },
)
def cpu_set_of_no_processor_is_an_error(world: World) -> None:
    """Processors the machine hasn't are an error, and nothing is left."""
    if cgroups.directory("self", "cpuset") is None:
        raise Skip("no hierarchy of this machine has cpuset")
    container = world.container()
    container.config["linux"]["resources"]["cpu"] = {"cpus": "4095"}
    refused(container.create(), "there is no processor 4095")
    equal(world.leftovers(), [], "left behind")


@requirement(
    "config-linux.md#pids",
    deviations={
        "crun": "1.8.1 writes -1 as a number, which version 1 refuses",
    },
)
def pids_limit_is_set(world: World) -> None:
    """`limit` is the greatest number of tasks, `-1` any number."""
    limit_is(created_with(world, pids={"limit": 123}), "pids.limit", "123")
    limit_is(created_with(world, pids={"limit": -1}), "pids.limit", "max")


@requirement("config-linux.md#control-groups")
def limits_hold_from_the_first_moment(world: World) -> None:
    """Every process of the container is in its cgroups, children included."""
    container = world.container().holding("--fork")
    for pid in host.descendants(container.pid):
        equal(cgroups.paths(pid), cgroups.paths(container.pid), f"cgroups of child {pid}")


# ---------------------------------------------------------------- devices


def access(world: World, rules: list[dict[str, Any]], *devices: str) -> dict[str, dict[str, int]]:
    """What the container may do with device nodes under a list of rules: errno of mknod, read and write."""
    container = world.container()
    config = container.config
    config["linux"]["resources"]["devices"] = rules
    for names in config["process"]["capabilities"].values():
        names.append("CAP_MKNOD")
    config["process"]["cwd"] = "/work"
    found = container.view(*(word for device in devices for word in ("--device", device)))["device_access"]
    return dict(found)


DENY_ALL = {"allow": False, "access": "rwm"}
# Neither is among the default devices. Opened without a driver they fail too, but not with EPERM.
FUSE, LOOP = "c:10:229", "b:7:0"


@requirement(DEVICES)
def devices_denied_cannot_be_used(world: World) -> None:
    """A device that no rule allows can be neither made nor opened."""
    found = access(world, [DENY_ALL], LOOP)
    check(errno.EPERM in found[LOOP].values(), f"{LOOP}: {found[LOOP]}")


@requirement(DEVICES)
def devices_allowed_can_be_used(world: World) -> None:
    """A device that a rule allows can be made and opened, as far as its `access` goes."""
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    found = access(world, [DENY_ALL, rule], FUSE)
    check(errno.EPERM not in found[FUSE].values(), f"{FUSE} with access rwm: {found[FUSE]}")
    rule["access"] = "rm"
    found = access(world, [DENY_ALL, rule], FUSE)
    denied = [key for key, value in found[FUSE].items() if value == errno.EPERM]
    equal(denied, ["write_errno"], "what is denied with access rm")


@requirement(DEVICES)
def devices_rules_apply_in_order(world: World) -> None:
    """Rules apply in the listed order: a later one takes back what an earlier one gave."""
    allow = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    deny = {**allow, "allow": False}
    found = access(world, [DENY_ALL, deny, allow], FUSE)[FUSE]
    check(errno.EPERM not in found.values(), f"when allowed last: {found}")
    for last in (deny, DENY_ALL):
        found = access(world, [DENY_ALL, allow, last], FUSE)[FUSE]
        check(errno.EPERM in found.values(), f"when denied last: {found}")


@requirement(DEVICES)
def devices_default_ones_stay_allowed(world: World) -> None:
    """The default devices can be used, whatever the rules."""
    found = access(world, [DENY_ALL], "c:1:3", "c:1:5", "c:1:9")
    for device in found:
        equal(
            (found[device].get("read_errno"), found[device].get("write_errno")), (0, 0), f"errnos of {device}"
        )


@requirement(DEVICES)
def devices_wildcards_are_all(world: World) -> None:
    """A rule without a minor number is for all of the major's."""
    rule = {"allow": True, "type": "c", "major": 10, "access": "rw"}
    container_rules = [DENY_ALL, rule, {"allow": True, "type": "c", "access": "m"}]
    found = access(world, container_rules, FUSE)[FUSE]
    check(errno.EPERM not in found.values(), f"one of them: {found}")


# ---------------------------------------------------------------- block devices, version 2's own files


@requirement("config-linux.md#block-io")
def block_io_throttle_is_set(world: World) -> None:
    """Throttle rates are those of the block device with the given numbers."""
    disk = next((path for path in sorted(Path("/sys/block").iterdir()) if (path / "device").exists()), None)
    controller = next((name for name in ("blkio", "io") if cgroups.directory("self", name)), None)
    if disk is None or controller is None:
        raise Skip("there is no disk, or no hierarchy with blkio or io, on this machine")
    numbers = (disk / "dev").read_text().strip()
    major, minor = map(int, numbers.split(":"))
    rate = {"major": major, "minor": minor, "rate": 1 << 20}
    container = created_with(world, blockIO={"throttleReadBpsDevice": [rate]})
    found = cgroups.directory(container.pid, controller)
    assert found is not None
    name, expected = {
        "blkio": ("blkio.throttle.read_bps_device", f"{numbers} {1 << 20}"),
        "io": ("io.max", f"{numbers} rbps={1 << 20}"),
    }[controller]
    text = (found / name).read_text()
    check(expected in text, f"{name}: expected {expected!r}, found {text!r}")


@requirement("config-linux.md#unified", deviations={"crun": "1.8.1 leaves the cgroups behind"})
def unified_of_an_absent_controller_is_an_error(world: World) -> None:
    """A file of a controller that version 2 hasn't here is an error, and nothing is left."""
    container = world.container()
    container.config["linux"]["resources"]["unified"] = {"nosuchcontroller.max": "1"}
    refused(container.create(), "there is no such controller")
    equal(world.leftovers(), [], "left behind")


# ---------------------------------------------------------------- errors


@requirement(
    "config-linux.md#control-groups",
    deviations={
        "crun": "1.8.1 leaves the cgroups behind",
    },
)
def invalid_resource_is_an_error(world: World) -> None:
    """A limit the kernel refuses makes `create` fail, and nothing is left."""
    if "cpu" not in cgroups.hierarchies() and cgroups.directory("self", "cpu") is None:
        raise Skip("no hierarchy of this machine has cpu")
    container = world.container()
    container.config["linux"]["resources"]["cpu"] = {"period": 1}
    refused(container.create(), "the kernel takes no period of 1 microsecond")
    equal(world.leftovers(), [], "left behind")
    check(not Path(f"/sys/fs/cgroup/cpu/{container.id}").exists(), "the cgroup is still there")
