"""Device rules: what v1's kernel makes of the lists that pyoci writes, against what the rules say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyoci.cgroup import devices
from pyoci.errors import Error

Key = tuple[str, str, str]


class Kernel:
    """The devices controller of one cgroup (security/device_cgroup.c), its parent allowing all."""

    def __init__(self) -> None:
        self.allow = True
        self.exceptions: dict[Key, set[str]] = {}

    def write(self, file: str, value: str) -> None:
        allow = {"devices.allow": True, "devices.deny": False}[file]
        if value == "a":
            self.allow = allow
            self.exceptions = {}
            return
        kind, numbers, access = value.split(" ")
        major, minor = numbers.split(":")
        kept = self.exceptions.setdefault((kind, major, minor), set())
        if allow == self.allow:
            kept -= set(access)
        else:
            kept |= set(access)

    def permits(self, kind: str, major: int, minor: int, letter: str) -> bool:
        excepted = any(
            kind == k and a in ("*", str(major)) and b in ("*", str(minor)) and letter in access
            for (k, a, b), access in self.exceptions.items()
        )
        return excepted != self.allow


def kernel_after(rules: list[devices.Rule]) -> Kernel:
    kernel = Kernel()
    kernel.write("devices.deny", "c 7:7 rwm")
    for file, value in devices.List(rules).writes():
        kernel.write(file, value)
    return kernel


def last_match(rules: list[devices.Rule], kind: str, major: int, minor: int, letter: str) -> bool:
    for rule in reversed(rules):
        if rule.kind == "a" or (
            rule.kind == kind
            and rule.major in (devices.ANY, major)
            and rule.minor in (devices.ANY, minor)
            and letter in rule.access
        ):
            return rule.allow
    raise AssertionError("the first rule is for everything")


numbers = st.sampled_from([None, 0, 1, 2])
entries = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["a", "b", "c", "c", "c"]),
            "major": numbers,
            "minor": numbers,
            "access": st.sampled_from(["r", "w", "m", "rw", "rwm"]),
        },
    ),
    max_size=6,
)


@given(entries)
def test_the_kernel_decides_as_the_last_rule_that_matches(given_entries: list[dict[str, object]]) -> None:
    rules = devices.rules(given_entries, "/linux/resources/devices")
    try:
        kernel = kernel_after(rules)
    except Error as error:
        assert error.code == "not-supported"
        assert error.pointer.startswith("/linux/resources/devices")
        return
    for kind in "bc":
        for major in (0, 1, 2, 3):
            for minor in (0, 1, 2, 3):
                for letter in "rwm":
                    assert kernel.permits(kind, major, minor, letter) == last_match(
                        rules, kind, major, minor, letter
                    ), (kind, major, minor, letter)


@given(entries, entries, st.integers(0, 12))
def test_entry_by_entry_it_gets_from_any_list_to_any_other_with_the_same_default(
    first: list[dict[str, object]], second: list[dict[str, object]], interrupted: int
) -> None:
    """And back from half-way. Meanwhile nothing is allowed that neither allows."""
    try:
        old, new = (devices.rules(given, "") for given in (first, second))
        before, after = devices.List(old), devices.List(new)
        kernel, ends = kernel_after(old), kernel_after(new)
    except Error:
        assume(False)
    assume(before.allow == after.allow)
    start = decisions(kernel)
    for file, value in after.changes_from(before)[:interrupted]:
        kernel.write(file, value)
        assert decisions(kernel) <= start | decisions(ends)
    for wanted, now, expected in ((before, after, start), (after, before, decisions(ends))):
        for file, value in wanted.changes_from(now):
            kernel.write(file, value)
        assert decisions(kernel) == expected


def decisions(kernel: Kernel) -> set[tuple[str, int, int, str]]:
    """What is permitted, of some devices of each kind."""
    every = itertools.product("bc", range(4), range(4), "rwm")
    return {asked for asked in every if kernel.permits(*asked)}


def permitted(entries: list[dict[str, object]] | None) -> Kernel:
    return kernel_after(devices.rules(entries, "/linux/resources/devices"))


@pytest.mark.parametrize("given_entries", [None, [], [{"allow": False, "access": "rwm"}]])
def test_without_rules_there_are_default_devices_and_mknod(given_entries: list[dict[str, object]]) -> None:
    kernel = permitted(given_entries)
    assert not kernel.allow
    for major, minor in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 12)]:
        assert all(kernel.permits("c", major, minor, letter) for letter in "rwm")
    assert kernel.permits("b", 8, 0, "m")
    assert not kernel.permits("b", 8, 0, "r")
    assert not kernel.permits("c", 10, 200, "r")
    assert not kernel.permits("c", 1, 1, "w")


def test_a_denial_after_allow_all_is_kept_whole() -> None:
    kernel = permitted([{"allow": True}, {"allow": False, "type": "c", "major": 10, "minor": 3}])
    assert not any(kernel.permits("c", 10, 3, letter) for letter in "rwm")
    assert kernel.permits("c", 10, 4, "r")


def test_a_hole_in_what_is_allowed_is_refused_by_its_number() -> None:
    with pytest.raises(Error, match=r"c 10:3 w .*c 10:\* rw") as caught:
        permitted(
            [
                {"allow": True, "type": "c", "major": 10, "access": "rw"},
                {"allow": False, "type": "c", "major": 10, "minor": 3, "access": "w"},
            ]
        )
    assert caught.value.pointer == "/linux/resources/devices/1"
    assert caught.value.code == "not-supported"


def test_all_means_all_whatever_stands_beside_it() -> None:
    kernel = permitted([{"allow": True, "type": "a", "major": 10, "minor": 3, "access": "r"}])
    assert kernel.allow
    assert kernel.exceptions == {}


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ({"allow": True, "type": "u"}, "type"),
        ({"allow": True, "type": "c", "access": "rx"}, "access"),
        ({"allow": True, "type": "c", "major": -2}, "major"),
        ({"allow": True, "type": "c", "minor": 2**32}, "minor"),
    ],
)
def test_what_is_no_rule(entry: dict[str, object], where: str) -> None:
    with pytest.raises(Error) as caught:
        devices.rules([{"allow": False}, entry], "/linux/resources/devices")
    assert caught.value.pointer == f"/linux/resources/devices/1/{where}"
