"""A runtime under buildah as a user without rights: an image is built, and a program run in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import SECONDS, reap_orphans
from support.directories import short_directory
from support.unprivileged import UID, User, missing_helpers, unprivileged

pytestmark = [
    pytest.mark.skipif(not shutil.which("buildah"), reason="buildah isn't installed"),
    pytest.mark.skipif(bool(missing_helpers()), reason=missing_helpers()),
]

RECIPE = "FROM scratch\nADD image.tar /\nRUN id -u > /who && cat /proc/self/uid_map > /map\n"


@pytest.fixture
def user(image_tar: Path) -> Iterator[User]:
    with short_directory("user-") as name, unprivileged(Path(name)) as user:
        state = user.home / "b"
        (user.home / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{state}/run"\ngraphroot = "{state}/graph"\n'
        )
        user.environment["CONTAINERS_STORAGE_CONF"] = str(user.home / "storage.conf")
        user.give(Path(shutil.copy(image_tar, user.home / "image.tar")))
        (user.home / "Containerfile").write_text(RECIPE)
        yield user
        reap_orphans(set())


def buildah(user: User, command: str, *words: str) -> str:
    # With an empty pipe as stdin: Debian's crun gives a /dev/null away to the container's root.
    done = subprocess.run(
        user.command("buildah", "--storage-driver", "vfs", command, *words),
        input="",
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_build_and_a_run(user: User, runtime_path: str) -> None:
    flags = ["--isolation", "rootless", "--runtime", runtime_path]
    buildah(user, "bud", *flags, "--network", "host", "--tag", "box", "--file", "Containerfile", ".")
    name = buildah(user, "from", "--pull-never", "box").strip()
    said = buildah(user, "run", *flags, name, "cat", "/who", "/map").split()
    assert (said[0], said[1:3]) == ("0", ["0", str(UID)])
    buildah(user, "rm", name)
