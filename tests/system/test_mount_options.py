"""Every mount option: what the kernel says of a mount that was made with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyoci.plan import mount_options
from support.containers import Bundle, Runtime

# config.md, "Linux mount options": the names and their requirement
SPECIFICATION = """
async MUST            atime MUST           bind MUST          defaults MUST      dev MUST
diratime MUST         dirsync MUST         exec MUST          iversion MUST      lazytime MUST
loud MUST             mand MAY             noatime MUST       nodev MUST         nodiratime MUST
noexec MUST           noiversion MUST      nolazytime MUST    nomand MAY         norelatime MUST
nostrictatime MUST    nosuid MUST          nosymfollow SHOULD private MUST       ratime SHOULD
rbind MUST            rdev SHOULD          rdiratime SHOULD   relatime MUST      remount MUST
rexec SHOULD          rnoatime SHOULD      rnodiratime SHOULD rnoexec SHOULD     rnorelatime SHOULD
rnostrictatime SHOULD rnosuid SHOULD       rnosymfollow SHOULD ro MUST           rprivate MUST
rrelatime SHOULD      rro SHOULD           rrw SHOULD         rshared MUST       rslave MUST
rstrictatime SHOULD   rsuid SHOULD         rsymfollow SHOULD  runbindable MUST   rw MUST
shared MUST           silent MUST          slave MUST         strictatime MUST   suid MUST
symfollow SHOULD      sync MUST            tmpcopyup MAY      unbindable MUST    idmap SHOULD
ridmap SHOULD
"""
REQUIREMENTS = dict(zip(SPECIFICATION.split()[::2], SPECIFICATION.split()[1::2], strict=True))


class Case(NamedTuple):
    """A mount and what of its line in mountinfo(5) the option decides.

    source     "" for a new tmpfs, else a bind of the host's mount of this name, see `sources`
    part       which part of the line: "mount", "super" or "propagation"
    has, lacks   words of this part that have to be there, or not to be
    below      whether the same holds of what is mounted below
    """

    options: list[str]
    source: str
    part: str
    has: str
    lacks: str
    below: bool = False


def new(options: str, has: str = "", lacks: str = "", part: str = "mount") -> Case:
    return Case(options.split(), "", part, has, lacks)


def bound(source: str, options: str, has: str = "", lacks: str = "", part: str = "mount") -> Case:
    return Case(["bind", *options.split()], source, part, has, lacks)


def tree(source: str, options: str, has: str = "", lacks: str = "", part: str = "mount") -> Case:
    return Case(["rbind", *options.split()], source, part, has, lacks, below=True)


# The last option of each case is the one that it's about. `flagged` is mounted with all that can be
# set, `plain` with nothing; both are shared, and have the like mounted below.
CASES = {
    case.options[-1]: case
    for case in (
        new("defaults", "rw relatime"),
        bound("plain", "ro", "ro", "rw"),
        bound("plain", "nosuid", "nosuid"),
        bound("plain", "nodev", "nodev"),
        bound("plain", "noexec", "noexec"),
        bound("plain", "nosymfollow", "nosymfollow"),
        bound("plain", "noatime", "noatime", "relatime"),
        bound("plain", "strictatime", "", "relatime noatime"),
        bound("plain", "nodiratime", "nodiratime"),
        bound("flagged", "rw", "rw nosuid", "ro"),
        bound("flagged", "suid", "ro nodev", "nosuid"),
        bound("flagged", "dev", "ro nosuid", "nodev"),
        bound("flagged", "exec", "ro nosuid", "noexec"),
        bound("flagged", "symfollow", "ro nosuid", "nosymfollow"),
        bound("flagged", "atime", "ro relatime", "noatime"),
        bound("flagged", "relatime", "ro relatime", "noatime"),
        bound("flagged", "diratime", "ro noatime", "nodiratime"),
        new("strictatime nostrictatime", "relatime"),
        new("norelatime", "relatime"),  # the kernel's own choice, where nothing else is chosen
        tree("plain", "rro", "ro", "rw"),
        tree("plain", "rnosuid", "nosuid"),
        tree("plain", "rnodev", "nodev"),
        tree("plain", "rnoexec", "noexec"),
        tree("plain", "rnosymfollow", "nosymfollow"),
        tree("plain", "rnoatime", "noatime", "relatime"),
        tree("plain", "rstrictatime", "", "relatime noatime"),
        tree("plain", "rnodiratime", "nodiratime"),
        tree("flagged", "rrw", "rw", "ro"),
        tree("flagged", "rsuid", "", "nosuid"),
        tree("flagged", "rdev", "", "nodev"),
        tree("flagged", "rexec", "", "noexec"),
        tree("flagged", "rsymfollow", "", "nosymfollow"),
        tree("flagged", "ratime", "relatime", "noatime"),
        tree("flagged", "rrelatime", "relatime", "noatime"),
        tree("flagged", "rdiratime", "", "nodiratime"),
        tree("plain", "rstrictatime rnostrictatime", "relatime"),
        tree("plain", "rnorelatime", "relatime"),
        new("sync", "sync", part="super"),
        new("sync async", "", "sync", part="super"),
        new("dirsync", "dirsync", part="super"),
        new("lazytime", "lazytime", part="super"),
        new("lazytime nolazytime", "", "lazytime", part="super"),
        new("mand", "mand", part="super"),
        new("mand nomand", "", "mand", part="super"),
        new("rsync", "sync", part="super"),
        new("sync rasync", "", "sync", part="super"),
        new("rdirsync", "dirsync", part="super"),
        new("rmand", "mand", part="super"),
        new("mand rnomand", "", "mand", part="super"),
        bound("plain", "shared", "shared", "", part="propagation"),
        bound("plain", "slave", "master", "shared", part="propagation"),
        bound("plain", "private", "", "master shared", part="propagation"),
        bound("plain", "unbindable", "unbindable", "", part="propagation"),
        tree("plain", "rshared", "shared", "", part="propagation"),
        tree("plain", "rslave", "master", "shared", part="propagation"),
        tree("plain", "rprivate", "", "master shared", part="propagation"),
        tree("plain", "runbindable", "unbindable", "", part="propagation"),
    )
}

# Options whose effect is no word of that line -> the test that shows it
ELSEWHERE = {
    "bind": "test_a_bind_is_of_one_mount_or_of_a_tree",
    "rbind": "test_a_bind_is_of_one_mount_or_of_a_tree",
    "remount": "test_a_remount_changes_what_is_there",
    "iversion": "test_flags_that_only_the_call_shows",
    "noiversion": "test_flags_that_only_the_call_shows",
    "silent": "test_flags_that_only_the_call_shows",
    "loud": "test_flags_that_only_the_call_shows",
    "tmpcopyup": "test_copy_up.py: test_a_tmpfs_begins_with_what_it_covers",
    "copy-symlink": "test_a_link_is_copied",
    "src-nofollow": "test_a_link_itself_is_bound",
    "dest-nofollow": "test_a_link_itself_is_covered",
    "idmap": "test_idmap.py: test_owners",
    "ridmap": "test_idmap.py: test_what_is_mounted_below",
}

TMPFS = {"type": "tmpfs", "source": "tmpfs"}


def add(bundle: Bundle, *options: str, to: str = "/x", **properties: Any) -> Bundle:
    bundle.config["mounts"].append({"destination": to, "options": list(options), **properties})
    return bundle


def table(output: str) -> dict[str, dict[str, set[str]]]:
    """mountinfo by mount point, its words by part; of propagation only the kind."""
    found = {}
    for line in output.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        found[fields[4]] = {
            "mount": set(fields[5].split(",")),
            "super": set(after.split(" ")[2].split(",")),
            "propagation": {field.partition(":")[0] for field in fields[6:]},
        }
    return found


def mounts(runtime: Runtime, bundle: Bundle) -> dict[str, dict[str, set[str]]]:
    bundle.args("cat", "/proc/self/mountinfo").save()
    return table(runtime.ok("run", "--bundle", str(bundle.path), "c"))


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Two mounts of the host's, each with one below it."""
    places = {name: tmp_path / name for name in ("plain", "flagged")}
    everything = "nosuid,nodev,noexec,nosymfollow,noatime,nodiratime"
    for name, options in (("plain", "rw"), ("flagged", everything)):
        below = places[name] / "below"
        places[name].mkdir()
        for place in (places[name], below):
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
            below.mkdir(exist_ok=True)
        subprocess.run(["mount", "--make-rshared", places[name]], check=True)
    for place in (places["flagged"], places["flagged"] / "below"):
        subprocess.run(["mount", "-o", f"remount,bind,ro,{everything}", place], check=True)
    yield places
    for place in places.values():
        subprocess.run(["umount", "--recursive", place], check=True)


@pytest.mark.parametrize("name", CASES)
def test_option(runtime: Runtime, bundle: Bundle, sources: dict[str, Path], name: str) -> None:
    case = CASES[name]
    properties = {"source": str(sources[case.source])} if case.source else TMPFS
    found = mounts(runtime, add(bundle, *case.options, **properties))
    for point in ("/x", "/x/below") if case.below else ("/x",):
        words = found[point][case.part]
        assert set(case.has.split()) <= words and not set(case.lacks.split()) & words, found[point]


@pytest.mark.parametrize("name", [*mount_options.RECURSIVE, *mount_options.OF_FILESYSTEMS])
def test_a_new_filesystem_takes_recursive_options_for_its_own(
    runtime: Runtime, bundle: Bundle, sources: dict[str, Path], name: str
) -> None:
    case = CASES[name]
    words = mounts(runtime, add(bundle, *case.options[case.below :], **TMPFS))["/x"][case.part]
    assert set(case.has.split()) <= words and not set(case.lacks.split()) & words, words


def test_the_table_is_complete() -> None:
    shown = {*CASES, *ELSEWHERE}
    assert len(REQUIREMENTS) == 61
    assert REQUIREMENTS.keys() <= shown
    assert shown == set(mount_options.known())
    for place in ELSEWHERE.values():
        file, _, test = place.rpartition(": ")
        assert f"def {test}(" in (Path(__file__).parent / (file or Path(__file__).name)).read_text()


def test_the_features_document_has_them_all(runtime: Runtime) -> None:
    assert set(json.loads(runtime.ok("features"))["mountOptions"]) == {*CASES, *ELSEWHERE}


# ------------------------------------------------- options of a whole filesystem, on a bind


@pytest.mark.parametrize("name", mount_options.OF_FILESYSTEM)
def test_an_option_without_effect_on_a_bind_is_a_warning(
    runtime: Runtime, bundle: Bundle, sources: dict[str, Path], name: str
) -> None:
    add(bundle, "bind", name, source=str(sources["plain"])).args("true").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 0
    assert f"/mounts/4/options/1: {name} has no effect on a bind mount" in done.stderr


@pytest.mark.parametrize("name", mount_options.OF_FILESYSTEMS)
def test_a_recursive_option_that_no_tree_has_is_refused(runtime: Runtime, bundle: Bundle, name: str) -> None:
    add(bundle, "rbind", name, source="/etc").args("true").save()
    done = runtime.call("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1 and f"/mounts/4/options/1: {name} can't be honoured" in done.stderr


# ------------------------------------------------- options with tests of their own


def test_a_bind_is_of_one_mount_or_of_a_tree(
    runtime: Runtime, bundle: Bundle, sources: dict[str, Path]
) -> None:
    add(bundle, "bind", to="/one", source=str(sources["plain"]))
    add(bundle, "rbind", to="/all", source=str(sources["plain"]))
    found = mounts(runtime, bundle)
    assert "/one" in found and "/one/below" not in found
    assert {"/all", "/all/below"} <= found.keys()


def test_a_remount_changes_what_is_there(runtime: Runtime, bundle: Bundle, sources: dict[str, Path]) -> None:
    add(bundle, "nodev", to="/new", **TMPFS)
    add(bundle, "remount", "ro", "size=64k", "nosuid", to="/new")
    add(bundle, "rbind", to="/bound", source=str(sources["plain"]))
    add(bundle, "remount", "bind", "ro", to="/bound")
    add(bundle, "rbind", to="/tree", source=str(sources["plain"]))
    add(bundle, "remount", "rro", "runbindable", to="/tree")
    found = mounts(runtime, bundle)
    assert {"ro", "nodev", "nosuid"} <= found["/new"]["mount"]
    assert {"ro", "size=64k"} <= found["/new"]["super"]
    assert "ro" in found["/bound"]["mount"] and "rw" in found["/bound"]["super"]  # the mount alone
    assert "rw" in found["/bound/below"]["mount"]
    assert "ro" in found["/tree/below"]["mount"] and "unbindable" in found["/tree/below"]["propagation"]


@pytest.mark.parametrize(
    ("options", "flag", "expected"),
    [
        ("iversion", "MS_I_VERSION", True),
        ("iversion noiversion", "MS_I_VERSION", False),
        ("silent", "MS_SILENT", True),
        ("silent loud", "MS_SILENT", False),
    ],
)
def test_flags_that_only_the_call_shows(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, options: str, flag: str, expected: bool
) -> None:
    """No file tells of them, so that the mount call is looked at."""
    add(bundle, *options.split(), **TMPFS).args("true").save()
    command = ["strace", "-f", "-e", "trace=mount,fsmount", "-o", str(tmp_path / "trace")]
    subprocess.run([*command, *runtime.command("run", "--bundle", str(bundle.path), "c")], check=True)
    calls = (tmp_path / "trace").read_text()
    assert (flag in calls) == expected
    assert "fsmount" in calls


def test_a_link_is_copied(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "file").write_text("content")
    add(bundle, "rbind", "copy-symlink", to="/dir/copy", source=str(tmp_path / "link"))
    add(bundle, "bind", "copy-symlink", to="/dir/file", source=str(tmp_path / "file"))
    bundle.shell("readlink /dir/copy || ls -l /dir/copy; cat /dir/file; grep -c ' /dir' /proc/self/mountinfo")
    bundle.save()
    output = runtime.ok("run", "--bundle", str(bundle.path), "c")
    assert "/etc/hostname" in output and output.endswith("content1\n")
    assert (bundle.rootfs / "dir/copy").readlink() == Path("/etc/hostname")


def test_a_link_itself_is_bound(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name, at in (("/dir/new", ""), ("/dir/link", "/nowhere")):
        if at:
            (bundle.rootfs / "dir").mkdir()
            (bundle.rootfs / name[1:]).symlink_to(at)
        add(bundle, "bind", "src-nofollow", to=name, source=str(tmp_path / "link"))
    bundle.shell("ls -l /dir; cat /dir/new; grep -c ' /dir/' /proc/self/mountinfo").save()
    output = runtime.ok("run", "--bundle", str(bundle.path), "c")
    assert output.count("-> /etc/passwd") == 2  # the container's own, whatever the host's is
    assert (bundle.rootfs / "etc/passwd").read_text() in output
    assert output.endswith("\n2\n")
    assert not (bundle.rootfs / "nowhere").exists()


def test_a_link_itself_is_covered(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (bundle.rootfs / "link").symlink_to("etc/passwd")
    add(bundle, "bind", "dest-nofollow", to="/link", source=str(tmp_path / "file"))
    bundle.shell("cat /link; cat /etc/passwd").save()
    output = runtime.ok("run", "--bundle", str(bundle.path), "c")
    assert output == "content" + (bundle.rootfs / "etc/passwd").read_text()


def test_a_tmpfs_takes_the_mode_of_what_it_covers(runtime: Runtime, bundle: Bundle) -> None:
    """As runc has it; tmpfs's own 1777 where nothing was, and what is asked for always."""
    for name in ("there", "asked"):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name).chmod(0o3751)
    add(bundle, to="/there", **TMPFS)
    add(bundle, "mode=700", to="/asked", **TMPFS)
    add(bundle, to="/made", **TMPFS)
    bundle.shell("stat -c '%n %a' /there /asked /made").save()
    output = runtime.ok("run", "--bundle", str(bundle.path), "c")
    assert output.split() == ["/there", "3751", "/asked", "700", "/made", "1777"]
