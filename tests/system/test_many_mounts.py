"""Hundreds of mounts: each costs the same few system calls, and none a look at the mounts there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace isn't installed")

# What a bind of a directory, one of a file and a tmpfs may take together; today it's 79.
CALLS_FOR_THREE = 90


def calls(runtime: Runtime, bundle: Bundle, count: int, trace: Path) -> Counter[str]:
    """System calls of a whole run with so many times three mounts, and how often mountinfo is opened."""
    fresh = {"destination": "/m", "type": "tmpfs", "source": "tmpfs"}  # without the last run's mount points
    mounts = [*bundle.config["mounts"][:4], fresh]
    for number in range(count):
        mounts += [
            {"destination": f"/m/d{number}", "source": "/etc", "options": ["rbind", "ro"]},
            {"destination": f"/m/f{number}", "source": "/etc/passwd", "options": ["bind", "rprivate"]},
            {"destination": f"/m/t{number}", "type": "tmpfs", "options": ["nosuid", "size=1m"]},
        ]
    bundle.config["mounts"] = mounts
    bundle.shell("grep -c ' /m/' /proc/self/mountinfo > /tmp/count").save()
    command = runtime.command("run", "--bundle", str(bundle.path), "many")
    subprocess.run(["strace", "-f", "-qqq", "-o", str(trace), *command], stdin=subprocess.DEVNULL, check=True)
    assert int((bundle.rootfs / "tmp/count").read_text()) == 3 * count
    text = trace.read_text(errors="replace")
    found = Counter(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
    found["mountinfo"] = len(re.findall(r'^\d+ +open.*mountinfo"', text, re.MULTILINE))
    return found


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_each_mount_costs_the_same(runtime: Runtime, bundle: Bundle, tmp_path: Path, user: bool) -> None:
    (bundle.rootfs / "m").mkdir()
    (bundle.rootfs / "tmp").chmod(0o777)
    if user:
        bundle.in_user_namespace()
    few, some, many = (calls(runtime, bundle, count, tmp_path / "trace") for count in (10, 60, 160))
    # The container's own look at its mounts grows, by a read or two.
    first, then = (some.total() - few.total()) / 50, (many.total() - some.total()) / 100
    assert abs(first - then) < 2
    assert then < CALLS_FOR_THREE
    assert few["mountinfo"] == many["mountinfo"] <= 3
