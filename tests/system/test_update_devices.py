"""`pyoci update` of device rules: when they are replaced never is more allowed than by the old or the new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout, manager
from pyoci.cgroup.layout import Layout
from support.cgroups import eventually
from support.containers import Bundle, Runtime
from support.updated import DENY, KMSG, NO_DISK, ON_V2, OPEN, Box, running

pytestmark = pytest.mark.layout

HERE = layout.detect()
ALLOWED = [DENY, {"allow": True, **KMSG, "access": "rw"}]
ALL_BUT_IT = [{"allow": True}, {"allow": False, **KMSG, "access": "rwm"}]


@pytest.fixture
def with_kmsg(runtime: Runtime, bundle: Bundle, here: Layout) -> Iterator[Box]:
    bundle.config["linux"]["devices"] = [{"path": "/dev/kmsg", **KMSG}]
    bundle.config["linux"]["resources"] = {"devices": [DENY]}
    with running(runtime, bundle, here) as made:
        yield made


def test_device_rules_are_replaced(with_kmsg: Box) -> None:
    box = with_kmsg
    assert not box.can(OPEN)
    for rules, allowed in (
        (ALLOWED, True),
        ([DENY], False),
        ([{"allow": True}], True),
        (ALL_BUT_IT, False),
        ([*ALL_BUT_IT, {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "r"}], False),
        ([*ALL_BUT_IT, {"allow": True, **KMSG, "access": "w"}], True),
        ([DENY], False),
    ):
        box.apply({"devices": rules})
        assert box.can(OPEN) is allowed, rules
        assert box.can(": > /dev/null"), rules
        assert box.runtime.state("box")["status"] == "running"
    assert box.saved()["devices"] == [DENY]


def test_device_rules_go_with_the_rest(with_kmsg: Box) -> None:
    """Both are put back, whichever fails."""
    box = with_kmsg
    said = box.refused({"devices": ALLOWED, "blockIO": {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]}})
    assert "/blockIO/throttleReadBpsDevice/0" in said
    assert not box.can(OPEN)
    before = box.limits()
    if not ON_V2:  # what v1's lists can't say
        one = {"allow": False, **KMSG, "access": "w"}
        said = box.refused(
            {"devices": [DENY, {"allow": True, "type": "c", "major": 1}, one], "pids": {"limit": 7}}
        )
        assert "/devices/2: cgroup v1 can't deny" in said
        assert "put back as it was: pids.max (max)" in said
        assert box.limits() == before
    assert not box.can(OPEN)


def test_nothing_is_allowed_while_rules_are_replaced(with_kmsg: Box) -> None:
    """A process tries all the time, with both the old and the new rules against it."""
    box = with_kmsg
    tries = f"({OPEN}) 2>/dev/null && touch /opened; (: > /dev/null) || touch /denied; touch /tried"
    box.runtime.detached("exec", "--detach", "box", "sh", "-c", f"while :; do {tries}; done")
    tried = box.bundle.rootfs / "tried"
    for _ in range(5):
        for rules in (ALL_BUT_IT, [DENY]):
            box.apply({"devices": rules})
            tried.unlink(missing_ok=True)
            eventually(tried.exists)
    found = os.listdir(box.bundle.rootfs)
    assert "opened" not in found
    assert "denied" not in found


def test_a_paused_containers_device_rules(with_kmsg: Box) -> None:
    box = with_kmsg
    box.runtime.ok("pause", "box")
    box.apply({"devices": ALL_BUT_IT})
    assert box.runtime.state("box")["status"] == "paused"
    box.runtime.ok("resume", "box")
    assert not box.can(OPEN)
    assert box.can(": > /dev/null")


ALL_BUT_USING_IT = [{"allow": True}, {"allow": False, **KMSG, "access": "rw"}]


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
@pytest.mark.parametrize(
    ("before", "rules"),
    [
        ([DENY], [(ALLOWED, True, False), ([DENY], False, False)]),
        (ALL_BUT_USING_IT, [([{"allow": True}], True, False), (ALL_BUT_USING_IT, False, False)]),
        ([{"allow": True}], [(ALL_BUT_USING_IT, False, False), ([{"allow": True}], True, False)]),
    ],
    ids=["deny by default", "allow but one", "allow all"],
)
def test_device_rules_of_a_container_with_cgroups_of_its_own(
    runtime: Runtime, bundle: Bundle, here: Layout, before: Any, rules: Any
) -> None:
    """The kernel changes no default there, and neither allows below what is allowed above again."""
    bundle.config["linux"].update(
        devices=[{"path": "/dev/kmsg", **KMSG}], resources={"devices": before, "pids": {"limit": 50}}
    )
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    )
    nested = "/sys/fs/cgroup/devices/nested"
    within = f"echo $$ >{nested}/cgroup.procs; {OPEN}"
    with running(runtime, bundle, here) as box:
        was_open = box.can(OPEN)
        assert box.can(f"mkdir {nested}")
        assert box.can(within) is was_open
        for wanted, allowed, allowed_below in rules:
            box.apply({"devices": wanted})
            assert box.can(OPEN) is allowed, wanted
            assert box.can(within) is allowed_below, wanted
        said = box.refused(
            {"devices": ALLOWED, "blockIO": {"throttleReadBpsDevice": [{**NO_DISK, "rate": 5}]}}
        )
        assert "/blockIO/throttleReadBpsDevice/0" in said
        other = [{"allow": True}] if before == [DENY] else [DENY]
        said = box.refused({"devices": other, "pids": {"limit": 7}})
        assert "/devices: the list of /" in said
        assert "while there is the cgroup /" in said
        assert "put back as it was: pids.max (50)" in said
        assert "NOT" not in said
        assert box.can(OPEN) is allowed
        assert box.can(f"rmdir {nested}")
        box.apply({"devices": other})
        assert box.can(OPEN) is (before == [DENY])


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
def test_a_denial_of_a_cgroup_above_is_in_nobodys_way(runtime: Runtime, bundle: Bundle, here: Layout) -> None:
    """It can't be taken out of the list below, nor has it to be."""
    bundle.config["linux"].update(
        devices=[{"path": "/dev/kmsg", **KMSG}], resources={"devices": ALL_BUT_USING_IT}
    )
    with running(runtime, bundle, here, below="/inner") as box:
        above = Path(box.group.paths()["devices"]).parent
        (above / "devices.deny").write_text("c 1:11 w")
        box.apply({"devices": [{"allow": True}]})
        assert not box.can(OPEN)
        (above / "devices.allow").write_text("c 1:11 w")
        box.apply({"devices": ALL_BUT_USING_IT})
        box.apply({"devices": [{"allow": True}]})
        assert box.can(OPEN)
    for directory in {os.path.dirname(path) for path in box.group.paths().values()}:
        os.rmdir(directory)


@pytest.mark.skipif("devices" not in HERE.v1, reason="there is no v1 hierarchy of devices here")
def test_create_names_the_cgroup_that_keeps_its_rules_from_being_set(
    runtime: Runtime, bundle: Bundle, here: Layout
) -> None:
    name = f"/pyoci-test-{os.getpid()}"
    below = Path(manager.new(here, f"{name}/below", "unused").paths()["devices"])
    below.mkdir(parents=True)
    bundle.config["linux"]["cgroupsPath"] = name
    done = runtime.call("create", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert "/linux/resources/devices: the kernel refused 'a' for devices.deny in /" in done.stderr
    assert f"a list can't be begun anew over the cgroup {below}" in done.stderr
