"""The root filesystem: root.path, root.readonly, and rootfsPropagation in both directions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime
from support.documents import SCHEMAS

# ------------------------------------------------------------------- root.path, root.readonly


@pytest.mark.parametrize("kind", ["relative", "absolute", "dots", "link", "absolute link", "link on the way"])
def test_the_root_may_be_named_in_any_way(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """Links are followed: on the host's side nothing is the image's yet."""
    (bundle.path / "link").symlink_to("rootfs")
    (bundle.path / "absolute").symlink_to(bundle.rootfs)
    (bundle.path / "up").symlink_to(bundle.path.parent)
    bundle.config["root"]["path"] = {
        "relative": "rootfs",
        "absolute": str(bundle.rootfs),
        "dots": "./../bundle//rootfs/",
        "link": "link",
        "absolute link": "absolute",
        "link on the way": "up/bundle/rootfs",
    }[kind]
    bundle.args("sleep", "60")
    runtime.create(bundle, "one")
    assert runtime.state("one")["rootfs"] == str(bundle.rootfs)
    runtime.ok("delete", "--force", "one")
    assert runtime.ok("run", "--bundle", str(bundle.shell("ls -d /bin").save()), "one") == "/bin\n"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nothing", "no such file or directory"),
        ("config.json", "not a directory"),
        ("loop", "too many levels of symbolic links"),
        ("config.json/below", "not a directory"),
    ],
)
def test_a_root_that_is_none(runtime: Runtime, bundle: Bundle, path: str, why: str) -> None:
    (bundle.path / "loop").symlink_to("loop")
    bundle.config["root"]["path"] = path
    done = runtime.call("create", "--bundle", str(bundle.save()), "one")
    assert done.returncode == 1
    assert done.stderr.startswith("pyoci create: /root/path: the root filesystem "), done.stderr
    assert path in done.stderr and why in done.stderr


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)], ids=["", "no-pivot"])
def test_a_read_only_root(runtime: Runtime, bundle: Bundle, user: bool, flags: tuple[str, ...]) -> None:
    """Of which targets and the working directory are made before; what is mounted on it is as it was."""
    bundle.config["root"]["readonly"] = True
    bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    if user:
        bundle.in_user_namespace()
    else:
        bundle.config["mounts"].append({"destination": "/new/deep", "type": "tmpfs", "source": "tmpfs"})
        bundle.config["process"]["cwd"] = "/made/here"
    bundle.shell("pwd; touch /x; touch /etc/passwd; touch /tmp/x /dev/x && echo written")
    done = runtime.call("run", "--bundle", str(bundle.save()), *flags, "one")
    assert done.stdout == ("/\n" if user else "/made/here\n") + "written\n", done.stderr
    refused = "touch: {}: Read-only file system\n"
    if not user:  # there the files aren't the user's either
        assert refused.format("/x") + refused.format("/etc/passwd") in done.stderr
    assert not (bundle.rootfs / "x").exists()


def test_the_root_is_writable_otherwise(runtime: Runtime, bundle: Bundle) -> None:
    for readonly in ({}, {"readonly": False}):
        bundle.config["root"] = {"path": "rootfs", **readonly}
        runtime.ok("run", "--bundle", str(bundle.shell("touch /x").save()), "one")
        (bundle.rootfs / "x").unlink()


# ------------------------------------------------------------------- propagation

PLACES = ("", "below", "volume")
MASTER, PRIVATE, UNBINDABLE, SHARED = "master:", "", "unbindable", "shared:"
# rootfsPropagation: how "/" is, in which of the places the host's later mounts show in the container,
# and in which of them the container's show on the host. What is mounted on the root itself never does,
# as the runtime's own mounts would too.
PROPAGATION: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "": (MASTER, PLACES, ()),
    "slave": (MASTER, PLACES, ()),
    "rslave": (MASTER, PLACES, ()),
    "private": (PRIVATE, (), ()),
    "rprivate": (PRIVATE, (), ()),
    "unbindable": (UNBINDABLE, (), ()),
    "runbindable": (UNBINDABLE, (), ()),
    "shared": (SHARED, PLACES, ("below", "volume")),
    "rshared": (SHARED, PLACES, ("below", "volume")),
}


def test_every_propagation_is_here() -> None:
    schema = json.loads((SCHEMAS / "config-schema.json").read_text())
    assert set(PROPAGATION) - {""} == set(
        schema["definitions"]["linux"]["properties"]["rootfsPropagation"]["enum"]
    )


def mount(*args: str | Path) -> None:
    subprocess.run(["mount", *args], check=True)


@pytest.fixture
def shared(bundle: Bundle, tmp_path: Path) -> Iterator[Path]:
    """On a host whose mounts are shared: the root filesystem, another mount below it, and a volume."""
    volume = tmp_path / "volume"
    (bundle.rootfs / "below").mkdir()
    volume.mkdir()
    mounted = [bundle.rootfs, bundle.rootfs / "below", volume]
    for place in mounted:
        for name in ("from-host", "from-container"):
            (place / name).mkdir(parents=True)
        mount("--bind", place, place)
        mount("--make-private", place)  # whatever the parent is
        mount("--make-shared", place)
    try:
        yield volume
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", place], check=True)


def mount_points(pid: int | str) -> dict[str, str]:
    """Mount point -> its propagation, of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.partition(" - ")[0].split()
        found[fields[4]] = " ".join(fields[6:])
    return found


def start(runtime: Runtime, bundle: Bundle) -> int:
    runtime.create(bundle.args("sleep", "60"), "one")
    pid = runtime.state("one")["pid"]
    assert isinstance(pid, int)
    return pid


def inside(pid: int, *command: str) -> None:
    subprocess.run(["nsenter", f"--target={pid}", "--mount", *command], check=True)


@pytest.mark.parametrize("propagation", PROPAGATION)
def test_propagation(runtime: Runtime, bundle: Bundle, shared: Path, propagation: str) -> None:
    root, inward, outward = PROPAGATION[propagation]
    if propagation:
        bundle.config["linux"]["rootfsPropagation"] = propagation
    bind = {"destination": "/volume", "type": "bind", "source": str(shared), "options": ["rbind"]}
    bundle.config["mounts"].append(bind)
    (bundle.rootfs / "bin/umount").symlink_to("busybox")
    (bundle.rootfs / "volume").mkdir()
    pid = start(runtime, bundle)
    assert mount_points(pid)["/"].startswith(root)
    assert bool(mount_points(pid)["/"]) == bool(root)
    on_host = {"": bundle.rootfs, "below": bundle.rootfs / "below", "volume": shared}
    seen_inside, seen_outside = [], []
    for place, directory in on_host.items():
        prefix = f"/{place}" if place else ""
        mount("-t", "tmpfs", "tmpfs", directory / "from-host")
        if f"{prefix}/from-host" in mount_points(pid):
            seen_inside.append(place)
        subprocess.run(["umount", directory / "from-host"], check=True)
        inside(pid, "mount", "-t", "tmpfs", "tmpfs", f"{prefix}/from-container")
        if str(directory / "from-container") in mount_points("self"):
            seen_outside.append(place)
        inside(pid, "umount", f"{prefix}/from-container")
    runtime.ok("delete", "--force", "one")
    assert tuple(seen_inside) == inward
    assert tuple(seen_outside) == outward


@pytest.mark.parametrize("propagation", PROPAGATION)
def test_propagation_in_a_user_namespace(
    runtime: Runtime, bundle: Bundle, shared: Path, propagation: str
) -> None:
    """The same inward; and nothing outward, which the kernel lets no other user namespace have."""
    if propagation:
        bundle.config["linux"]["rootfsPropagation"] = propagation
    for place in ("volume", "explicit"):
        options = ["rbind", *(["rslave"] if place == "explicit" else [])]
        entry = {"destination": f"/{place}", "type": "bind", "source": str(shared), "options": options}
        bundle.config["mounts"].append(entry)
        (bundle.rootfs / place).mkdir()
    pid = start(runtime, bundle.in_user_namespace())
    mount("-t", "tmpfs", "tmpfs", shared / "from-host")
    found = mount_points(pid)
    subprocess.run(["umount", shared / "from-host"], check=True)
    runtime.ok("delete", "--force", "one")
    assert ("/volume/from-host" in found) == bool(PROPAGATION[propagation][1])
    # A mount that the root has made private has no master left that it could be a slave of.
    assert ("/explicit/from-host" in found) == bool(PROPAGATION[propagation][1])
    assert found["/"].startswith(PROPAGATION[propagation][0])


@pytest.mark.parametrize("propagation", ["rshared", "rslave", "rprivate", "runbindable"])
def test_a_mounts_own_propagation_stays(
    runtime: Runtime, bundle: Bundle, shared: Path, propagation: str
) -> None:
    """config.md#mounts: an option of a mount says more of it than what is said of the whole root."""
    bundle.config["linux"]["rootfsPropagation"] = propagation
    for name in ("private", "slave", "unbindable"):
        entry = {"type": "bind", "source": str(shared), "options": ["rbind", name]}
        bundle.config["mounts"].append({"destination": f"/{name}", **entry})
        (bundle.rootfs / name).mkdir()
    found = mount_points(start(runtime, bundle))
    runtime.ok("delete", "--force", "one")
    assert found["/unbindable"] == "unbindable"
    assert found["/private"] == ""
    assert found["/slave"].startswith(MASTER if propagation in ("rshared", "rslave") else "")
    assert SHARED not in found["/slave"]


@pytest.mark.parametrize("options", [["rbind"], ["rbind", "rshared"], ["bind", "rprivate"]], ids=json.dumps)
def test_the_root_of_a_user_namespace_mounts_nothing_on_the_host(
    runtime: Runtime, bundle: Bundle, shared: Path, options: list[str]
) -> None:
    """He may mount on his volume, of which the runtime's clone is a peer of the host's own mount."""
    entry = {"destination": "/volume", "type": "bind", "source": str(shared), "options": options}
    bundle.config["mounts"].append(entry)
    (bundle.rootfs / "volume").mkdir()
    bundle.rootfs.joinpath("bin/umount").symlink_to("busybox")
    pid = start(runtime, bundle.in_user_namespace())
    before = mount_points("self")
    command = ["nsenter", f"--target={pid}", "--user", "--mount", "mount", "-t", "tmpfs", "x"]
    subprocess.run([*command, "/volume/from-container"], check=True)
    after = mount_points("self")
    assert "/volume/from-container" in mount_points(pid)
    runtime.ok("delete", "--force", "one")
    assert after == before


def test_the_runtimes_own_mounts_stay_inside(runtime: Runtime, bundle: Bundle, shared: Path) -> None:
    """Also those on a mount of the host's below the root, whatever the root's propagation."""
    bundle.config["mounts"].append({"destination": "/below/x", "type": "tmpfs", "source": "tmpfs"})
    before = mount_points("self")
    for propagation in set(PROPAGATION) - {"", "shared", "rshared"}:
        bundle.config["linux"]["rootfsPropagation"] = propagation
        start(runtime, bundle)
        after = mount_points("self")
        runtime.ok("delete", "--force", "one")
        assert after == before, propagation
