"""User namespaces of who isn't root: mapped by hand, or through newuidmap as far as /etc/subuid allows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.containers import SECONDS, Bundle, Runtime

# daemon, who is in every /etc/passwd, which newuidmap wants; and no other group of the host's
UID = GID = 1
FIRST, COUNT = 200000, 65536

pytestmark = pytest.mark.skipif(shutil.which("newuidmap") is None, reason="newuidmap is not installed")


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


OWN = mapping(0, UID, 1)
DELEGATED = mapping(1, FIRST, COUNT)


class Rootless:
    """pyoci as daemon, in a mount namespace where /etc/subuid and /etc/subgid are the test's."""

    def __init__(self, path: Path, bundle: Bundle, runtime: Runtime) -> None:
        self.bundle, self.runtime, self.path = bundle, runtime, path
        self.delegated = {"subuid": f"daemon:{FIRST}:{COUNT}\n", "subgid": f"{UID}:{FIRST}:{COUNT}\n"}
        self.search = os.environ["PATH"]
        linux = bundle.in_user_namespace().config["linux"]
        linux["namespaces"] = [{"type": kind} for kind in ("user", "mount", "pid", "uts")]
        bundle.config["mounts"] = bundle.config["mounts"][:1]

    def run(self, uids: list[dict[str, int]], gids: list[dict[str, int]], **user: Any) -> Any:
        config = self.bundle.shell("cat /proc/self/uid_map /proc/self/gid_map; id").config
        config["linux"].update(uidMappings=uids, gidMappings=gids)
        config["process"]["user"] = {"uid": 0, "gid": 0, **user}
        self.bundle.save()
        self.runtime.root.mkdir()
        for path in (self.runtime.root, self.bundle.path, *self.bundle.path.rglob("*")):
            os.chown(path, UID, GID, follow_symlinks=False)
        script = ""
        for name, lines in self.delegated.items():
            (self.path / name).write_text(lines)
            script += f"mount --bind {self.path}/{name} /etc/{name} && "
        command = self.runtime.command("run", "--bundle", str(self.bundle.path), "box")
        script += f'exec setpriv --reuid {UID} --regid {GID} --groups 5 /usr/bin/env PATH={self.search} "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def rootless(tmp_path: Path, bundle: Bundle, runtime: Runtime) -> Rootless:
    return Rootless(tmp_path, bundle, runtime)


def words(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_what_is_delegated_is_mapped_by_newuidmap(rootless: Rootless) -> None:
    done = rootless.run([OWN, DELEGATED], [OWN, DELEGATED], uid=7, gid=8, additionalGids=[9, 65536])
    assert done.stderr == ""
    rows = [["0", "1", "1"], ["1", str(FIRST), str(COUNT)]]
    assert words(done.stdout) == [*rows, *rows, ["uid=7", "gid=8", "groups=9,65536"]]


def test_the_caller_s_groups_are_dropped_where_they_can_be(rootless: Rootless) -> None:
    done = rootless.run([OWN, DELEGATED], [OWN, DELEGATED])
    assert words(done.stdout)[-1] == ["uid=0(root)", "gid=0"]


def test_one_s_own_ids_take_no_help(rootless: Rootless) -> None:
    """But for them setgroups(2) goes, so that no group that denies something is got rid of."""
    rootless.search = "/nowhere"
    done = rootless.run([OWN], [OWN])
    assert done.stderr == ""
    assert words(done.stdout)[:2] == [["0", "1", "1"]] * 2
    assert "65534" in words(done.stdout)[-1][-1]  # the host's group 5 is still there


def test_groups_can_not_be_had_with_nothing_but_one_s_own(rootless: Rootless) -> None:
    done = rootless.run([OWN], [OWN], additionalGids=[0])
    assert done.returncode == 1
    assert "/process/user/additionalGids: can't set the supplementary groups to [0]" in done.stderr
    assert "given up setgroups(2)" in done.stderr


@pytest.mark.parametrize("kind", ["uid", "gid"])
@pytest.mark.parametrize(
    ("lines", "given"),
    [
        (f"daemon:{FIRST}:1000\n", f"{FIRST} to {FIRST + 999}"),
        (f"daemon:{FIRST}:10\n1:900000:2\nbin:1:1\n", f"{FIRST} to {FIRST + 9}, 900000 to 900001"),
        ("bin:200000:65536\n", "nothing"),
        ("", "nothing"),
    ],
)
def test_what_the_file_lacks_is_said(kind: str, lines: str, given: str, rootless: Rootless) -> None:
    rootless.delegated[f"sub{kind}"] = lines
    done = rootless.run([OWN, DELEGATED], [OWN, DELEGATED])
    assert done.returncode == 1
    assert f"/linux/{kind}Mappings: new{kind}map refused to map 0 1 1 1 {FIRST} {COUNT}: " in done.stderr
    assert f"/etc/sub{kind} gives daemon {given}; a line daemon:{FIRST}:{COUNT} would do" in done.stderr


def test_without_newuidmap(rootless: Rootless) -> None:
    rootless.search = "/nowhere"
    done = rootless.run([OWN, DELEGATED], [OWN, DELEGATED])
    assert "/linux/uidMappings: mapping more than one's own id needs newuidmap" in done.stderr
