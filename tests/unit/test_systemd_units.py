"""Units under systemd: their names and slices, limits as properties, properties from annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, new_method_call

from pyoci.cgroup import resources
from pyoci.cgroup.systemd import annotations, driver, properties, values
from pyoci.cgroup.systemd.names import slice_path, unit_name
from pyoci.errors import Error

WORD = st.text("abcxyz019_", min_size=1, max_size=8)

# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("path", "unit", "slice_", "cgroup"),
    [
        (None, "pyoci-box.scope", "system.slice", "/system.slice/pyoci-box.scope"),
        ("", "pyoci-box.scope", "system.slice", "/system.slice/pyoci-box.scope"),
        ("machine.slice:libpod:x", "libpod-x.scope", "machine.slice", "/machine.slice/libpod-x.scope"),
        (":libpod:x", "libpod-x.scope", "system.slice", "/system.slice/libpod-x.scope"),
        ("-:libpod:x", "libpod-x.scope", "-.slice", "/libpod-x.scope"),
        ("a-b-c.slice::x", "-x.scope", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/-x.scope"),
        ("cpu.slice:a:x", "a-x.scope", "cpu.slice", "/_cpu.slice/a-x.scope"),
        ("a.slice:_a:x", "_a-x.scope", "a.slice", "/a.slice/_" + "_a-x.scope"),
        ("memory-a.slice:a:x", "a-x.scope", "memory-a.slice", "/_memory.slice/memory-a.slice/a-x.scope"),
        ("a.slice:cri:a-pod.slice", "a-pod.slice", "a.slice", "/a.slice/a-pod.slice"),
    ],
)
def test_units(path: str | None, unit: str, slice_: str, cgroup: str) -> None:
    found = unit_name(path, "box", default_slice="system.slice")
    assert (found.name, found.slice, found.cgroup()) == (unit, slice_, cgroup)


@pytest.mark.parametrize(
    "path",
    [
        "/a/b", "a", "a.slice:x", "a.slice:x:y:z", "a.slice:x:", "a:x:y", "a--b.slice:x:y", "-a.slice:x:y",
        "a/b.slice:x:y", "a.slice:x:y/z", "a.slice:../x:y", ".slice:x:y", "a.slice:x:" + "y" * 255,
        "a.slice:x:a b",
    ],
)  # fmt: skip
def test_no_units(path: str) -> None:
    with pytest.raises(Error) as caught:
        unit_name(path, "box", default_slice="system.slice")
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert caught.value.hint


@given(st.lists(WORD, min_size=1, max_size=5).filter(lambda words: words[0][0] != "_"))
def test_a_slice_lies_in_the_slices_of_its_prefixes(words: list[str]) -> None:
    path = slice_path("-".join(words) + ".slice")
    assert path.split("/")[1:] == ["-".join(words[:count]) + ".slice" for count in range(1, len(words) + 1)]


# ------------------------------------------------------------------ limits


def of(wanted: dict[str, Any], version: int) -> dict[str, object]:
    writes = resources.translate(wanted, "/linux/resources", lambda name: version)
    return {name: value for name, (_, value) in properties.of_writes(writes)}


def test_limits_on_v2() -> None:
    wanted = {
        "memory": {"limit": 2000, "swap": 3000, "reservation": 1000},
        "cpu": {"shares": 1024, "quota": 33333, "period": 100000, "cpus": "0-1,8", "mems": "0"},
        "pids": {"limit": -1},
        "unified": {"memory.high": "1500", "memory.min": "max", "io.weight": "default 50"},
    }
    assert of(wanted, 2) == {
        "MemoryMax": 2000,
        "MemorySwapMax": 1000,
        "MemoryLow": 1000,
        "MemoryHigh": 1500,
        "MemoryMin": properties.INFINITY,
        "CPUWeight": 100,
        "CPUQuotaPerSecUSec": 340_000,  # systemd keeps percents: rounded up, as a limit must not get tighter
        "CPUQuotaPeriodUSec": 100_000,
        "AllowedCPUs": b"\x03\x01\0\0\0\0\0\0",
        "AllowedMemoryNodes": b"\x01\0\0\0\0\0\0\0",
        "TasksMax": properties.INFINITY,
        "IOWeight": 50,
    }


def test_limits_on_v1() -> None:
    wanted = {
        "memory": {"limit": 2000, "swap": 3000},
        "cpu": {"shares": 512, "quota": 50000, "period": 50000},
        "pids": {"limit": 7},
        "blockIO": {"weight": 300},
    }
    assert of(wanted, 1) == {
        "MemoryLimit": 2000,
        "CPUShares": 512,
        "CPUQuotaPerSecUSec": 1_000_000,
        "CPUQuotaPeriodUSec": 50_000,
        "TasksMax": 7,
        "BlockIOWeight": 300,
    }


def test_idle_is_a_weight_of_its_own() -> None:
    assert of({"cpu": {"idle": 1}}, 2) == {"CPUWeight": 0}
    assert of({"cpu": {"idle": 0}}, 2) == {"CPUWeight": 2**64 - 1}, "its default again"
    assert of({"cpu": {"idle": 0, "shares": 1024}}, 2) == {"CPUWeight": 100}


def test_a_unified_value_wins_over_the_section_that_means_the_same() -> None:
    assert of({"memory": {"limit": 5}, "unified": {"memory.max": "6"}}, 2) == {"MemoryMax": 6}


GIB = 1 << 30
INFINITY = properties.INFINITY


@pytest.mark.parametrize(
    ("file", "value", "expected"),
    [
        ("memory.max", "64M", {"MemoryMax": 64 << 20}),
        ("memory.max", "64m\n", {"MemoryMax": 64 << 20}),
        ("memory.max", " 0x4000 ", {"MemoryMax": 0x4000}),
        ("memory.max", "010k", {"MemoryMax": 8 << 10}),
        ("memory.max", "2G", {"MemoryMax": 2 * GIB}),
        ("memory.max", "1T", {"MemoryMax": 1 << 40}),
        ("memory.max", "1P", {"MemoryMax": 1 << 50}),
        ("memory.max", "1E", {"MemoryMax": 1 << 60}),
        ("memory.max", "0", {"MemoryMax": 1}),  # the least that systemd has a word for
        ("memory.max", "max", {"MemoryMax": INFINITY}),
        ("memory.low", "0", {"MemoryLow": 0}),
        ("memory.swap.max", "0", {"MemorySwapMax": 0}),
        ("pids.max", "max\n", {"TasksMax": INFINITY}),
        ("pids.max", "0x10", {"TasksMax": 16}),
        ("pids.max", "024", {"TasksMax": 20}),
        ("pids.max", "0", {"TasksMax": 1}),
        ("cpu.weight", "0x64", {"CPUWeight": 100}),
        ("cpu.weight", "+70", {"CPUWeight": 70}),
        ("cpu.idle", "0x1", {"CPUWeight": 0}),
        ("cpu.max", "max", {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 100_000}),
        ("cpu.max", "max 50000", {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50_000}),
        ("cpu.max", "50000", {"CPUQuotaPerSecUSec": 500_000, "CPUQuotaPeriodUSec": 100_000}),
        ("cpu.max", " 50000  50000\n", {"CPUQuotaPerSecUSec": 1_000_000, "CPUQuotaPeriodUSec": 50_000}),
        ("io.weight", "50", {"IOWeight": 50}),
        ("io.weight", "default 50", {"IOWeight": 50}),
        ("cpuset.cpus", "0-7:1/4", {"AllowedCPUs": b"\x11\0\0\0\0\0\0\0"}),
        ("cpuset.cpus", "0, 2\n", {"AllowedCPUs": b"\x05\0\0\0\0\0\0\0"}),
    ],
)
def test_values_as_the_kernel_reads_them(file: str, value: str, expected: dict[str, object]) -> None:
    assert of({"unified": {file: value}}, 2) == expected


@pytest.mark.parametrize(
    ("file", "value"),
    [
        *(("memory.max", value) for value in ("", "M", "64MB", "-1", "08", "0x", "1.5G", "64 M", "much")),
        *(("pids.max", value) for value in ("", "-1", "10k", "ten")),
        *(("cpu.weight", value) for value in ("", "0", "10001", "1 2", "max", "99999999999999999999999")),
        *(("cpu.max", value) for value in ("", "ten", "1 0", "-5", "99999999999999 1")),
        *(("io.weight", value) for value in ("", "8:0 50", "default", "0", "20000", "default -3")),
        *(
            ("cpuset.cpus", value)
            for value in ("", "all", "0-N", "3-1", "0-3:2", "0-3:0/2", "0-9999999", "x")
        ),
        *(("cpu.idle", value) for value in ("", "2", "-1", "yes")),
    ],
)
def test_values_that_systemd_has_no_word_for_are_left_to_the_file(file: str, value: str) -> None:
    assert of({"unified": {file: value}}, 2) == {}


@given(
    st.sampled_from(["memory.max", "pids.max", "cpu.weight", "cpu.max", "cpuset.mems", "io.weight"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n")),
)
def test_any_text_is_a_property_or_none(file: str, text: str) -> None:
    for value in of({"unified": {file: text}}, 2).values():
        assert isinstance(value, bytes) or (isinstance(value, int) and 0 <= value < 2**64)


def test_a_quota_without_a_period_is_a_part_of_the_one_in_force() -> None:
    writes = [resources.one("cpu.max", "50000", "/p")]
    assert properties.of_writes(writes, 50_000) == [
        ("CPUQuotaPerSecUSec", ("t", 1_000_000)),
        ("CPUQuotaPeriodUSec", ("t", 50_000)),
    ]


def test_v1_has_another_word_for_no_limit() -> None:
    assert [values.size_v1(text) for text in ("-1", "-5", "max", "64M")] == [INFINITY, None, None, 64 << 20]


DEVICES = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n  8 sd\n"


def test_device_rules_are_the_policy_and_a_list() -> None:
    rules: list[dict[str, object]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "access": "r"},
        {"allow": True, "type": "c", "major": 199, "access": "r"},
    ]
    groups = properties.device_groups(DEVICES)
    assert dict(properties.of_devices(rules, "/d", groups, beside=True))["DevicePolicy"] == ("s", "auto")
    found = dict(properties.of_devices(rules, "/d", groups, beside=False))
    assert found["DevicePolicy"] == ("s", "strict")
    signature, allowed = found["DeviceAllow"]
    assert signature == "a(ss)"
    assert isinstance(allowed, list)
    assert ("/dev/char/10:229", "rw") in allowed
    assert ("block-sd", "r") in allowed
    assert ("char-pts", "rwm") in allowed
    assert ("char-*", "m") in allowed
    assert not [node for node, _ in allowed if "199" in node]  # no name: systemd couldn't find it


def test_devices_that_are_all_allowed_leave_the_policy_open() -> None:
    found = dict(properties.of_devices([{"allow": True, "access": "rwm"}], "/d", {}, True))
    assert found == {"DevicePolicy": ("s", "auto"), "DeviceAllow": ("a(ss)", [])}


def test_ordered_rules_that_no_list_can_say_are_left_to_the_cgroup() -> None:
    rules: list[dict[str, object]] = [
        {"allow": True, "type": "c", "major": 10, "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 5, "access": "rwm"},
    ]
    assert dict(properties.of_devices(rules, "/d", {}, True))["DevicePolicy"] == ("s", "auto")


# ------------------------------------------------------------------ annotations


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)), ("false", ("b", False)),
        ("5", ("i", 5)), ("-5", ("i", -5)), ("0x10", ("i", 16)),
        ("uint64 5", ("t", 5)), ("@t 5", ("t", 5)), ("int16 -5", ("n", -5)), ("1.5", ("d", 1.5)),
        ("double 2", ("d", 2.0)),
        ("'a b'", ("s", "a b")), ('"it\'s"', ("s", "it's")), (r"'\'\n'", ("s", "'\n")),
        ("['a', 'b']", ("as", ["a", "b"])), ("@as []", ("as", [])), ("[uint64 1, 2]", ("at", [1, 2])),
        ("@at [1]", ("at", [1])), ("[[1], [2]]", ("aai", [[1], [2]])), ("  7  ", ("i", 7)),
        ("string 'x'", ("s", "x")), ("objectpath '/a'", ("o", "/a")),
    ],
)  # fmt: skip
def test_values(text: str, value: tuple[str, object]) -> None:
    assert annotations.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "'a", "5 6", "['a', 1]", "[1", "[1 2]", "[]", "byte 256", "2147483648", "uint64 -1",
        "@q 'a'", "@z 1", "@a 1", "b'bytes'", "{'a': 1}", "(1, 2)", "<1>", "1e400x", "int32 1.5", "nothing",
    ],
)  # fmt: skip
def test_no_values(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        annotations.parse(text)


def test_other_annotations_are_no_properties() -> None:
    assert annotations.properties({"org.example": "x", "org.systemd.propert": "1"}) == []


def test_seconds_become_microseconds() -> None:
    asked = {"org.systemd.property.TimeoutStopSec": "uint64 5", "org.systemd.property.RuntimeMaxSec": "0.5"}
    assert annotations.properties(asked) == [
        ("TimeoutStopUSec", ("t", 5_000_000)),
        ("RuntimeMaxUSec", ("t", 500_000)),
    ]
    assert annotations.properties({"org.systemd.property.TimeoutStopUSec": "uint64 5"}) == [
        ("TimeoutStopUSec", ("t", 5))
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "1"), ("lower", "1"), ("A B", "1"), ("A1", "1"), ("A/B", "1"), ("PIDs", "@au [1]"),
        ("Slice", "'system.slice'"), ("Delegate", "false"), ("TimeoutStopSec", "'5'"),
        ("TimeoutStopSec", "-1"), ("CollectMode", "inactive"),
    ],
)  # fmt: skip
def test_annotations_that_are_refused(name: str, text: str) -> None:
    with pytest.raises(Error) as caught:
        annotations.properties({f"org.systemd.property.{name}": text})
    assert caught.value.pointer == "/annotations/org.systemd.property." + name.replace("/", "~1")
    assert caught.value.hint


@given(st.text())
def test_any_text_is_a_value_or_refused(text: str) -> None:
    try:
        signature, _ = annotations.parse(text)
    except ValueError:
        return
    assert signature


def test_properties_are_the_same_after_they_were_kept() -> None:
    told: list[Any] = [
        ("CPUWeight", ("t", 2**64 - 1)),
        ("AllowedCPUs", ("ay", b"\x03")),
        ("DeviceAllow", ("a(ss)", [("/dev/null", "rwm"), ("char-pts", "rw")])),
        ("DevicePolicy", ("s", "strict")),
    ]
    kept = json.loads(json.dumps(driver.told_as_data(told)))
    asked = driver.told_of_data(kept)

    def message(properties: list[Any]) -> bytes:
        address = DBusAddress("/", "org.example")
        return new_method_call(address, "Set", "a(sv)", (properties,)).serialise(1)

    assert message(asked) == message(told)
