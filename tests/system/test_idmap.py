"""Idmapped mounts: whose files they show, inside and on the host; and what is said where they can't be."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import Bundle, Runtime

OWNERS = (0, 1, 1000)
NOBODY = 65534  # whoever isn't mapped
LIBC = ctypes.CDLL(None, use_errno=True)


def mapping(*lines: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in lines]


def mount(where: Path, *options: str, kind: str = "tmpfs") -> None:
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", kind, *options, kind, str(where)], check=True)


def fill(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    for owner in OWNERS:
        (directory / f"f{owner}").touch()
        os.chown(directory / f"f{owner}", owner, owner + 1)
    return directory


@pytest.fixture(params=["ext4", "tmpfs"])
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory with files of several owners, on each filesystem."""
    tmp_path.chmod(0o755)
    place = tmp_path / "filesystem"
    if request.param == "tmpfs":
        mount(place)
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        place.mkdir()
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    yield fill(place / "source")
    subprocess.run(["umount", "-R", str(place)], check=True)


def add(bundle: Bundle, source: Path, *options: str, **properties: Any) -> None:
    (bundle.rootfs / "mnt").mkdir(exist_ok=True)  # in a user namespace the container's root couldn't
    entry = {"destination": "/mnt", "type": "none", "source": str(source), "options": ["bind", *options]}
    bundle.config["mounts"].append({**entry, **properties})


def seen(runtime: Runtime, bundle: Bundle, more: str = "") -> list[tuple[int, int]]:
    """The owners of the files, in the container."""
    bundle.shell(f"stat -c '%u %g' {' '.join(f'/mnt/f{owner}' for owner in OWNERS)} {more}")
    lines = runtime.ok("run", "--bundle", str(bundle.save()), "box").splitlines()
    return [(int(uid), int(gid)) for uid, gid in map(str.split, lines)]


AS_THEY_ARE = [(0, 1), (1, 2), (1000, 1001)]
OWN_USERS = {"uidMappings": mapping((0, 100000, 65536)), "gidMappings": mapping((0, 100000, 65536))}
SHIFTED = {"uidMappings": mapping((0, 5000, 10), (1000, 7, 1)), "gidMappings": mapping((0, 6000, 2000))}
SHIFTED_SEEN = [(5000, 6001), (5001, 6002), (7, 7001)]
INTO = {"uidMappings": mapping((0, 105000, 10), (1000, 100007, 1)), "gidMappings": mapping((0, 106000, 2000))}

# whether in a user namespace (0 is 100000 on the host), options, properties, what is seen
ABSOLUTE = "uids=0-105000-10#1000-100007-1;gids=0-106000-2000"
RELATIVE = "uids=@0-5000-10#@1000-7-1;gids=@0-6000-2000"
MIXED = "uids=0-105000-10#@1000-7-1;gids=@0-6000-2000"
COMBINATIONS: dict[str, tuple[bool, tuple[str, ...], dict[str, Any], list[tuple[int, int]]]] = {
    "no mapping": (True, (), {}, [(NOBODY, NOBODY)] * 3),
    "the container's, by option": (True, ("idmap",), {}, AS_THEY_ARE),
    "the container's, recursively": (True, ("ridmap",), {}, AS_THEY_ARE),
    "the container's, by mappings": (True, (), OWN_USERS, AS_THEY_ARE),
    "mappings into its users": (True, (), INTO, SHIFTED_SEEN),
    "mappings and the option": (True, ("ridmap",), INTO, SHIFTED_SEEN),
    "mappings elsewhere": (True, (), SHIFTED, [(NOBODY, NOBODY)] * 3),
    "in the option": (True, (f"idmap={ABSOLUTE}",), {}, SHIFTED_SEEN),
    "in the option, relative": (True, (f"idmap={RELATIVE}",), {}, SHIFTED_SEEN),
    "in the option, mixed": (True, (f"ridmap={MIXED}",), {}, SHIFTED_SEEN),
    "host's users": (False, (), SHIFTED, SHIFTED_SEEN),
    "host's users, by option": (False, (f"ridmap={RELATIVE.replace('@', '')}",), {}, SHIFTED_SEEN),
    "host's users, relative": (False, (f"idmap={RELATIVE}",), {}, SHIFTED_SEEN),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_owners(runtime: Runtime, bundle: Bundle, source: Path, name: str) -> None:
    in_user_namespace, options, properties, expected = COMBINATIONS[name]
    if in_user_namespace:
        bundle.in_user_namespace()
    add(bundle, source, *options, **properties)
    assert seen(runtime, bundle) == expected
    assert [(source / f"f{owner}").stat().st_uid for owner in OWNERS] == list(OWNERS), "nothing was changed"


def test_files_made_through_it(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """As root of the container, they are root's on the filesystem."""
    bundle.in_user_namespace()
    add(bundle, source, "idmap")
    assert seen(runtime, bundle, "&& touch /mnt/new && stat -c '%u %g' /mnt/new")[-1] == (0, 0)
    assert ((source / "new").stat().st_uid, (source / "new").stat().st_gid) == (0, 0)


def test_files_made_through_it_as_the_hosts_root(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    os.chown(source, 1234, 4321)
    add(bundle, source, uidMappings=mapping((1234, 0, 1)), gidMappings=mapping((4321, 0, 1)))
    assert seen(runtime, bundle, "&& touch /mnt/new && stat -c '%u %g' /mnt/new")[-1] == (0, 0)
    assert ((source / "new").stat().st_uid, (source / "new").stat().st_gid) == (1234, 4321)


def test_ranges_of_the_containers_users(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """A relative mapping may span several of them."""
    bundle.in_user_namespace()
    users = mapping((0, 100000, 1000), (1000, 300000, 1000))
    bundle.config["linux"].update(uidMappings=users, gidMappings=users)
    add(bundle, source, "idmap=uids=@0-999-1001;gids=@0-998-1002")
    assert seen(runtime, bundle) == [(999, 999), (1000, 1000), (1999, 1999)]


def test_of_a_joined_user_namespace(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.in_user_namespace().args("sleep", "60")
    runtime.create(bundle, "first")
    pid = runtime.state("first")["pid"]
    for entry in bundle.config["linux"]["namespaces"]:
        if entry["type"] == "user":
            entry["path"] = f"/proc/{pid}/ns/user"
    del bundle.config["linux"]["uidMappings"], bundle.config["linux"]["gidMappings"]
    add(bundle, source, "idmap")
    assert seen(runtime, bundle) == AS_THEY_ARE
    runtime.ok("delete", "--force", "first")


def test_one_file(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    add(bundle, source / "f1000", destination="/etc/one", **SHIFTED)
    bundle.shell("stat -c '%u %g' /etc/one")
    assert runtime.ok("run", "--bundle", str(bundle.save()), "box") == "7 7001\n"


@pytest.mark.parametrize(("option", "below"), [("idmap", (1, 2)), ("ridmap", (5001, 6002))])
def test_what_is_mounted_below(
    runtime: Runtime, bundle: Bundle, source: Path, option: str, below: tuple[int, int]
) -> None:
    mount(source / "below")
    os.chown(source / "below", 1, 2)
    add(bundle, source, "rbind", option, **SHIFTED)
    assert seen(runtime, bundle, "/mnt/below") == [*SHIFTED_SEEN, below]


def test_mounts_with_equal_mappings_share_a_namespace(
    runtime: Runtime, bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    """Counted by the processes that make them: one for three mounts, one for another mapping."""
    for place, properties in (("/mnt", SHIFTED), ("/a", SHIFTED), ("/b", SHIFTED), ("/c", INTO)):
        add(bundle, source, destination=place, **properties)
    bundle.save()
    trace = tmp_path / "trace"
    command = runtime.command("run", "--bundle", str(bundle.path), "box")
    bundle.args("true").save()
    subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=unshare,mount_setattr", *command], check=True
    )
    text = trace.read_text()
    assert text.count("unshare(CLONE_NEWUSER)") == 2
    assert text.count("MOUNT_ATTR_IDMAP") == 4


@pytest.mark.parametrize("idmapped", [True, False])
def test_the_host_sees_no_mount_of_the_containers(
    runtime: Runtime, bundle: Bundle, source: Path, idmapped: bool
) -> None:
    """A copy of a shared mount that stayed its peer would hand on what is mounted below it."""
    (source / "below").mkdir()
    subprocess.run(["mount", "--bind", "--make-shared", str(source), str(source)], check=True)
    bundle.in_user_namespace()
    add(bundle, source, *(["idmap"] if idmapped else []))
    for kind in ("bounding", "effective", "permitted"):
        bundle.config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    before = Path("/proc/self/mountinfo").read_text().count(str(source))
    bundle.args("sh", "-c", "mount -t tmpfs tmpfs /mnt/below && exec sleep 60")
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
    runtime.ok("exec", "box", "sh", "-c", "until grep -q /mnt/below /proc/mounts; do :; done")
    assert Path("/proc/self/mountinfo").read_text().count(str(source)) == before
    runtime.ok("delete", "--force", "box")


# ------------------------------------------------------------------- what can't be


def refusal(runtime: Runtime, bundle: Bundle) -> str:
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, Any], str, str]] = {
    "no mapping anywhere": (("idmap",), {}, "/options/1", "without mappings or a user namespace"),
    "one kind": ((), {"uidMappings": mapping((0, 1, 1))}, "/gidMappings", "nothing was found beside"),
    "two mappings": (("idmap=uids=0-0-1;gids=0-0-1",), SHIFTED, "/options/1", "beside uidMappings"),
    "not a bind": (("idmap=uids=0-0-1;gids=0-0-1",), {"options": ["idmap=uids=0-0-1"], "type": "tmpfs"},
                   "/options/0", "isn't a bind mount"),
    "no gids": (("idmap=uids=0-0-1",), {}, "/options/1", "has no gids"),
    "no number": (("idmap=uids=a-0-1;gids=0-0-1",), {}, "/options/1", "'a-0-1' can't be understood"),
    "two numbers": (("idmap=uids=0-1;gids=0-0-1",), {}, "/options/1", "'0-1' can't be understood"),
    "nothing mapped": (("ridmap=uids=0-0-0;gids=0-0-1",), {}, "/options/1", "'0-0-0' can't be understood"),
    "another key": (("idmap=users=0-0-1",), {}, "/options/1", "'users=0-0-1' can't be understood"),
    "overlap": (("idmap=uids=0-0-2#1-5-1;gids=0-0-1",), {}, "/uidMappings", "the kernel refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_asked_for_wrongly(runtime: Runtime, bundle: Bundle, tmp_path: Path, name: str) -> None:
    options, properties, place, phrase = REFUSED[name]
    add(bundle, fill(tmp_path / "source"), *options, **properties)
    said = refusal(runtime, bundle)
    assert f"/mounts/4{place}: " in said and phrase in said


def test_relative_to_a_user_that_the_container_has_not(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.in_user_namespace()
    add(bundle, fill(tmp_path / "source"), "idmap=uids=@0-65535-2;gids=@0-0-1")
    assert "/mounts/4/options/1: not every user from 65535 to 65536" in refusal(runtime, bundle)


@pytest.mark.parametrize("kind", ["proc", "overlay"])
def test_a_filesystem_that_cant_be(runtime: Runtime, bundle: Bundle, tmp_path: Path, kind: str) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount(tmp_path / "source", *(["-o", layers] if kind == "overlay" else []), kind=kind)
    try:
        add(bundle, tmp_path / "source", **SHIFTED)
        said = refusal(runtime, bundle)
    finally:
        subprocess.run(["umount", str(tmp_path / "source")], check=True)
    assert f"/mounts/4/uidMappings: can't map the owners of {tmp_path}/source" in said
    assert f"of type {kind}: invalid argument" in said
    assert ("layers" if kind == "overlay" else "these can: btrfs") in said


def test_one_below_that_cant_be(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mount(source / "below", kind="proc")
    add(bundle, source, "rbind", "ridmap", **SHIFTED)
    assert f"of type proc, of which {source}/below is one," in refusal(runtime, bundle)


def test_one_that_is_mapped_already(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    from pyoci._shim import lib

    (source / "mapped").mkdir()
    sleeper = subprocess.Popen(["unshare", "--user", "--map-root-user", "sh", "-c", "echo; exec sleep 60"],
                               stdout=subprocess.PIPE)  # fmt: skip
    assert sleeper.stdout
    sleeper.stdout.read(1)
    tree = lib.shim_open_tree(-100, os.fsencode(source), 1)
    with open(f"/proc/{sleeper.pid}/ns/user") as namespace:
        assert lib.shim_change_mount(tree, 0, 0, namespace.fileno()) == 0
    sleeper.kill()
    sleeper.wait()
    sleeper.stdout.close()
    assert LIBC.syscall(429, tree, b"", -100, bytes(source / "mapped"), 4) == 0  # move_mount(2)
    os.close(tree)
    add(bundle, source / "mapped", **SHIFTED)
    assert f"{source}/mapped is idmapped already" in refusal(runtime, bundle)
