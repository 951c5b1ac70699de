"""Changes of limits in force: their order, the values that are against them, and the way back.

The kernel is played by files with its rules: it refuses what they forbid at any moment, not only in the end.
"""

from __future__ import annotations

import os
from errno import EINVAL, EIO, ENOENT
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyoci.cgroup import changes, device_changes, files, in_force
from pyoci.cgroup.in_force import UNLIMITED
from pyoci.cgroup.journal import Journal
from pyoci.cgroup.manager import Manager
from pyoci.errors import Error

PAGE = os.sysconf("SC_PAGE_SIZE")
NONE = 9223372036854771712
# The weight when idleness ends, and while it lasts.
WEIGHTS = {"cpu.shares": ("1024", "3"), "cpu.weight": ("100", "0")}


WAYS = {"file": lambda path, value: files.write(path, value)}


class Kernel:
    """One directory of cgroup files. Refuses (EINVAL) a write that leads to a state that can't be.

    above     quota / period of the cgroup above, which the one here may not exceed; None for no limit
    broken    the number of the write that fails for a reason of its own, or -1
    """

    def __init__(self, values: dict[str, str], above: float | None = None) -> None:
        self.values = values
        self.above = above
        self.broken = -1
        self.refused: list[tuple[str, str]] = []
        self.states: list[dict[str, str]] = []

    def __enter__(self) -> Kernel:
        self.patch = pytest.MonkeyPatch()
        for name in ("read", "write", "exists"):
            self.patch.setattr(files, name, getattr(self, name))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def exists(self, path: str) -> bool:
        return os.path.basename(path) in self.values or path == "/group"

    def read(self, path: str) -> str:
        try:
            return self.values[os.path.basename(path)]
        except KeyError:
            raise FileNotFoundError(ENOENT, "No such file or directory", path) from None

    def write(self, path: str, value: str) -> None:
        name = os.path.basename(path)
        if len(self.states) == self.broken:
            self.broken = -1
            raise OSError(EIO, "Input/output error", path)
        after = dict(self.values)
        after[name] = self.kept(name, value)
        if name == "cpu.idle" and value != self.values[name]:
            after |= {file: weights[int(value)] for file, weights in WEIGHTS.items() if file in after}
        if not self.possible(after, name):
            self.refused.append((name, value))
            raise OSError(EINVAL, "Invalid argument", path)
        self.values = after
        self.states.append(after)

    def kept(self, name: str, value: str) -> str:
        if name == "cpu.max":
            words = value.split()
            return " ".join([*words, *self.values[name].split()[len(words) :]])
        if name.startswith("memory.") and value not in ("max", "-1"):
            return str(min(int(value) // PAGE * PAGE, NONE))
        return str(NONE) if name.startswith("memory.") and value == "-1" else value

    def possible(self, values: dict[str, str], name: str) -> bool:
        def number(file: str) -> int:
            return in_force.parse(values[file])

        if "memory.limit_in_bytes" in values and number("memory.limit_in_bytes") > number(
            "memory.memsw.limit_in_bytes"
        ):
            return False
        if ratio(values) > (self.above or float("inf")) and quota(values) != UNLIMITED:
            return False
        if quota(values) < number("cpu.cfs_burst_us" if "cpu.cfs_burst_us" in values else "cpu.max.burst"):
            return False
        if "cpu.rt_runtime_us" in values and number("cpu.rt_runtime_us") > number("cpu.rt_period_us"):
            return False
        return not (name in ("cpu.shares", "cpu.weight") and values["cpu.idle"] == "1")


def quota(values: dict[str, str]) -> int:
    return in_force.parse(values.get("cpu.cfs_quota_us") or values["cpu.max"])


def ratio(values: dict[str, str]) -> float:
    if quota(values) == UNLIMITED:
        return float("inf")
    return quota(values) / int(values.get("cpu.cfs_period_us") or values["cpu.max"].split()[1])


def group(mode: str) -> Manager:
    names = ["memory", "cpu", "cpuset", "pids", "blkio"] if mode == "v1" else [""]
    paths = dict.fromkeys(names, "/group")
    return cast(Manager, SimpleNamespace(paths=lambda: paths, mode=mode, groups=[1]))


def change(kernel: Kernel, mode: str, wanted: dict[str, Any], was: dict[str, Any] | None = None) -> Journal:
    journal = Journal(WAYS)
    with kernel:
        changes.update(group(mode), wanted, "", journal, was)
    return journal


V1 = {
    "memory.limit_in_bytes": str(NONE),
    "memory.memsw.limit_in_bytes": str(NONE),
    "cpu.shares": "1024",
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_burst_us": "0",
    "cpu.rt_runtime_us": "0",
    "cpu.rt_period_us": "1000000",
    "cpu.idle": "0",
    "pids.max": "max",
}
V2 = {
    "cgroup.controllers": "cpuset cpu io memory pids",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.events": "low 0\noom_kill 0",
    "cpu.weight": "100",
    "cpu.max": "max 100000",
    "cpu.max.burst": "0",
    "cpu.idle": "0",
    "pids.max": "max",
}

PAGES = st.integers(1, 2**20).map(lambda pages: pages * PAGE)
PERIOD = st.integers(1000, 1_000_000)


@st.composite
def bandwidths(draw: st.DrawFn) -> dict[str, int]:
    """A quota, a period and a burst that can be in force together."""
    period = draw(PERIOD)
    limit = draw(st.one_of(st.just(-1), st.integers(1000, 4_000_000)))
    return {
        "period": period,
        "quota": limit,
        "burst": draw(st.integers(0, limit if limit > 0 else 4_000_000)),
    }


@st.composite
def memories(draw: st.DrawFn) -> dict[str, int]:
    limit = draw(st.one_of(st.just(-1), PAGES))
    more = draw(st.one_of(st.just(-1), st.just(0), PAGES))
    return {"limit": limit, "swap": -1 if limit < 0 or more < 0 else limit + more}


@st.composite
def realtimes(draw: st.DrawFn) -> dict[str, int]:
    period = draw(PERIOD)
    return {"realtimePeriod": period, "realtimeRuntime": draw(st.integers(1, period))}


def shown(value: int) -> str:
    return str(NONE if value < 0 else value)


def on_v1(cpu: dict[str, int], memory: dict[str, int], realtime: dict[str, int]) -> dict[str, str]:
    return {
        **V1,
        "cpu.cfs_quota_us": str(cpu["quota"]),
        "cpu.cfs_period_us": str(cpu["period"]),
        "cpu.cfs_burst_us": str(cpu["burst"]),
        "memory.limit_in_bytes": shown(memory["limit"]),
        "memory.memsw.limit_in_bytes": shown(memory["swap"]),
        "cpu.rt_runtime_us": str(realtime["realtimeRuntime"]),
        "cpu.rt_period_us": str(realtime["realtimePeriod"]),
    }


def on_v2(cpu: dict[str, int], memory: dict[str, int]) -> dict[str, str]:
    limit, swap = memory["limit"], memory["swap"]
    return {
        **V2,
        "cpu.max": f"{'max' if cpu['quota'] < 0 else cpu['quota']} {cpu['period']}",
        "cpu.max.burst": str(cpu["burst"]),
        "memory.max": "max" if limit < 0 else str(limit),
        "memory.swap.max": "max" if swap < 0 else str(swap - limit),
    }


@given(bandwidths(), bandwidths(), memories(), memories(), realtimes(), realtimes(), st.booleans())
def test_on_v1_no_write_is_refused_on_the_way(
    cpu: dict[str, int],
    then: dict[str, int],
    memory: dict[str, int],
    wanted: dict[str, int],
    realtime: dict[str, int],
    after: dict[str, int],
    limited_above: bool,
) -> None:
    old, new = on_v1(cpu, memory, realtime), on_v1(then, wanted, after)
    kernel = Kernel(old, max(ratio(old), ratio(new)) if limited_above else None)
    change(kernel, "v1", {"cpu": {**then, **after}, "memory": wanted})
    assert kernel.refused == []
    assert kernel.values == new
    assert all(ratio(state) <= max(ratio(old), ratio(new)) for state in kernel.states), "never looser"


@given(bandwidths(), bandwidths(), memories(), memories())
def test_on_v2_no_write_is_refused_on_the_way(
    cpu: dict[str, int], then: dict[str, int], memory: dict[str, int], wanted: dict[str, int]
) -> None:
    kernel = Kernel(on_v2(cpu, memory))
    change(kernel, "v2", {"cpu": then, "memory": wanted})
    assert kernel.refused == []
    assert kernel.values == on_v2(then, wanted)


@given(bandwidths(), bandwidths(), memories(), memories(), realtimes(), realtimes(), st.integers(0, 7))
def test_after_a_failure_all_is_as_it_was(
    cpu: dict[str, int],
    then: dict[str, int],
    memory: dict[str, int],
    wanted: dict[str, int],
    realtime: dict[str, int],
    after: dict[str, int],
    broken: int,
) -> None:
    old, new = on_v1(cpu, memory, realtime), on_v1(then, wanted, after)
    kernel = Kernel(old, max(ratio(old), ratio(new)))
    kernel.broken = broken
    journal = Journal(WAYS)
    with kernel:
        try:
            changes.update(group("v1"), {"cpu": {**then, **after}, "memory": wanted}, "", journal)
        except Error as error:
            made = len(kernel.states)
            said = journal.undo()
            assert error.errno == EIO
            assert bool(said) == bool(made)
            assert "NOT" not in said
            assert kernel.values == old
            assert kernel.refused == []
        else:
            assume(False)


@given(bandwidths(), st.data())
def test_one_of_quota_and_period_leaves_the_other(cpu: dict[str, int], data: st.DataObject) -> None:
    assume(cpu["quota"] > 0)
    unlimited, realtime = {"limit": -1, "swap": -1}, {"realtimePeriod": 9, "realtimeRuntime": 1}
    for mode, old in (("v1", on_v1(cpu, unlimited, realtime)), ("v2", on_v2(cpu, unlimited))):
        kernel = Kernel(dict(old))
        period = data.draw(PERIOD)
        change(kernel, mode, {"cpu": {"period": period}})
        assert ratio(kernel.values) == cpu["quota"] / period
        more = data.draw(st.integers(cpu["burst"], 4_000_000).filter(lambda value: value >= 1000))
        change(kernel, mode, {"cpu": {"quota": more}})
        assert ratio(kernel.values) == more / period


@pytest.mark.parametrize(
    ("mode", "in_force_now", "wanted", "says"),
    [
        ("v1", {"memory.memsw.limit_in_bytes": "8192", "memory.limit_in_bytes": "4096"},
         {"memory": {"limit": 16384}},
         "/memory/limit: 16384 is above 8192, the memory and swap together in force (give swap too)"),
        ("v1", {"memory.memsw.limit_in_bytes": "8192", "memory.limit_in_bytes": "8192"},
         {"memory": {"swap": 4096}},
         "/memory/swap: 4096 was found; at least 8192, memory's own limit in force, would do "
         "(or give limit too)"),
        *(
            (mode, {}, {"memory": {**limit, "swap": 4096}},
             "/memory/swap: 4096 was found, without a limit of memory beside it; "
             "that too, or -1 for neither, would do")
            for mode in ("v1", "v2")
            for limit in ({}, {"limit": -1})
        ),
        *(
            (mode, {}, {"memory": {"limit": 8192, "swap": 4096}},
             "/memory/swap: 4096 was found; at least 8192, memory's own limit, would do")
            for mode in ("v1", "v2")
        ),
        ("v2", {"memory.max": "8192"}, {"memory": {"swap": 4096}},
         "/memory/swap: 4096 was found; at least 8192, memory's own limit in force, would do "
         "(or give limit too)"),
        ("v1", {"cpu.cfs_quota_us": "5000"}, {"cpu": {"burst": 5001}},
         "/cpu/burst: 5001 is above 5000, the quota in force (give quota too)"),
        ("v2", {"cpu.max": "5000 9000", "cpu.max.burst": "4000"}, {"cpu": {"quota": 3000}},
         "/cpu/quota: 3000 is below 4000, the burst in force (give burst too)"),
        ("v1", {"cpu.rt_runtime_us": "700"}, {"cpu": {"realtimePeriod": 500}},
         "/cpu/realtimePeriod: 500 is below 700, the realtimeRuntime in force (give realtimeRuntime too)"),
        ("v2", {"cpu.idle": "1"}, {"cpu": {"shares": 512}},
         "/cpu/shares: 512 can't be in force while the cgroup is idle; idle 0, or no shares, would do"),
    ],
)  # fmt: skip
def test_a_value_in_force_that_is_against_it_is_named(
    mode: str, in_force_now: dict[str, str], wanted: dict[str, Any], says: str
) -> None:
    kernel = Kernel({**(V1 if mode == "v1" else V2), **in_force_now})
    with pytest.raises(Error) as caught:
        change(kernel, mode, wanted)
    assert str(caught.value) == says
    assert (kernel.states, kernel.refused) == ([], []), "nothing was tried"


def test_swap_alone_comes_from_the_limit_in_force() -> None:
    kernel = Kernel({**V2, "memory.max": str(4 * PAGE), "memory.swap.max": "0"})
    change(kernel, "v2", {"memory": {"swap": 6 * PAGE}})
    assert (kernel.values["memory.max"], kernel.values["memory.swap.max"]) == (str(4 * PAGE), str(2 * PAGE))
    change(kernel, "v2", {"memory": {"limit": 5 * PAGE}})
    assert (kernel.values["memory.max"], kernel.values["memory.swap.max"]) == (str(5 * PAGE), str(2 * PAGE))


@pytest.mark.parametrize("section", [{"memory": {"limit": PAGE, "swap": PAGE}}, {"cpu": {"quota": 5000}}])
def test_a_controller_that_is_not_mounted(section: dict[str, Any]) -> None:
    paths = {"pids": "/group"}
    alone = cast(Manager, SimpleNamespace(paths=lambda: paths, mode="v1", groups=[1]))
    with Kernel(dict(V1)) as kernel, pytest.raises(Error, match="no cgroup hierarchy with the"):
        changes.update(alone, {"pids": {"limit": 5}, **section}, "", Journal(WAYS))
    assert kernel.states == []


def test_idle_ends_before_a_weight_is_set() -> None:
    kernel = Kernel({**V2, "cpu.idle": "1"})
    change(kernel, "v2", {"cpu": {"shares": 2, "idle": 0}})
    assert (kernel.values["cpu.weight"], kernel.refused) == ("1", [])


@pytest.mark.parametrize(
    ("was", "wanted", "weight"),
    [
        ({"cpu": {"shares": 512}}, {"cpu": {"idle": 0}}, "59"),
        ({"cpu": {"shares": 512}}, {"cpu": {"idle": 0, "shares": 2}}, "1"),
        ({"cpu": {"shares": 512}}, {"cpu": {"idle": 0}, "unified": {"cpu.weight": "7"}}, "7"),
        ({"cpu": {"shares": 512}}, {"unified": {"cpu.idle": "0"}}, "59"),
        ({"unified": {"cpu.weight": "77"}}, {"cpu": {"idle": 0}}, "77"),
        ({}, {"cpu": {"idle": 0}}, "100"),
    ],
)
def test_the_weight_is_back_when_idleness_ends(
    was: dict[str, Any], wanted: dict[str, Any], weight: str
) -> None:
    kernel = Kernel({**V2, "cpu.idle": "1", "cpu.weight": "0"})
    journal = change(kernel, "v2", wanted, was)
    assert (kernel.values["cpu.weight"], kernel.refused) == (weight, [])
    with kernel:
        assert journal.undo() == "; put back as it was: cpu.idle (1)"
    assert (kernel.values["cpu.idle"], kernel.values["cpu.weight"]) == ("1", "0")


def test_the_weight_is_put_back_with_the_end_of_idleness() -> None:
    kernel = Kernel({**V1, "cpu.shares": "512"})
    journal = change(kernel, "v1", {"cpu": {"idle": 1}})
    assert (kernel.values["cpu.idle"], kernel.values["cpu.shares"]) == ("1", "3")
    with kernel:
        assert journal.undo() == "; put back as it was: cpu.idle (0), cpu.shares (512)"
    assert (kernel.values["cpu.idle"], kernel.values["cpu.shares"]) == ("0", "512")


def test_a_cgroup_that_was_not_idle_keeps_its_weight() -> None:
    kernel = Kernel({**V1, "cpu.shares": "77"})
    change(kernel, "v1", {"cpu": {"idle": 0}}, {"cpu": {"shares": 512}})
    assert kernel.states == []


def test_what_is_in_force_is_not_written() -> None:
    kernel = Kernel({**V1, "pids.max": "5"})
    for none in (-1, NONE, 2**63 - 1):
        change(kernel, "v1", {"pids": {"limit": 5}, "memory": {"limit": none}, "cpu": {"shares": 1024}})
    assert kernel.states == []


def test_another_value_than_was_asked_for_is_an_error() -> None:
    class Willful(Kernel):
        def kept(self, name: str, value: str) -> str:
            return "77"

    kernel = Willful(dict(V1))
    journal = Journal(WAYS)
    with (
        kernel,
        pytest.raises(Error, match=r"took '5' for pids\.max in /group, and made '77' of it") as caught,
    ):
        changes.update(group("v1"), {"pids": {"limit": 5}}, "", journal)
    assert caught.value.pointer == "/pids/limit"


def test_processes_that_a_new_limit_kills_are_told() -> None:
    class Deadly(Kernel):
        def write(self, path: str, value: str) -> None:
            super().write(path, value)
            self.values["memory.events"] = "low 0\noom_kill 2"

    said: list[str] = []
    with Deadly(dict(V2)):
        changes.update(group("v2"), {"memory": {"limit": PAGE}}, "", Journal(WAYS, said.append))
    assert said == [
        "the new limit of memory is below what was in use, and the kernel has killed 2 process(es) of the "
        "container for it"
    ]


# ------------------------------------------------------------------ the way back


@pytest.mark.parametrize(
    ("file", "text", "value", "back"),
    [
        ("memory.limit_in_bytes", str(NONE), "4096", "-1"),
        ("memory.max", "max", "4096", "max"),
        ("cpu.max", "max 100000", "5000 6000", "max 100000"),
        ("cpuset.cpus", "0-1", "0", "0-1"),
        ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 3", "0", "1"),
        ("io.max", "", "8:0 rbps=5", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", "8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=2 wbps=max riops=max wiops=7",
         "8:0 wiops=9", "8:0 rbps=2 wbps=max riops=max wiops=7"),
        ("io.weight", "default 100\n8:0 50", "default 70", "default 100"),
        ("io.weight", "default 100\n8:0 50", "8:0 70", "8:0 50"),
        ("io.weight", "default 100", "8:0 70", "8:0 default"),
        ("io.bfq.weight", "default 100\n8:0 50", "300", "default 100"),
        ("blkio.throttle.read_bps_device", "", "8:0 5", "8:0 0"),
        ("blkio.throttle.read_bps_device", "8:0 77", "8:0 5", "8:0 77"),
        ("rdma.max", "mlx4_0 hca_handle=2 hca_object=max", "mlx4_0 hca_object=3",
         "mlx4_0 hca_handle=2 hca_object=max"),
        ("net_prio.ifpriomap", "lo 0\neth0 5", "eth0 6", "eth0 5"),
        ("cgroup.procs", "1\n2", "3", None),
        ("memory.reclaim", None, "4096", None),
    ],
)  # fmt: skip
def test_what_brings_a_value_back(file: str, text: str | None, value: str, back: str | None) -> None:
    with Kernel({} if text is None else {file: text}):
        assert in_force.before("/group", file, value) == back


@pytest.mark.parametrize(
    ("file", "text", "value", "holds"),
    [
        ("memory.limit_in_bytes", str(NONE), "-1", True),
        ("memory.limit_in_bytes", str(NONE), "4096", False),
        ("memory.limit_in_bytes", str(PAGE), str(PAGE + 1), True),
        ("memory.limit_in_bytes", str(PAGE), str(PAGE - 1), False),
        ("memory.max", "max", str(2**63 - 1), True),
        ("hugetlb.2MB.max", "0", str((2 << 20) - 1), True),
        ("hugetlb.2MB.max", "0", str(2 << 20), False),
        ("hugetlb.1GB.rsvd.limit_in_bytes", str(1 << 30), str((2 << 30) - 1), True),
        ("cpuset.cpus", "0-3,7", "0,1, 2-3,7", True),
        ("cpuset.cpus", "0-3", "0-2", False),
        ("cpu.max", "5000 6000", "5000", True),
        ("cpu.max", "5000 6000", "5000 7000", False),
        ("cpu.shares", "512", "513", False),
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=7", "8:0 wiops=7", True),
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=7", "8:0 rbps=max", False),
        ("io.max", "", "8:0 rbps=max", True),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:0 0", False),
        ("blkio.throttle.read_bps_device", "", "8:0 0", True),
        ("io.weight", "default 70\n8:0 50", "default 70", True),
        ("io.bfq.weight", "default 70\n8:0 50", "50", False),
        ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0", "1", True),
        ("memory.reclaim", "", "4096", None),
        ("cgroup.freeze", "1", "0", None),
        # What the kernel takes too, and writes otherwise: who names a file in unified may.
        ("memory.high", "536870912", "512M", None),
        ("pids.max", "16", "0x10", None),
        ("cpuset.cpus", "0,2", "0-3:1/2", None),
        ("cpuset.cpus", "7,0-3", "0-2,3,7", True),
        ("cpuset.cpus", "0-1", "0-99999999999", False),
        ("cpu.max", "max 100000", "", None),
        ("cpu.max", "5000 100000", "0x1388", None),
        ("io.max", "8:0 rbps=16 wbps=max riops=max wiops=max", "8:0 rbps=0x10", None),
        ("rdma.max", "", "", None),
    ],
)
def test_whether_a_value_is_in_force(file: str, text: str, value: str, holds: bool | None) -> None:
    with Kernel({file: text}):
        assert in_force.holds("/group", file, value) is holds


@given(
    st.sampled_from(
        ["memory.max", "cpu.max", "cpuset.cpus", "io.max", "pids.max", "hugetlb.x.max", "rdma.max", "a.b"]
    ),
    st.text("0159-,:=x mak\n", max_size=12),
    st.text("0159-,:=x mak", max_size=12),
)
def test_whatever_is_in_a_file_it_can_be_told(file: str, found: str, value: str) -> None:
    with Kernel({file: found}):
        assert in_force.holds("/group", file, value) in (True, False, None)
        in_force.before("/group", file, value)
        in_force.number("/group", file)


def test_an_empty_cpuset_gets_what_it_had_in_effect() -> None:
    with Kernel({"cpuset.cpus": "", "cpuset.cpus.effective": "0-3"}):
        assert in_force.before("/group", "cpuset.cpus", "0") == "0-3"


def test_what_is_taken_back_is_told_with_what_could_not_be() -> None:
    def fails(place: str, before: Any) -> None:
        raise OSError(EIO, "Input/output error")

    done: list[tuple[str, Any]] = []
    kept: list[list[Any]] = []
    ways = {"good": lambda place, before: done.append((place, before)), "bad": fails}
    journal = Journal(ways, keep=kept.append)
    assert journal.undo() == ""
    assert kept == []
    journal.note("first", "good", "a", 1)
    journal.note("second", "good", "b", None)
    journal.note("third", "bad", "c", 3)
    journal.note("", "good", "d", [4])
    journal.note("fourth", "another version's", "d", 4)
    journal.note("fifth", "good", "e", "5")
    journal.note("sixth", "good", "f", 6)
    journal.drop(1)
    assert [len(notes) for notes in kept] == [1, 2, 3, 4, 5, 6, 7, 6], "each before its change is made"
    assert journal.undo() == (
        "; put back as it was: fifth, first; could NOT be put back: "
        "fourth, third (input/output error), second"
    )
    assert done == [("e", "5"), ("d", [4]), ("a", 1)]
    assert kept[-1] == []
    assert journal.undo() == ""


def test_what_cannot_be_kept_is_not_counted_as_a_change() -> None:
    def full(notes: list[Any]) -> None:
        if notes:
            raise Error("no space")

    kernel = Kernel(dict(V1))
    with kernel, pytest.raises(Error, match="no space"), Journal(WAYS, keep=full) as journal:
        changes.update(group("v1"), {"pids": {"limit": 5}}, "", journal)
    assert kernel.states == []


def test_a_program_of_device_rules_that_is_refused_is_nothing_to_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: str, rules: Any, pointer: str) -> None:
        raise Error("not permitted", pointer=pointer)

    monkeypatch.setattr(device_changes.device_filter, "attach", refuse)
    journal = Journal(WAYS)
    with pytest.raises(Error) as caught, journal:
        device_changes.replace(group("v2"), [{"allow": True}], [], "", journal)
    assert (str(caught.value), journal.notes) == ("/devices: not permitted", [])
