"""Compiling who the process is and what it may do: limits, user, groups, capabilities, directory."""

from __future__ import annotations

from pyoci.plan import steps
from pyoci.plan.capabilities import CapabilitySets, compile_capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.situation import Situation
    from pyoci.plan.steps import Step

# setrlimit(2), the generic numbers of x86 and arm
RLIMITS = (
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
    "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
)  # fmt: skip
# Where the kernel looks when the environment names no PATH: what execvp(3) and runc use.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def rlimit_values(process: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    """(index in the config, resource number, soft, hard) of each limit, -1 for infinity."""
    return [
        (index, RLIMITS.index(limit["type"]), _signed(limit["soft"]), _signed(limit["hard"]))
        for index, limit in enumerate(process.get("rlimits") or ())
    ]


def _signed(value: int) -> int:
    """An unsigned 64-bit number as the same bits with a sign: RLIM_INFINITY is -1."""
    return value - (1 << 64) if value >= 1 << 63 else value


def compile_directory(process: dict[str, Any], pointer: str) -> list[Step]:
    """The working directory, and the program as found from there, before anyone says start."""
    environment = process.get("env") or ()
    search = DEFAULT_PATH
    for entry in environment:
        if entry.startswith("PATH="):
            search = entry[5:]
    name = process["args"][0]
    return [
        steps.enter_directory(pointer + "/cwd", path=process["cwd"], final=0),
        steps.find_program(
            pointer + "/args/0", name=name, search=[part or "." for part in search.split(":")]
        ),
    ]


def compile_identity(
    process: dict[str, Any], situation: Situation, pointer: str, *, limits: bool
) -> list[Step]:
    """From root with everything to the user with what is granted. `limits`: set the resource limits
    here, else the runtime does it from outside."""
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    here = pointer + "/user"
    plan: list[Step] = [
        steps.own_null(pointer),
        steps.close_descriptors(pointer, first=3 + situation.preserve),
        steps.umask(here + "/umask", mask=user.get("umask", 0o022)),
    ]
    if limits:
        for index, resource, soft, hard in rlimit_values(process):
            plan.append(steps.rlimit(f"{pointer}/rlimits/{index}", resource=resource, soft=soft, hard=hard))
    if uid != 0:
        plan.append(steps.stdio_owner(here, uid=uid))
    capabilities = process.get("capabilities")
    sets = CapabilitySets()
    if capabilities:
        sets = compile_capabilities(capabilities, situation, pointer + "/capabilities")
    privileges = _privileges(process, situation, pointer, sets)
    plan += privileges[0]
    plan.append(steps.bounding_set(pointer + "/capabilities/bounding", mask=sets.bounding))
    plan.append(steps.keep_capabilities(pointer + "/capabilities", value=1))
    plan += _user(user, uid, gid, here, situation)
    plan.append(steps.keep_capabilities(pointer + "/capabilities", value=0))
    plan.append(
        steps.capabilities(
            pointer + "/capabilities", effective=sets.effective, permitted=sets.permitted,
            inheritable=sets.inheritable,
        )
    )  # fmt: skip
    plan.append(steps.ambient_set(pointer + "/capabilities/ambient", mask=sets.ambient))
    plan.append(steps.enter_directory(pointer + "/cwd", path=process["cwd"], final=1))
    plan += privileges[1]
    return plan


def _user(user: dict[str, Any], uid: int, gid: int, here: str, situation: Situation) -> list[Step]:
    gids = user.get("additionalGids")
    pointer = here + "/additionalGids" if gids else here
    become = steps.user(here, uid=uid, gid=gid)
    if not gids and not situation.set_groups:
        return [become]  # the caller's groups can't be dropped; none can be asked for either
    return [steps.groups(pointer, gids=gids or []), become]


def _privileges(
    process: dict[str, Any], situation: Situation, pointer: str, sets: CapabilitySets
) -> tuple[list[Step], list[Step]]:
    """(early, late): a filter may be loaded by who has CAP_SYS_ADMIN or has given up new privileges
    (seccomp(2)): without noNewPrivileges that is before the capabilities go, which the filter then
    has to allow; with it, as late as can be."""
    early: list[Step] = []
    late: list[Step] = []
    # AppArmor takes commands there, SELinux nothing but a label.
    for lsm, key, command in (("apparmor", "apparmorProfile", "exec "), ("selinux", "selinuxLabel", "")):
        if process.get(key):
            value = command + process[key]
            early.append(steps.label_process(f"{pointer}/{key}", lsm=lsm, attribute="exec", value=value))
    if process.get("noNewPrivileges"):
        early.append(steps.no_new_privileges(pointer + "/noNewPrivileges"))
    if situation.filter:
        load = steps.seccomp(situation.filter_pointer, filter=situation.filter, flags=situation.filter_flags)
        (late if process.get("noNewPrivileges") else early).append(load)
    return early, late


def compile_execute(process: dict[str, Any], situation: Situation, pointer: str) -> Step:
    """The last step: the program with its arguments and environment (config.md#process)."""
    environment = list(process.get("env") or ())
    if situation.listening:
        # It is about the caller's sockets, whatever the configuration says of others.
        environment = [entry for entry in environment if not entry.startswith("LISTEN_")]
        environment += situation.listening
    home_of = (process.get("user") or {}).get("uid", 0)
    if any(entry.startswith("HOME=") for entry in environment):
        home_of = -1
    return steps.execute(
        pointer + "/args", argv=process["args"], env=environment, home_of=home_of,
        listening=int(bool(situation.listening)),
    )  # fmt: skip
