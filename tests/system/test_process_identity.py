"""Who the container's process is and what it may do, as the kernel says it from outside.

tests/unit/test_property_table.py says which property which test shows.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime, Sleeper, status

# ---------------------------------------------------------------- who it is


def test_user(sleeper: Sleeper) -> None:
    sleeper.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [100, 9], "umask": 0o127}
    found = status(sleeper.pid())
    assert (found["Uid"], found["Gid"], found["Groups"]) == (["7"] * 4, ["8"] * 4, ["9", "100"])
    assert found["Umask"] == ["0127"]


def test_without_groups_there_are_none(sleeper: Sleeper) -> None:
    """Not the runtime's own, which an administrator may have many of."""
    found = status(sleeper.pid())
    assert (found["Uid"], found["Groups"], found["Umask"]) == (["0"] * 4, [], ["0022"])


def test_a_user_is_a_number_whatever_the_image_says(sleeper: Sleeper) -> None:
    """CVE-2016-3697: a name that is a number was looked up in the container's /etc/passwd."""
    (sleeper.bundle.rootfs / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    (sleeper.bundle.rootfs / "etc/group").write_text("1000:x:0:\n")
    sleeper.process["user"] = {"uid": 1000, "gid": 1000}
    found = status(sleeper.pid())
    assert (found["Uid"], found["Gid"]) == (["1000"] * 4, ["1000"] * 4)
    line = sleeper.runtime.ok("exec", "--user", "1000", "box", "grep", "Uid", "/proc/self/status")
    assert line.split()[1:] == ["1000"] * 4


IDS = [{"containerID": 0, "hostID": 100000, "size": 5000}, {"containerID": 5000, "hostID": 300000, "size": 9}]


def test_mappings(sleeper: Sleeper) -> None:
    sleeper.bundle.in_user_namespace()
    sleeper.linux.update(uidMappings=IDS, gidMappings=IDS[:1])
    sleeper.process["user"] = {"uid": 5003, "gid": 4}
    pid = sleeper.pid()
    lines = [line.split() for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines()]
    assert lines == [["0", "100000", "5000"], ["5000", "300000", "9"]]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "100000", "5000"]
    assert (status(pid)["Uid"], status(pid)["Gid"]) == (["300003"] * 4, ["100004"] * 4)


def test_many_mappings(sleeper: Sleeper) -> None:
    """As many lines as the kernel takes. Of longer ones fewer: together they must fit in a page."""
    many = [{"containerID": n, "hostID": 1000 + 2 * n, "size": 1} for n in range(340)]
    sleeper.bundle.in_user_namespace()
    sleeper.linux.update(uidMappings=many, gidMappings=many)
    assert len(Path(f"/proc/{sleeper.pid()}/uid_map").read_text().splitlines()) == 340


def test_too_much_text_for_the_kernel(sleeper: Sleeper) -> None:
    many = [{"containerID": n, "hostID": 100000 + 2 * n, "size": 1} for n in range(340)]
    sleeper.bundle.in_user_namespace()
    sleeper.linux.update(uidMappings=many, gidMappings=many)
    message = sleeper.refused()
    assert (
        "/linux/uidMappings: the kernel refused 340 lines (0 100000 1; 1 100002 1; ...) as uid_map" in message
    )
    assert "less than 4096 bytes" in message


# ---------------------------------------------------------------- what it may do

SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "ambient": "CapAmb",
}


def masks(pid: int) -> dict[str, int]:
    found = status(pid)
    return {kind: int(found[name][0], 16) for kind, name in SETS.items()}


def test_capabilities(sleeper: Sleeper) -> None:
    """CAP_CHOWN is 0, CAP_DAC_OVERRIDE 1, CAP_FOWNER 3, CAP_KILL 5. A change of the program keeps for a user
    what is ambient, and of the inheritable nothing else."""
    sleeper.process["user"] = {"uid": 1000, "gid": 1000}
    sleeper.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_FOWNER"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    assert masks(sleeper.pid()) == {
        "bounding": 0b101011, "inheritable": 0b100001, "ambient": 0b100000, "permitted": 0b100000,
        "effective": 0b100000,
    }  # fmt: skip


@pytest.mark.parametrize(("no_new_privileges", "mask"), [(False, 32), (True, 0)])
def test_root_may_do_what_is_bounding(no_new_privileges: bool, mask: int, sleeper: Sleeper) -> None:
    """The kernel's rule for programs that root runs, unless nothing may be gained (capabilities(7))."""
    sleeper.process["noNewPrivileges"] = no_new_privileges
    sleeper.process["capabilities"] = {"bounding": ["CAP_KILL"], "permitted": [], "effective": []}
    found = masks(sleeper.pid())
    assert found == {"bounding": 32, "permitted": mask, "effective": mask, "inheritable": 0, "ambient": 0}


def test_a_user_has_nothing_unless_it_is_ambient(sleeper: Sleeper) -> None:
    """CVE-2016-8867, CVE-2022-24769: neither ambient nor inheritable sets that nobody asked for."""
    sleeper.process["user"] = {"uid": 1000, "gid": 1000}
    found = masks(sleeper.pid())
    assert found.pop("bounding") == 1 << 0 | 1 << 5 | 1 << 10
    assert set(found.values()) == {0}
    shown = sleeper.runtime.ok("exec", "--cap", "CAP_NET_ADMIN", "box", "grep", "Cap", "/proc/self/status")
    execed = {line.split()[0]: int(line.split()[1], 16) for line in shown.splitlines()}
    assert (execed["CapInh:"], execed["CapAmb:"]) == (0, 0)


def test_without_capabilities_there_are_none(sleeper: Sleeper) -> None:
    del sleeper.process["capabilities"]
    assert set(masks(sleeper.pid()).values()) == {0}


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(value: bool, sleeper: Sleeper) -> None:
    sleeper.process["noNewPrivileges"] = value
    assert status(sleeper.pid())["NoNewPrivs"] == [str(int(value))]


# In /proc/PID/limits, in the order of the kernel's numbers
LIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip


def limits(pid: int) -> dict[str, tuple[int, int]]:
    """Asked of the kernel by number, as two of them have no name in Python."""
    return {f"RLIMIT_{name}": resource.prlimit(pid, number) for number, name in enumerate(LIMITS)}


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_rlimits(user: bool, sleeper: Sleeper) -> None:
    """All sixteen, each with values of its own: below what we have ourselves, as raising may be forbidden."""
    if user:
        sleeper.bundle.in_user_namespace()
    ours = limits(os.getpid())
    wanted = {}
    for number, (name, (_, hard)) in enumerate(ours.items()):
        high = 1 << 32 if hard == resource.RLIM_INFINITY else hard
        wanted[name] = (max(high - 2 * number - 1, 0), max(high - number, 0))
    sleeper.process["rlimits"] = [
        {"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()
    ]
    assert len(wanted) == 16
    assert limits(sleeper.pid()) == wanted


def test_an_infinite_rlimit(sleeper: Sleeper) -> None:
    sleeper.process["rlimits"] = [{"type": "RLIMIT_AS", "soft": 2**64 - 1, "hard": 2**64 - 1}]
    assert limits(sleeper.pid())["RLIMIT_AS"] == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_a_limit_given_twice(sleeper: Sleeper) -> None:
    limit = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    sleeper.process["rlimits"] = [limit, limit]
    assert "/process/rlimits/1/type: RLIMIT_CORE was found again" in sleeper.refused()


def test_oom_score_adj(sleeper: Sleeper) -> None:
    sleeper.process["oomScoreAdj"] = 321
    assert Path(f"/proc/{sleeper.pid()}/oom_score_adj").read_text() == "321\n"


# ---------------------------------------------------------------- while it is made


def test_while_it_waits_it_is_the_host_root_s(sleeper: Sleeper) -> None:
    """Not dumpable until its program runs: what it has open isn't for the container's root to look at."""
    sleeper.bundle.in_user_namespace()
    pid = sleeper.create()
    assert status(pid)["Uid"] == ["100000"] * 4
    assert Path(f"/proc/{pid}/fd").stat().st_uid == Path(f"/proc/{pid}/mem").stat().st_uid == 0
    sleeper.runtime.ok("start", "box")
    assert Path(f"/proc/{pid}/fd").stat().st_uid == 100000


@pytest.mark.parametrize("flags", [(), ("--no-new-keyring",)], ids=["", "no new keyring"])
def test_a_session_keyring_of_its_own(flags: tuple[str, ...], bundle: Bundle, runtime: Runtime) -> None:
    bundle.args("cat", "/proc/keys").save()
    name = f"keyring-{os.getpid()}-{len(flags)}"  # root sees those of other containers too
    keys = runtime.ok("run", *flags, "--bundle", str(bundle.path), name)
    assert (f"_ses.{name}" in keys) == (not flags)
