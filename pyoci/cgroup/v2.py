"""cgroup v2: a group with its controllers; freezing, killing, waiting for it to empty (cgroup-v2.rst)."""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENODEV, ENOENT
from time import monotonic

from pyoci.cgroup import UNIFIED, files, v1
from pyoci.errors import Error

FREEZE_SECONDS = 10.0


class Group:
    """A container's cgroup in the cgroup2 hierarchy; mount and path are absolute.

    alone  whether cgroup2 is the only hierarchy. Beside v1 it is for processes: what controllers it has
           left are the administrator's to enable, since v1 can't have them from then on.
    """

    __slots__ = ("alone", "mount", "path")

    version = 2
    controllers = (UNIFIED,)

    def __init__(self, mount: str, path: str, alone: bool) -> None:
        self.mount = mount
        self.path = path
        self.alone = alone

    def make(self, made: list[str]) -> None:
        """Makes the cgroup and what parents it lacks, noting each. FileExistsError if it is there."""
        v1.make(self.mount, self.path, made)
        self.prepare()

    def prepare(self) -> None:
        """Enables the controllers in a cgroup that is there. Error if it can't have whole processes."""
        require_domain(self.path)
        if self.alone:
            enable_controllers(self.mount, self.path)

    def frozen(self) -> bool:
        """Whether it, or a cgroup above it, is or is becoming frozen."""
        try:
            if "frozen 1" in files.read(f"{self.path}/cgroup.events"):
                return True
            return files.read(f"{self.path}/cgroup.freeze") == "1"
        except FileNotFoundError:
            # No cgroup, or a kernel before 5.2.
            return False


def require_domain(path: str) -> None:
    """Error (wrong-state) for a cgroup of a threaded subtree, which holds some threads of processes that are
    limited, listed and killed elsewhere (cgroups(7), "Thread mode")."""
    mode = kind(path)
    if mode in ("domain", "domain threaded", ""):
        return
    culprit = path
    while kind(culprit) == "domain invalid":
        culprit = culprit.rpartition("/")[0]
    inside = files.own_processes(culprit) if kind(culprit) == "domain threaded" else []
    hint = "name a cgroup that isn't in a threaded one"
    if inside:
        from pyoci.cgroup import processes

        hint += f", or give {processes.describe(inside)} a cgroup of their own"
    where = f", since {culprit} is {kind(culprit)}" if culprit != path and kind(culprit) else ""
    raise Error(
        f"the cgroup {path} is {mode} and can't have a container's processes{where}",
        code="wrong-state",
        pointer=files.PATH,
        hint=hint,
    )


def kind(path: str) -> str:
    """cgroup.type; "" of the hierarchy's root, which has none, and of what is gone."""
    try:
        return files.read(f"{path}/cgroup.type")
    except FileNotFoundError:
        return ""


def enable_controllers(mount: str, path: str) -> None:
    """Hands every controller there is down to a cgroup.

    A controller that can't be handed down is left out: the property that needs it is refused when
    its file turns out not to exist.
    """
    parents = []
    while path != mount:
        path = path.rpartition("/")[0]
        parents.append(path)
    for parent in reversed(parents):
        there = files.read(f"{parent}/cgroup.controllers").split()
        have = files.read(f"{parent}/cgroup.subtree_control").split()
        missing = [name for name in there if name not in have]
        if missing and _may_hand_down(parent):
            _hand_down(parent, missing)


def _may_hand_down(path: str) -> bool:
    """Whether nothing but its controllers changes in a cgroup when it hands them down.

    One with processes would have its children turned invalid by a controller that counts threads, such as
    cpu or pids; the kernel refuses only the others there.
    """
    mode = kind(path)
    return not mode or (mode == "domain" and not files.own_processes(path))


def _hand_down(path: str, names: list[str]) -> None:
    if _enable(path, " ".join(f"+{name}" for name in names)) == 0:
        return
    # All or nothing is the kernel's rule for one write. Those first that processes which have come
    # meanwhile keep out (EBUSY), as the others wouldn't be refused.
    for name in sorted(names, key=_THREADED.__contains__):
        if _enable(path, f"+{name}") == EBUSY:
            return


_THREADED = ("cpu", "cpuset", "perf_event", "pids")  # cgroups(7), "Thread mode"


def _enable(path: str, what: str) -> int:
    try:
        files.write(f"{path}/cgroup.subtree_control", what)
    except OSError as error:
        return error.errno or EINVAL
    return 0


def withheld(path: str, controller: str) -> tuple[str, str]:
    """Why a cgroup hasn't got a controller that one above it has, in words that go after an error's message,
    and what would do; both are "" where that isn't so."""
    below = ""
    while True:
        try:
            there = files.read(f"{path}/cgroup.controllers").split()
        except OSError:
            return "", ""  # above the mount: nobody has it
        if controller in there:
            break
        path, below = path.rpartition("/")[0], path
    if not below:
        return "", ""
    inside = files.own_processes(path)
    words = f": {path} doesn't hand the controller {controller} down"
    if not inside or not kind(path):
        return words, ""
    from pyoci.cgroup import processes

    whose = processes.describe(inside) or "they are of another pid namespace"
    return (
        f"{words}, as a cgroup that has processes can't: {whose}",
        "move them to a cgroup of their own, or name one elsewhere as cgroupsPath",
    )


def freeze(path: str) -> None:
    """Stops every process in a cgroup and below. Error (timeout) leaves it thawed."""
    files.write(f"{path}/cgroup.freeze", "1")
    if not wait_event(path, "frozen 1", FREEZE_SECONDS):
        files.write(f"{path}/cgroup.freeze", "0")
        raise Error(
            f"{path} did not freeze within {FREEZE_SECONDS:.0f} s and is thawed again",
            code="timeout",
            pointer=files.PATH,
            hint="a process in it is in an uninterruptible wait",
        )


def thaw(path: str) -> None:
    """Lets a cgroup run. One that is frozen from above stays frozen: Error (wrong-state)."""
    files.write(f"{path}/cgroup.freeze", "0")
    parent = path.rpartition("/")[0]
    if "frozen 1" in files.read(f"{path}/cgroup.events") and "frozen 1" in _events(parent):
        raise Error(
            f"{path} stays frozen, because a cgroup above it is frozen",
            code="wrong-state",
            pointer=files.PATH,
        )


def _events(path: str) -> str:
    try:
        return files.read(f"{path}/cgroup.events")
    except FileNotFoundError:
        # The root has none.
        return ""


def kill(path: str) -> bool:
    """SIGKILL to every process in a cgroup and below, at once; False where the kernel can't (before 5.14)."""
    try:
        files.write(f"{path}/cgroup.kill", "1")
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise files.failure(error, f"killing what is in {path}") from None
        return not files.exists(path)
    return True


def wait_empty(path: str, seconds: float) -> bool:
    """Waits until no process is left in a cgroup and below; False if some are after `seconds`."""
    return wait_event(path, "populated 0", seconds)


def wait_event(path: str, wanted: str, seconds: float) -> bool:
    """Waits until cgroup.events says `wanted`, woken by the kernel; a cgroup that is gone says all."""
    import select

    deadline = monotonic() + seconds
    try:
        descriptor = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLPRI)
        while True:
            try:
                text = os.pread(descriptor, 4096, 0).decode()
            except OSError:
                # ENODEV: removed while we had it open.
                return not files.exists(path)
            if wanted in text.split("\n"):
                return True
            left = deadline - monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    finally:
        os.close(descriptor)
