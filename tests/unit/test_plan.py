"""Laws that every plan keeps, over generated configurations; and the plans of particular ones."""

from __future__ import annotations

import copy
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoci.bundle.rules import sysctl_path
from pyoci.errors import Error
from pyoci.plan import capabilities, compile, encode, explain, kernel, mount_options, scheduling
from pyoci.plan.situation import CgroupHierarchy, CgroupView, Situation
from pyoci.plan.steps import TABLE, Step

BASE = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}

ABSOLUTE = st.text(st.sampled_from("abc/"), min_size=1, max_size=8).map(lambda text: "/" + text)
OPTIONS = st.lists(
    st.sampled_from(sorted({*mount_options.ATTRIBUTES, *mount_options.PROPAGATION, "size=1k", "mode=755"})),
    max_size=4,
)


def without_data(mount: dict) -> dict:
    """cgroup hierarchies take no options of a filesystem: they are there already."""
    if mount["type"] != "cgroup":
        return mount
    return {**mount, "options": [option for option in mount["options"] if "=" not in option]}


FILESYSTEM = st.fixed_dictionaries(
    {
        "destination": ABSOLUTE,
        "type": st.sampled_from(["tmpfs", "proc", "sysfs", "mqueue", "devpts", "cgroup"]),
        "source": st.sampled_from(["x", "tmpfs"]),
        "options": OPTIONS,
    }
).map(without_data)
BIND = st.fixed_dictionaries(
    {
        "destination": ABSOLUTE,
        "source": ABSOLUTE,
        "options": st.lists(
            st.sampled_from(sorted({*mount_options.ATTRIBUTES, *mount_options.RECURSIVE})), max_size=3
        ).map(lambda options: ["rbind", *options]),
    }
)
NAMESPACES = (
    st.lists(st.sampled_from(sorted(kernel.NAMESPACES)), unique=True, max_size=8)
    .flatmap(
        lambda kinds: st.tuples(
            *[
                st.sampled_from([{"type": kind}, {"type": kind, "path": f"/proc/1/ns/{kind}"}])
                for kind in kinds
            ]
        )
    )
    .map(lambda entries: [{"type": "mount"}, *(e for e in entries if e["type"] != "mount")])
)


@st.composite
def configs(draw: st.DrawFn) -> dict:
    """Valid configurations, of which the schema would have nothing to say."""
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    linux = {
        "namespaces": draw(NAMESPACES),
        "uidMappings": mapping,
        "gidMappings": mapping,
        "maskedPaths": draw(st.lists(ABSOLUTE, max_size=3)),
        "readonlyPaths": draw(st.lists(ABSOLUTE, max_size=3)),
        "sysctl": draw(
            st.dictionaries(st.sampled_from(["net.ipv4.ip_forward", "kernel.msgmax"]), st.just("1"))
        ),
        "rootfsPropagation": draw(st.sampled_from(["", "shared", "rslave", "private"])),
    }
    names = st.lists(st.sampled_from(capabilities.NAMES), max_size=5)
    process = {
        "terminal": draw(st.booleans()),
        "cwd": "/work",
        "args": draw(
            st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)
        ),
        "env": draw(st.lists(st.sampled_from(["PATH=/bin", "HOME=/x", "A=b"]), unique=True)),
        "user": {"uid": draw(st.integers(0, 2**32 - 2)), "gid": 5, "additionalGids": [1, 2]},
        "noNewPrivileges": draw(st.booleans()),
        "capabilities": {
            kind: draw(names) for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2**64 - 1, "hard": 2**64 - 1}],
    }
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": draw(st.booleans())},
        "hostname": "h",
        "process": process,
        "mounts": draw(st.lists(st.one_of(FILESYSTEM, BIND), max_size=5)),
        "linux": linux,
        "hooks": draw(st.sampled_from([{}, {"prestart": [{"path": "/bin/true"}]}])),
    }


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    situation = Situation("c")
    situation.gated = draw(st.booleans())
    situation.pivot = draw(st.booleans())
    situation.privileged = draw(st.booleans())
    situation.filter = draw(st.sampled_from([b"", b"\0" * 16]))
    situation.cgroups = CgroupView(
        False,
        [
            CgroupHierarchy("memory", ["memory"], "/m/x"),
            CgroupHierarchy("cpu,cpuacct", ["cpu", "cpuacct"], "/c/x"),
        ],
    )
    return situation


def plan_of(config: dict, situation: Situation | None = None) -> compile.Plan:
    return compile.compile_container(config, situation or Situation(), bundle="/b", rootfs="/b/rootfs")


def ops(plan: compile.Plan) -> list[str]:
    return [step.op for step in plan.steps]


def changed(**changes: object) -> dict:
    config = copy.deepcopy(BASE)
    for path, value in changes.items():
        place = config
        *parents, last = path.split("__")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return config


@settings(max_examples=200, deadline=None)
@given(configs(), situations())
def test_laws_of_every_plan(config: dict, situation: Situation) -> None:
    before = copy.deepcopy(config)
    plan = plan_of(config, situation)
    names = ops(plan)
    assert config == before, "compiling changes nothing"
    assert names[-1] == "execute"
    assert names.count("execute") == 1
    change = names.index("pivot_root" if situation.pivot else "move_root")
    mounting = ("mount_bind", "mount_filesystem", "remount", "mask_path", "readonly_path", "make_device")
    assert not any(name in mounting for name in names[change:]), "nothing is mounted once the root is its own"
    if situation.filter:
        index = names.index("seccomp")
        assert names.count("seccomp") == 1
        if config["process"]["noNewPrivileges"]:
            assert index == len(names) - 2, "nothing but execute follows the filter"
        else:
            assert index < names.index("bounding_set"), "it needs CAP_SYS_ADMIN"
    for step in plan.steps:
        if step.op not in ("die_with_parent", "gate", "wait_runtime"):
            assert step.pointer.startswith("/"), f"{step.op} has no source"
    assert names.index("capabilities") > len(names) - 1 - names[::-1].index("user")
    assert ("clone" in names) == plan.staged
    assert names.count("gate") == int(situation.gated)
    user = any(entry["type"] == "user" for entry in config["linux"]["namespaces"])
    assert ("rlimit" in names) != user, "in a user namespace the runtime sets the limits"


@settings(max_examples=100, deadline=None)
@given(configs(), situations())
def test_what_is_encoded_is_what_was_compiled(config: dict, situation: Situation) -> None:
    plan = plan_of(config, situation)
    descriptors = {name: 100 + n for n, name in enumerate([*plan.descriptors, "listener"])}
    data = encode.encode(plan.steps, descriptors)
    assert decode(data) == [
        (
            step.op,
            tuple(
                descriptors[a]
                if k == "fd" and a
                else -1
                if k == "fd"
                else list(a)
                if k in ("strs", "ids")
                else a
                for a, k in zip(step.args, TABLE[step.op][3], strict=True)
            ),
        )
        for step in plan.steps
    ]


def decode(data: bytes) -> list[tuple[str, tuple]]:
    """An independent reader of the wire format."""
    _, _, size, count, _, _ = struct.unpack_from("<6I", data)
    assert size == len(data)
    names = list(TABLE)
    result, offset = [], 24
    for number in range(count):
        opcode, words, index = struct.unpack_from("<HHI", data, offset)
        assert index == number
        offset += 8
        name = names[opcode]
        values = []
        for kind in TABLE[name][3]:
            values.append(_value(data, kind, offset))
            offset += 8
        assert words == len(values)
        result.append((name, tuple(values)))
    return result


def _value(data: bytes, kind: str, at: int) -> object:
    if kind in ("int", "fd"):
        return struct.unpack_from("<q", data, at)[0]
    place, length = struct.unpack_from("<II", data, at)
    if kind in ("str", "bytes"):
        assert data[place + length] == 0
        raw = data[place : place + length]
        return raw.decode("utf-8", "surrogateescape") if kind == "str" else raw
    assert place % 4 == 0
    if kind == "ids":
        return list(struct.unpack_from(f"<{length}I", data, place))
    return [_value(data, "str", place + 8 * n) for n in range(length)]


@settings(max_examples=50, deadline=None)
@given(configs())
def test_explaining_speaks_of_every_step(config: dict) -> None:
    plan = plan_of(config)
    assert len(explain.lines(plan)) == len(plan.steps)
    for entry in explain.document(plan):
        assert entry["says"]
        assert "{" not in entry["says"] or "{" in str(entry["arguments"])


def test_mounts_keep_their_order() -> None:
    mounts = [{"destination": f"/m{n}", "type": "tmpfs", "source": "tmpfs"} for n in range(9)]
    plan = plan_of(changed(mounts=mounts))
    names = TABLE["mount_filesystem"][2]
    targets = [
        dict(zip(names, s.args, strict=True))["target"] for s in plan.steps if s.op == "mount_filesystem"
    ]
    assert targets == [f"/m{n}" for n in range(9)]


def test_a_later_option_wins() -> None:
    assert mount_options.parse(["ro", "rw"]).set == 0
    assert mount_options.parse(["ro", "rw"]).clear == kernel.MOUNT_ATTR_RDONLY
    assert mount_options.parse(["rw", "ro"]).set == kernel.MOUNT_ATTR_RDONLY
    assert mount_options.parse(["noatime", "strictatime"]).set == kernel.MOUNT_ATTR_STRICTATIME


def test_recursive_attributes_of_a_new_filesystem_are_its_own() -> None:
    options = mount_options.parse(["ro", "noatime", "rrw", "rnosuid", "rstrictatime"])
    options.flatten()
    assert options.set == kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_STRICTATIME
    assert (options.rset, options.rclear, options.superblock) == (0, 0, 0)


def mounted(**properties: Any) -> list[Step]:
    plan = plan_of(changed(mounts=[{"destination": "/x", **properties}]))
    return [step for step in plan.steps if step.pointer == "/mounts/0"]


def test_a_remount_is_of_what_is_there_whatever_else_is_said() -> None:
    (step,) = mounted(options=["remount", "bind", "ro", "sync"])
    assert step.op == "remount" and step.args == ("/x", 0, kernel.MOUNT_ATTR_RDONLY, 0, [])
    first, second, third = mounted(options=["remount", "ro", "rnodev", "shared"])
    assert (first.op, second.op, third.op) == ("remount", "tree_attributes", "mount_propagation")
    assert first.args[1] == kernel.MS_RDONLY


def test_a_tmpfs_takes_from_what_it_covers_what_isnt_asked_for() -> None:
    def flags(*options: str, kind: str = "tmpfs") -> object:
        (step,) = mounted(type=kind, source=kind, options=list(options))
        return step.args[-1]

    keep_mode, copy_up, keep_owner = 1, 2, 4
    assert flags() == keep_mode
    assert flags("mode=755") == 0
    assert flags(kind="ramfs") == 0
    assert flags("tmpcopyup") == keep_mode | copy_up | keep_owner
    assert flags("tmpcopyup", "mode=1777", "uid=5") == copy_up


def test_only_in_a_user_namespace_sysfs_may_be_the_hosts() -> None:
    names = TABLE["mount_filesystem"][2]
    for namespaces, expected in (([], ""), ([{"type": "user"}], "/sys")):
        config = changed(
            linux__namespaces=[{"type": "mount"}, *namespaces],
            mounts=[{"destination": "/sys", "type": "sysfs", "source": "sysfs"}],
        )
        (step,) = [step for step in plan_of(config).steps if step.op == "mount_filesystem"]
        assert dict(zip(names, step.args, strict=True))["fallback"] == expected


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_the_cgroup_namespace_is_made_when_the_process_is_in_its_cgroup(kind: str) -> None:
    config = changed(
        linux__namespaces=[{"type": "mount"}, {"type": "cgroup"}],
        mounts=[
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys/fs/cgroup", "type": kind, "source": kind},
        ],
    )
    situation = Situation()
    situation.cgroups = CgroupView(True, [CgroupHierarchy("unified", [""], "/sys/fs/cgroup/c")])
    names = ops(plan_of(config, situation))
    assert names.index("wait_runtime") < names.index("unshare")
    first, second = [i for i, name in enumerate(names) if name == "mount_filesystem"]
    assert first < names.index("unshare") < second


def test_without_a_mount_namespace_nothing_is_mounted() -> None:
    with pytest.raises(Error) as caught:
        plan_of(changed(linux__namespaces=[]))
    assert caught.value.pointer == "/linux/namespaces"


def test_data_options_of_a_bind_are_refused() -> None:
    mount = {"destination": "/d", "source": "/s", "options": ["bind", "size=1k"]}
    with pytest.raises(Error) as caught:
        plan_of(changed(mounts=[mount]))
    assert caught.value.pointer == "/mounts/0/options/1"
    assert "size=1k" in caught.value.message


def test_an_empty_option_is_nothing() -> None:
    """buildah writes one for each volume."""
    plain, empty = (
        plan_of(changed(mounts=[{"destination": "/d", "source": "/s", "type": "bind", "options": options}]))
        for options in (["rbind"], ["", "rbind"])
    )
    assert explain.document(empty) == explain.document(plain)


def test_root_enters_a_joined_user_namespace_last_and_others_first() -> None:
    entries = [
        {"type": "mount"},
        {"type": "user", "path": "/proc/7/ns/user"},
        {"type": "network", "path": "/proc/7/ns/net"},
    ]
    situation = Situation()
    for privileged, expected in ((True, ["network", "user"]), (False, ["user", "network"])):
        situation.privileged = privileged
        plan = plan_of(changed(linux__namespaces=entries), situation)
        joined = [
            step.args[0].removeprefix("namespace:") for step in plan.steps if step.op == "join_namespace"
        ]
        assert joined == expected


def test_capabilities_nobody_can_grant_are_left_out_with_a_warning() -> None:
    situation = Situation()
    situation.bounding = 1 << 10
    situation.last_capability = 38
    sets = {
        kind: ["CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_BPF", "CAP_X"] for kind in ("bounding", "permitted")
    }
    result = capabilities.compile_capabilities(sets, situation, "/process/capabilities")
    assert result.bounding == 1 << 10
    assert len(situation.warnings) == 6
    assert situation.warnings[0].startswith("/process/capabilities/bounding/1: ")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
    ],
)
def test_sysctl_names(key: str, path: str) -> None:
    assert sysctl_path(key) == path


def test_the_affinity_of_exec_is_not_the_first_process_s() -> None:
    affinity = {"initial": "0-1", "final": "3"}
    config = changed(process__execCPUAffinity=affinity)
    assert [step.args[0] for step in plan_of(config).steps if step.op == "affinity"] == [b""]
    plan = compile.compile_exec(config, config["process"], Situation(), kinds=0, user=False)
    masks = [(i, s.args[0]) for i, s in enumerate(plan.steps) if s.op == "affinity"]
    assert [mask for _, mask in masks] == [(3).to_bytes(8, "little"), (8).to_bytes(8, "little")]
    assert masks[0][0] < ops(plan).index("clone") < masks[1][0]


def test_an_inherited_affinity_is_reset_in_the_cgroup() -> None:
    """Every CPU, once the process is where its cpuset says which: before, the reset would be the host's."""
    config = changed()
    for plan in (
        plan_of(config),
        compile.compile_exec(config, config["process"], Situation(), kinds=0, user=False),
    ):
        joined = next(i for i, s in enumerate(plan.steps) if s.args[:1] == (compile.JOIN,))
        (reset,) = [i for i, s in enumerate(plan.steps) if s.op == "affinity"]
        assert plan.steps[reset].args[0] == b""
        assert joined < reset < ops(plan).index("find_program")


def test_masks_have_any_size() -> None:
    """Machines with more than the 1,024 CPUs of the C library's cpu_set_t exist."""
    mask = scheduling.bit_mask("1023-1025,8191,65535", "/p")
    assert len(mask) == 8192
    assert {n for n in range(65536) if mask[n // 8] >> n % 8 & 1} == {1023, 1024, 1025, 8191, 65535}


@pytest.mark.parametrize(("text", "numbers"), [("0", {0}), ("0-2,64", {0, 1, 2, 64}), ("", set())])
def test_number_lists(text: str, numbers: set[int]) -> None:
    mask = int.from_bytes(scheduling.bit_mask(text, "/p"), "little")
    assert {n for n in range(200) if mask >> n & 1} == numbers


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-", "99999999", "١"])
def test_number_lists_that_are_none(text: str) -> None:
    with pytest.raises(Error):
        scheduling.bit_mask(text, "/p")


# ------------------------------------------------------------------- devices, masks and the root


def arguments(plan: compile.Plan, op: str) -> list[dict]:
    return [dict(zip(TABLE[op][2], step.args, strict=True)) for step in plan.steps if step.op == op]


def test_devices_of_a_user_namespace_are_bound() -> None:
    entries = [
        {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20640, "uid": 5},
        {"path": "/dev/p", "type": "p"},
        {"path": "/dev/null", "type": "u", "major": 1, "minor": 3},
    ]
    config = changed(linux__devices=entries)
    assert "bind_device" not in ops(plan_of(config))
    config["linux"]["namespaces"].append({"type": "user"})
    plan = plan_of(config)
    bound = arguments(plan, "bind_device")
    assert [one["path"] for one in bound[-2:]] == ["/dev/x", "/dev/null"]
    assert (bound[-2]["mode"], bound[-2]["uid"], bound[-2]["gid"]) == (0o640, 5, -1)
    assert len(bound) == 7, "the default ones too, but for the one that is asked for"
    assert [one["path"] for one in arguments(plan, "make_device")] == ["/dev/p"]


@pytest.mark.parametrize("kcore", [False, True])
def test_the_link_to_the_kernels_memory(kcore: bool) -> None:
    situation = Situation()
    situation.kcore = kcore
    links = [link["path"] for link in arguments(plan_of(BASE, situation), "make_symlink")]
    assert ("/dev/core" in links) == kcore


@pytest.mark.parametrize(
    ("options", "readonly"), [(["ro"], True), (["rw", "ro"], True), (["ro", "rw"], False), ([], False)]
)
def test_a_read_only_dev_becomes_so_when_it_is_filled(options: list[str], readonly: bool) -> None:
    mount = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}
    plan = plan_of(changed(mounts=[mount]))
    assert not arguments(plan, "mount_filesystem")[0]["attrs"] & kernel.MOUNT_ATTR_RDONLY
    assert [one["target"] for one in arguments(plan, "remount")] == ["/dev"] * readonly
    if readonly:
        names = ops(plan)
        assert names.index("remount") > len(names) - 1 - names[::-1].index("make_symlink")


def test_a_mask_ends_in_no_slash() -> None:
    plan = plan_of(changed(linux__maskedPaths=["/a//", "/b", "/"]))
    assert [one["path"] for one in arguments(plan, "mask_path")] == ["/a", "/b", "/"]


@pytest.mark.parametrize("value", ["", *mount_options.PROPAGATION])
def test_only_a_shared_root_leaves_the_hosts_mounts_shared(value: str) -> None:
    plan = plan_of(changed(linux__rootfsPropagation=value))
    (first,) = arguments(plan, "host_propagation")
    shared = value in ("shared", "rshared")
    assert shared == (not first["flags"] & (kernel.MS_SLAVE | kernel.MS_PRIVATE))
    assert shared or first["flags"] & kernel.MS_REC
    last = [one["flags"] for one in arguments(plan, "root_propagation")]
    assert last == ([mount_options.PROPAGATION[value]] if shared or "unbindable" in value else [])


def cgroup_plan(view: CgroupView, *options: str, namespace: bool = False, kind: str = "cgroup") -> list:
    config = changed(
        linux__namespaces=[{"type": "mount"}, *([{"type": "cgroup"}] if namespace else [])],
        mounts=[{"destination": "/cg", "type": kind, "source": kind, "options": list(options)}],
    )
    situation = Situation()
    situation.cgroups = view
    return [step for step in plan_of(config, situation).steps if step.pointer.startswith("/mounts")]


def test_controllers_that_share_a_hierarchy_have_links_to_it() -> None:
    view = CgroupView(
        False,
        [
            CgroupHierarchy("both", ["cpu", "cpuacct"], "/sys/fs/cgroup/both/c"),
            CgroupHierarchy("net_cls,net_prio", ["net_cls", "net_prio", "name=x"], "/sys/fs/cgroup/net/c"),
        ],
    )
    for namespace in (False, True):
        links = {step.args for step in cgroup_plan(view, namespace=namespace) if step.op == "make_symlink"}
        assert {(value, path) for value, path, _ in links} == {
            ("both", "/cg/cpu"), ("both", "/cg/cpuacct"),
            ("net_cls,net_prio", "/cg/net_cls"), ("net_cls,net_prio", "/cg/net_prio"),
        }  # fmt: skip
    types = [step.args[:4] for step in cgroup_plan(view, namespace=True) if step.op == "mount_filesystem"]
    assert types[1:] == [
        ("cgroup", "cgroup", "/cg/both", ["cpu", "cpuacct"]),
        ("cgroup", "cgroup", "/cg/net_cls,net_prio", ["net_cls", "net_prio", "name=x"]),
    ]


def test_a_cgroup_without_a_path_shows_nothing() -> None:
    view = CgroupView(True, [CgroupHierarchy("unified", [""], "", shared=True)])
    (step,) = cgroup_plan(view, "rw")
    assert (step.op, step.args[0]) == ("mount_filesystem", "tmpfs")
    assert step.args[4] & kernel.MS_RDONLY and step.args[5] & kernel.MOUNT_ATTR_RDONLY


def test_cgroup2_beside_v1_is_its_own_part_only() -> None:
    view = CgroupView(False, [CgroupHierarchy("unified", [""], "/sys/fs/cgroup/unified/c")])
    (step,) = cgroup_plan(view, kind="cgroup2")
    assert (step.op, step.args[0], step.args[2]) == ("mount_bind", "/sys/fs/cgroup/unified/c", "/cg")
    (step,) = cgroup_plan(view, "ro", kind="cgroup2", namespace=True)
    assert (step.op, step.args[0]) == ("mount_filesystem", "cgroup2")
    assert step.args[4] == 0, "the superblock is shared with later mounts that may be writable"
