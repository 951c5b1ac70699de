"""What a failure in the container is told as: the property, what the kernel said, and what would do.

The executor reports a step's number, an errno and a few words. Here that becomes an Error: the pointer
narrowed to the part of the property that was refused, and for what people meet most, the remedy.
"""

from __future__ import annotations

import os
from errno import (
    E2BIG,
    EACCES,
    EBUSY,
    EDQUOT,
    EINVAL,
    EISDIR,
    ELOOP,
    ENODEV,
    ENOENT,
    ENOEXEC,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
)

from pyoci.errors import Error
from pyoci.plan import steps
from pyoci.plan.explain import sentence
from pyoci.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.lifecycle.init import Report
    from pyoci.lifecycle.store import Container
    from pyoci.plan.steps import Step

_LONGEST = 200  # characters of one argument in a message
_LONGEST_SAID = 300  # and of what the executor says, which quotes the kernel
_CODES = {
    EACCES: "permission",
    EPERM: "permission",
    EROFS: "permission",
    ENOENT: "not-found",
    ENOSYS: "not-supported",
    EOPNOTSUPP: "not-supported",
    ENODEV: "not-supported",
}


def failed_step(plan: Plan, report: Report, pid: int) -> Error:
    """The Error for a step that failed in process `pid`, which is still there to be looked at."""
    step = plan.steps[report.step]
    if report.error in (ENOMEM, E2BIG):
        from pyoci.lifecycle import shortage

        if short := shortage.behind(step, report.error, pid, f"can't {sentence(step, _LONGEST)}"):
            return short
    if step.op in ("find_program", "execute"):
        return _no_program(plan, step, report, pid)
    said = " ".join(report.text.split())[:_LONGEST_SAID]
    why = _refused_mount(plan, step, said, report.error, pid)
    parts = [f"can't {sentence(step, _LONGEST)}", why or said]
    if report.error:
        parts.append(os.strerror(report.error).lower())
    return Error(
        ": ".join(filter(None, parts)),
        code=_CODES.get(report.error, "kernel"),
        pointer=_pointer(step, said),
        errno=report.error,
        hint=_hint(plan, step, said, report.error),
    )


def _refused_mount(plan: Plan, step: Step, said: str, error: int, pid: int) -> str:
    """More than EPERM tells of a mount that a user namespace may not have; "" where that is all."""
    changes = said.startswith(("mount_setattr", "mount: remount"))
    new = step.op == "mount_filesystem" and str(step.args[0]) in ("proc", "sysfs")
    if not changes and not (new and error == EPERM and said.startswith(("fsmount", "mount"))):
        return ""
    from pyoci.host import diagnose_mounts
    from pyoci.plan.steps import TABLE

    args: dict[str, Any] = dict(zip(TABLE[step.op][2], step.args, strict=True))
    change = args.get("set", 0), args.get("clear", 0)
    below = args.get("rset", 0), args.get("rclear", 0)
    if step.op == "tree_attributes":
        change, below = (0, 0), change
    try:
        if new and not changes:
            return f"{said}: {diagnose_mounts.covered(pid, args['type'])}"
        path = args.get("source") or _root(plan) + args.get("target", "")
        found = diagnose_mounts.locking(pid, path, change, below) if error == EPERM else ""
    except OSError:
        found = ""  # the process is gone
    sets = diagnose_mounts.names(change[0] | below[0])
    clears = diagnose_mounts.names(change[1] | below[1])
    asked = [words for words in (sets and f"set {sets}", clears and f"clear {clears}") if words]
    return ": ".join(filter(None, ("mount_setattr", ", ".join(asked), found))) if asked else ""


def _root(plan: Plan) -> str:
    return next((str(step.args[0]) for step in plan.steps if step.op == "open_root"), "")


# What the executor's words begin with, when it is this part of a mount that was refused
_PARTS = {
    "mount_filesystem": (
        ("fsopen", "/type"),
        ("fsconfig create", ""),
        ("fsconfig source", "/source"),
        ("fsconfig", "/options"),
        ("copy", "/options"),
        ("open_tree", ""),
        ("open", "/destination"),
        ("the target", "/destination"),
    ),
    "mount_bind": (
        ("open_tree", "/source"),
        ("mount_setattr", "/options"),
        ("open", "/destination"),
        ("the source is", "/destination"),
        ("the target", "/destination"),
    ),
    "unmount": (("", "/destination"),),
    "remount": (
        ("fspick", "/destination"),
        ("open", "/destination"),
        ("fsconfig", "/options"),
        ("mount_setattr", "/options"),
    ),
    "tree_attributes": (("mount_setattr", "/options"), ("open", "/destination")),
}


def _pointer(step: Step, said: str) -> str:
    if step.pointer.startswith("/mounts/"):
        for words, part in _PARTS.get(step.op, ()):
            if said.startswith(words):
                return step.pointer + part
    return step.pointer


def _hint(plan: Plan, step: Step, said: str, error: int) -> str:
    """What would do; "" where that can't be known."""
    hint = _HINTS.get((step.op, error), "")
    return hint if isinstance(hint, str) else hint(plan, step, said)


def _in_user_namespace(plan: Plan) -> bool:
    from pyoci.host.privileges import in_initial_user_namespace

    return not in_initial_user_namespace() or any(
        step.pointer == "/linux/uidMappings"
        or "namespace:user" in step.args
        or (step.op == "user" and step.pointer == "/linux/namespaces")
        for step in plan.steps
    )


def _wrong_namespace(plan: Plan, step: Step, said: str) -> str:
    path = plan.descriptors.get(str(step.args[0]), "")
    try:
        found = os.readlink(path)
    except OSError:
        found = ""  # not one of /proc's links but something bound to a name, as of ip-netns(8)
    kind = sentence(step).split()[2]
    return f"{path} is {found or 'something else'}, not a namespace of type {kind}"


def _no_rights_to_root(plan: Plan, step: Step, said: str) -> str:
    if not _in_user_namespace(plan):
        return ""
    return "the container's root, as a user of the host, must be able to search every directory on the way"


def _not_makeable(plan: Plan, step: Step, said: str) -> str:
    if not _in_user_namespace(plan) or not said.startswith("open "):
        return ""
    return "the container's root may not make it there: make it, or give it a root filesystem of its own"


def _not_mountable(plan: Plan, step: Step, said: str) -> str:
    kind = str(step.args[0])
    if not _in_user_namespace(plan) or said.startswith("copy"):
        return ""
    if kind == "proc" and said.startswith("fsmount"):
        return "the kernel shows a user namespace no more of it: bind /proc, with rbind"
    if kind == "proc":
        return "in a user namespace proc needs a new pid namespace; else bind /proc"
    return "of few filesystems the kernel lets a user namespace have its own: tmpfs, proc, overlay, fuse"


def _on_root(plan: Plan, step: Step, said: str) -> str:
    if said.startswith("the target is"):
        return "what is there is root.path, before all mounts: change that, or mount below it"
    return _wrong_options(plan, step, said)


def _not_bindable(plan: Plan, step: Step, said: str) -> str:
    if said.startswith("open_tree"):
        return "an unbindable mount, or one of another mount namespace, can't be bound"
    return _on_root(plan, step, said)


def no_source(path: str) -> str:
    """Why the source of a bind mount isn't there."""
    from pyoci.host.diagnose_mounts import unreachable

    found = unreachable(path)
    return "a bind mount's source must exist on the host" + (found and f": {found}")


def _no_source(plan: Plan, step: Step, said: str) -> str:
    return no_source(str(step.args[0])) if said.startswith(("open_tree", "readlink")) else ""


def _no_path(plan: Plan, step: Step, said: str) -> str:
    """Which part isn't there of a path among a filesystem's options, as of overlay, or of its device's."""
    from pyoci.host.diagnose_mounts import unreachable

    option = said.removeprefix("fsconfig ").partition(":")[0].partition("=")[2]
    path = option or str(step.args[1])
    return unreachable(path) if path.startswith("/") else ""


def _other_kind(plan: Plan, step: Step, said: str) -> str:
    if said.startswith("open_tree"):
        return no_source(str(step.args[0]))
    return "bind a directory on a directory, a file on a file"


def _locked(plan: Plan, step: Step, said: str) -> str:
    if not said.startswith(("mount_setattr", "mount: remount")):
        return ""
    return "a user namespace keeps what it was given: leave the option out, or mount the source that way"


def _not_bindable_by_user(plan: Plan, step: Step, said: str) -> str:
    if said.startswith("open_tree"):
        return _no_rights_to_root(plan, step, said)
    return _not_makeable(plan, step, said)


def _too_small(plan: Plan, step: Step, said: str) -> str:
    if not said.startswith("copy"):
        return ""
    return "tmpcopyup needs room for all that the mount covers: raise the option size"


def _wrong_options(plan: Plan, step: Step, said: str) -> str:
    if "nknown parameter" in said:
        return "pyoci features lists the options that belong to no filesystem"
    options = step.args[3] if step.op == "mount_filesystem" else ()
    label = next((option for option in options if "context=" in option), "")  # type: ignore[attr-defined]
    return f"SELinux's policy must know {label}" if label else ""


def _too_high(step: Step) -> str:
    resource, _, hard = step.args
    if resource == 7:  # RLIMIT_NOFILE
        with open("/proc/sys/fs/nr_open") as file:
            most = int(file.read())
        if not isinstance(hard, int) or hard > most or hard < 0:
            return f"the host's fs.nr_open allows at most {most}"
    return "raising a hard limit needs CAP_SYS_RESOURCE"


def refused_limit(pointer: str, resource: int, soft: int, hard: int, error: int) -> Error:
    """The Error for a resource limit that the runtime could not set from outside."""
    return refused_step(steps.rlimit(pointer, resource=resource, soft=soft, hard=hard), error)


def refused_step(step: Step, error: int) -> Error:
    """The Error for what a step does, when it was the runtime that did it, from outside."""
    return Error(
        f"can't {sentence(step)}: {os.strerror(error).lower()}",
        code=_CODES.get(error, "kernel"),
        pointer=step.pointer,
        errno=error,
        hint=_hint(Plan(), step, "", error),
    )


def _not_mapped(what: str) -> Callable[[Plan, Step, str], str]:
    def hint(plan: Plan, step: Step, said: str) -> str:
        return f"{what} must be in the user namespace's mappings" if _in_user_namespace(plan) else ""

    return hint


def _no_filter(plan: Plan, step: Step, said: str) -> str:
    if step.pointer.startswith("/annotations/"):
        return "the program has to be one that seccomp(2) takes: the kernel's checker finds fault with it"
    return "pyoci features says which flags this kernel supports"


def _no_label(plan: Plan, step: Step, said: str) -> str:
    if str(step.args[0]) != "apparmor":
        return "the policy must know this label"
    return f"load a profile named {str(step.args[2]).removeprefix('exec ')}"


def _links(plan: Plan, step: Step, said: str) -> str:
    if said.endswith("is a symbolic link"):
        return f"{step.args[0]} is mounted on a directory only, as a link could lead anywhere"
    return "a symbolic link in the root filesystem leads to itself"


def _busy(plan: Plan, step: Step, said: str) -> str:
    if said.endswith("changed meanwhile"):
        return "somebody else renames what is in the root filesystem or in a volume"
    return "it is mounted elsewhere with other options" if step.op == "mount_filesystem" else ""


_USER_IDS = _not_mapped("user and group")
_GROUP_IDS = _not_mapped("every group")

# (step, errno) -> the remedy, or what finds it
_HINTS: dict[tuple[str, int], str | Callable[[Plan, Step, str], str]] = {
    ("join_namespace", EINVAL): _wrong_namespace,
    ("join_namespace", EPERM): "it must be owned by a user namespace in which pyoci is root",
    ("time_offsets", ERANGE): "no clock may be before 0 or after some 146 years",
    ("session_keyring", EDQUOT): "too many keyrings: raise kernel.keys.maxkeys, or give --no-new-keyring",
    ("session_keyring", EINVAL): "the policy must know this label",
    ("sysctl", ENOENT): "this kernel has no such parameter, or not in a network namespace of its own",
    ("sysctl", EINVAL): "the kernel doesn't take this value for it",
    ("sysctl", EPERM): "this kernel lets only the host's root set it",
    ("sysctl", EACCES): "this kernel lets only the host's root set it",
    ("open_root", EACCES): _no_rights_to_root,
    ("mount_filesystem", ENODEV): "/proc/filesystems lists those that it has",
    ("mount_filesystem", EINVAL): _on_root,
    ("mount_filesystem", EPERM): _not_mountable,
    ("mount_filesystem", ENOTDIR): "mount it on a directory",
    ("mount_filesystem", ELOOP): _links,
    ("mount_filesystem", EBUSY): _busy,
    ("mount_bind", EBUSY): _busy,
    ("bind_device", EBUSY): _busy,
    ("mask_path", EBUSY): _busy,
    ("readonly_path", EBUSY): _busy,
    ("terminal", EBUSY): _busy,
    ("mount_filesystem", EACCES): _not_makeable,
    ("mount_filesystem", ENOSPC): _too_small,
    ("mount_filesystem", ENOENT): _no_path,
    ("mount_bind", EACCES): _not_bindable_by_user,
    ("make_directory", EACCES): _not_makeable,
    ("make_device", EACCES): _not_makeable,
    ("mount_bind", ENOENT): _no_source,
    ("mount_bind", ENOTDIR): _other_kind,
    ("mount_bind", EISDIR): "bind a directory on a directory, a file on a file",
    ("mount_bind", EINVAL): _not_bindable,
    ("mount_bind", EPERM): _locked,
    ("remount", EPERM): _locked,
    ("tree_attributes", EPERM): _locked,
    ("tree_attributes", ENOSYS): "recursive options need Linux 5.12",
    ("mount_bind", ENOSYS): "recursive options need Linux 5.12",
    ("mount_bind", ELOOP): _links,
    ("unmount", EINVAL): "nothing that can be unmounted is mounted there",
    ("unmount", ENOENT): "nothing that can be unmounted is mounted there",
    ("remount", EINVAL): "remount changes what is mounted there already",
    ("make_device", EPERM): "the kernel lets nobody make devices in a user namespace: bind the host's",
    ("bind_device", ENOENT): "in a user namespace a device is the host's own of the same path: make it there",
    ("bind_device", ENODEV): "in a user namespace a device is the host's own of the same path",
    ("bind_device", EACCES): _not_makeable,
    ("mask_path", ELOOP): _links,
    ("readonly_path", ELOOP): _links,
    ("terminal", ENOENT): "a terminal needs a mount of type devpts on /dev/pts, with ptmxmode=0666",
    ("pivot_root", EINVAL): "on a root in memory, as in an initramfs, give --no-pivot",
    ("scheduler", EPERM): "real-time policies need CAP_SYS_NICE and time in the cgroup's cpu.rt_runtime_us, "
    "SCHED_DEADLINE also every CPU of the machine in its cpuset",
    ("scheduler", EBUSY): "the CPUs don't have that much time left",
    ("io_priority", EPERM): "IOPRIO_CLASS_RT needs CAP_SYS_NICE",
    ("affinity", EINVAL): "at least one of the CPUs must be online and in the cgroup's cpuset",
    ("memory_policy", EINVAL): "the nodes must have memory and be in the cgroup's cpuset.mems",
    ("rlimit", EPERM): lambda plan, step, said: _too_high(step),
    ("groups", EINVAL): _GROUP_IDS,
    ("groups", EPERM): "who maps nothing but his own ids has given up setgroups(2): map more, of /etc/subgid",
    ("user", EINVAL): _USER_IDS,
    ("label_process", EINVAL): _no_label,
    ("label_process", ENOENT): _no_label,
    ("seccomp", EACCES): "it needs noNewPrivileges, or CAP_SYS_ADMIN",
    ("seccomp", EINVAL): _no_filter,
    ("seccomp", EBUSY): "the process has a filter with a listener already",
}


_FROM_EXECVE = (ENOENT, EACCES, ENOEXEC, E2BIG, ENOTDIR, ELOOP)


def _no_program(plan: Plan, step: Step, report: Report, pid: int) -> Error:
    from pyoci.host import diagnose

    find = next((one for one in plan.steps if one.op == "find_program"), step)
    directory = next((one for one in plan.steps if one.op == "enter_directory"), None)
    name: Any = find.args[0] if find.op == "find_program" else step.args[0][0]  # type: ignore[index]
    search: Any = find.args[1] if find.op == "find_program" else ()
    try:
        root = _open_root(plan, pid)
    except OSError:
        missing = find.op == "find_program" and report.error == ENOENT and "/" not in name
        words = diagnose.NOT_FOUND if missing else os.strerror(report.error).lower()
        message, hint = f'exec: "{name}": {words}', ""
    else:
        try:
            message, hint = diagnose.explain(
                root,
                name,
                cwd=str(directory.args[0]) if directory else "/",
                error=report.error,
                search=search,
            )
        finally:
            os.close(root)
    if step.op == "execute" and not hint and report.error not in _FROM_EXECVE:
        hint = "the seccomp filter has to allow execve" if any(s.op == "seccomp" for s in plan.steps) else ""
    # All arguments can be too long together; else it is the program.
    whole = report.error == E2BIG or not step.pointer.endswith("/args")
    return Error(
        message,
        code=_CODES.get(report.error, "kernel"),
        pointer=step.pointer if whole else f"{step.pointer}/0",
        errno=report.error,
        hint=hint,
    )


def _open_root(plan: Plan, pid: int) -> int:
    """The container's root directory. Who isn't root may not see it through the process, which can't be
    traced by him; then it is the root filesystem, without what is mounted in it."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/{pid}/root", flags)
    except PermissionError:
        return os.open(_root(plan), flags)


def died_silently(plan: Plan, pid: int, container: Container) -> Error:
    """The Error for a process of a container that ended before its program ran, and said nothing.

    pid  of the ended process, which nobody has reaped; 0: it is gone
    """
    from pyoci.cgroup import manager
    from pyoci.lifecycle import shortage

    signal = _ending_signal(pid)
    how = f"was killed by signal {signal}" if signal else "ended"
    message = f"the process {how} before its program ran"
    resources = (container.config().get("linux") or {}).get("resources") or {}
    paths = manager.load(container.state["cgroup"]).paths()
    if signal == 9 and shortage.has_killed(paths, container.state["cgroup"].get("kills")):
        limit = (resources.get("memory") or {}).get("limit") or 0
        return shortage.used_up(message, limit, shortage.peak(paths))
    if any(step.op == "seccomp" for step in plan.steps):
        return Error(
            f"{message}: the seccomp filter lets it neither run nor complain",
            code="invalid-config",
            pointer="/linux/seccomp",
            hint="allow execve, write, read and exit_group at least",
        )
    return Error(message, pointer="/process")


def _ending_signal(pid: int) -> int:
    """The signal that ended a process not yet reaped, 0 for none or when it can't be known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            status = int(file.read().rsplit(None, 1)[1])  # exit_code, proc(5)
    except (OSError, ValueError):
        return 0
    return status & 0x7F
