"""Changing limits that are in force: what to write, in which order, and back again if something is refused.

An order is chosen, from the values in force, that never passes through a state which the kernel can't be
in, nor, where it can be helped, one that is looser than both the old and the new:

    v1  limit <= limit of memory and swap            the one that makes room goes first
    v1  quota / period <= the ratio above            the one that makes the ratio smaller goes first
    burst <= quota, realtime runtime <= its period   likewise
    no weight while idle                             idle no more, then the weight

What no order can reach is refused before anything is written, naming the value in force that is against it.
"""

from __future__ import annotations

from pyoci.bundle.rules import NOT_WHILE_IDLE, swap_problem
from pyoci.cgroup import UNIFIED, in_force, limits, resources
from pyoci.cgroup.formats import flat
from pyoci.cgroup.in_force import UNLIMITED
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.journal import Journal, Note
    from pyoci.cgroup.manager import Manager
    from pyoci.cgroup.resources import Write

    Section = dict[str, Any]


def update(
    manager: Manager, wanted: Section, pointer: str, journal: Journal, was: Section | None = None
) -> list[Write]:
    """Applies what is given of linux.resources, device rules excepted, and returns it as writes.

    was  linux.resources as asked for until now
    Every change goes into the journal, with the way back. Error for what can't be honoured, and for a
    value that the kernel took but made another one of.
    """
    now = Now(manager)
    check(wanted, now, pointer)
    writes = resources.translate(completed(wanted, now), pointer, now.version)
    if now.version("memory") == 1 and (wanted.get("memory") or {}).get("disableOOMKiller") is False:
        writes.append(resources.one("memory.oom_control", 0, f"{pointer}/memory/disableOOMKiller"))
    writes = _with_weight(writes, now, was or {}, pointer)
    killed = _killed(now)
    _make(ordered(writes, now), now, journal)
    if "memory" in wanted and _killed(now) > killed:
        journal.warn(
            "the new limit of memory is below what was in use, and the kernel has killed "
            f"{_killed(now) - killed} process(es) of the container for it"
        )
    return writes


def settle(writes: list[Write], manager: Manager) -> None:
    """Writes once more what somebody else has made another value of since: systemd rounds some."""
    paths = manager.paths()
    for write in writes:
        place = limits.place(write, paths)
        if place and in_force.holds(*place) is False:
            error = limits.put(write, paths)
            if error:
                raise error


class Now:
    """The values in force in a container's cgroups. Numbers are as in_force.number() gives them.

    idle  whether the cgroup was idle at first, and so without a weight of its own
    """

    __slots__ = ("idle", "manager", "paths")

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.paths = manager.paths()
        self.idle = self.number("cpu.idle") == 1

    def version(self, controller: str) -> int:
        return limits.version(self.manager, controller)

    def directory(self, file: str) -> str:
        return self.paths.get(file.partition(".")[0]) or self.paths.get(UNIFIED, "")

    def number(self, file: str) -> int | None:
        return in_force.number(self.directory(file), file)

    def bandwidth(self) -> tuple[int | None, int | None]:
        """Quota and period, in microseconds; None where there is none of either."""
        if self.version("cpu") == 1:
            return self.number("cpu.cfs_quota_us"), self.number("cpu.cfs_period_us")
        words = (in_force.text(self.directory("cpu.max"), "cpu.max") or "").split()
        if len(words) != 2:
            return None, None
        return UNLIMITED if words[0] == "max" else int(words[0]), int(words[1])


def completed(wanted: Section, now: Now) -> Section:
    """`wanted` with what v2 and systemd can be told only together: each from what is in force."""
    cpu, memory = dict(wanted.get("cpu") or {}), dict(wanted.get("memory") or {})
    if bool(cpu.get("quota")) != bool(cpu.get("period")):
        quota, period = now.bandwidth()
        if quota and period:
            cpu["quota"] = cpu.get("quota") or (-1 if quota == UNLIMITED else quota)
            cpu["period"] = cpu.get("period") or period
    if (memory.get("swap") or 0) > 0 and not memory.get("limit") and now.version("memory") == 2:
        limit = now.number("memory.max")
        if limit is not None:
            memory["limit"] = limit
    return {**wanted, **({"cpu": cpu} if cpu else {}), **({"memory": memory} if memory else {})}


def check(wanted: Section, now: Now, pointer: str) -> None:
    """Refuses what can't be in force together, be it given or kept: Error names both values."""
    memory, cpu = wanted.get("memory") or {}, wanted.get("cpu") or {}
    _check_swap(memory, now, f"{pointer}/memory")
    # No limit of memory means none of both together either.
    if now.version("memory") == 1 and memory.get("limit") != -1:
        _not_above(
            _future(memory, "limit", now.number("memory.limit_in_bytes")),
            _future(memory, "swap", now.number("memory.memsw.limit_in_bytes")),
            f"{pointer}/memory",
            "memory and swap together",
        )
    quota, _ = now.bandwidth()
    burst = now.number("cpu.cfs_burst_us" if now.version("cpu") == 1 else "cpu.max.burst")
    _not_above(_future(cpu, "burst", burst), _future(cpu, "quota", quota), f"{pointer}/cpu", "quota")
    if now.version("cpu") == 1:
        _not_above(
            _future(cpu, "realtimeRuntime", now.number("cpu.rt_runtime_us")),
            _future(cpu, "realtimePeriod", now.number("cpu.rt_period_us")),
            f"{pointer}/cpu",
            "realtimePeriod",
        )
    idle = cpu["idle"] if cpu.get("idle") is not None else now.number("cpu.idle")
    if cpu.get("shares") and idle == 1:
        raise Error(
            f"{cpu['shares']} {NOT_WHILE_IDLE}", code="invalid-config", pointer=f"{pointer}/cpu/shares"
        )


def _check_swap(memory: Section, now: Now, pointer: str) -> None:
    """The rule for create's memory.swap, with the limit in force where none is given."""
    limit, in_force_now = memory.get("limit") or 0, ""
    if not limit:
        found = now.number("memory.limit_in_bytes" if now.version("memory") == 1 else "memory.max")
        if found is None:  # there is nothing that could limit it: translate() says so
            return
        limit, in_force_now = (-1 if found == UNLIMITED else found), " in force"
    problem = swap_problem(memory.get("swap") or 0, limit, in_force_now)
    if problem:
        hint = "or give limit too" if in_force_now and limit > 0 else ""
        raise Error(problem, code="invalid-config", pointer=f"{pointer}/swap", hint=hint)


def _with_weight(writes: list[Write], now: Now, was: Section, pointer: str) -> list[Write]:
    """The writes, with the weight asked for until now where a cgroup is to be idle no more: what it had
    was forgotten when it became idle (sched_group_set_idle)."""
    asked = {file: value for write in writes for file, value in write.choices}
    if asked.get("cpu.idle") != "0":
        return writes
    if not now.idle:
        # Nothing to do; and systemd, told so, would take the weight for its default.
        return [write for write in writes if write.choices[0][0] != "cpu.idle"]
    cpu, unified = was.get("cpu") or {}, was.get("unified") or {}
    kept: Section = {"cpu": {"shares": cpu.get("shares")}}
    kept["unified"] = {file: unified[file] for file in _WEIGHTS if file in unified}
    former = resources.translate(kept, pointer, now.version)
    return writes + [write for write in former if not asked.keys() & dict(write.choices)]


def _future(section: Section, name: str, current: int | None) -> tuple[str, bool, int | None]:
    """A property: its name, whether it is given, and what it will be."""
    asked = section.get(name)
    if asked is None or (asked == 0 and name != "burst"):
        return name, False, current
    return name, True, UNLIMITED if asked < 0 else min(asked, UNLIMITED)


def _not_above(
    small: tuple[str, bool, int | None], large: tuple[str, bool, int | None], pointer: str, called: str
) -> None:
    """Error if the first property would be above the second, and one of them is to be changed."""
    (name, asked, value), (other, other_asked, most) = small, large
    if value is None or most is None or value <= most or not (asked or other_asked):
        return
    shown = "no limit" if value == UNLIMITED else str(value)
    if asked:
        message = f"{shown} is above {most}, the {called} " + ("asked for" if other_asked else "in force")
        where, hint = name, "" if other_asked else f"give {other} too"
    else:
        message = f"{most} is below {shown}, the {name} in force"
        where, hint = other, f"give {name} too"
    raise Error(message, code="invalid-config", pointer=f"{pointer}/{where}", hint=hint)


# Of each two the second may not be above the first, or the first divides it and their ratio is limited.
_PAIRS = (
    ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes"),
    (
        "memory.swap.max",
        "memory.max",
    ),  # no rule of v2's, but what has no place any more is swapped, not killed
    ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
    ("cpu.rt_period_us", "cpu.rt_runtime_us"),
    ("cpu.cfs_quota_us", "cpu.cfs_burst_us"),
    ("cpu.max", "cpu.max.burst"),
)


_WEIGHTS = ("cpu.shares", "cpu.weight")


def ordered(writes: list[Write], now: Now) -> list[Write]:
    """The writes in an order that leads through possible states only: of a pair, the first goes first
    where it grows, and last where it doesn't."""
    result = list(writes)
    places = {file: write for write in writes for file, _ in write.choices}
    for file, other in _PAIRS:
        if file in places and other in places:
            wanted, current = in_force.parse(dict(places[file].choices)[file]), now.number(file)
            grows = current is not None and wanted is not None and wanted > current
            first, second = (file, other) if grows else (other, file)
            _arrange(result, places[first], places[second])
    for weight in _WEIGHTS:
        if "cpu.idle" in places and weight in places:
            _arrange(result, places["cpu.idle"], places[weight])
    return result


def _arrange(writes: list[Write], first: Write, second: Write) -> None:
    """Moves a write before another, if it isn't already."""
    if writes.index(first) > writes.index(second):
        writes.remove(first)
        writes.insert(writes.index(second), first)


def _make(writes: list[Write], now: Now, journal: Journal) -> None:
    """Makes the writes that aren't in force yet. What the kernel calls invalid is tried once more after the
    others: groups above or below may ask for another order than the one that is best otherwise."""
    while writes:
        refused: list[tuple[Write, Error]] = []
        for write in writes:
            place = limits.place(write, now.paths)
            if not place or in_force.holds(*place):
                continue
            directory, file, value = place
            error = _put(write, now, place, journal)
            if error:
                refused.append((write, error))
                continue
            if in_force.holds(*place) is False:
                raise Error(
                    f"the kernel took {value!r} for {file} in {directory}, and made "
                    f"{in_force.before(directory, file, value)!r} of it",
                    pointer=write.pointer,
                )
        if len(refused) == len(writes):
            raise refused[0][1]
        writes = [write for write, _ in refused]


def _put(write: Write, now: Now, place: tuple[str, str, str], journal: Journal) -> Error | None:
    """Makes one write as limits.put() does, the way back noted before."""
    directory, file, value = place
    changed = _changed(now, *place)
    notes: list[Note] = [
        (f"{name} in {directory}" if old is None else f"{name} ({old})", "file", f"{directory}/{name}", old)
        for name, old in changed
    ]
    error = journal.attempt(notes, lambda: limits.put(write, now.paths))
    if error:
        journal.drop(len(changed))
    else:
        journal.debug(f"{directory}/{file}: {value!r}, before {dict(changed).get(file)!r}")
    return error


def _changed(now: Now, directory: str, file: str, value: str) -> list[tuple[str, str | None]]:
    """File and old value of all that a write changes, the last one to be put back first. When a cgroup
    becomes idle its weight is forgotten; while it is, none can be set."""
    if file in _WEIGHTS and now.idle:
        return []
    changed = [(file, in_force.before(directory, file, value))]
    if file == "cpu.idle" and value == "1":
        weights = [(name, in_force.text(directory, name)) for name in _WEIGHTS]
        changed = [(name, weight) for name, weight in weights if weight] + changed
    return changed


def _killed(now: Now) -> int:
    """How many processes v2 has killed for the limit of memory so far; v1 refuses what would kill."""
    found = in_force.text(now.directory("memory.events"), "memory.events") or ""
    return flat(found).get("oom_kill", 0)
