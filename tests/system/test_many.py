"""Many containers, one after the other and at once, leave no trace."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support.containers import Bundle, Runtime


def test_200_in_a_row(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "60")
    for number in range(200):
        name = f"c{number}"
        runtime.create(bundle, name)
        runtime.ok("start", name)
        runtime.ok("delete", "--force", name)
    assert json.loads(runtime.ok("list", "-f", "json")) in ([], None)


def test_50_at_once(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "60").save()

    def whole_life(number: int) -> None:
        name = f"c{number}"
        runtime.detached("create", "--bundle", str(bundle.path), name)
        runtime.detached("start", name)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(whole_life, range(50)))
    listed = json.loads(runtime.ok("list", "-f", "json"))
    assert len(listed) == 50
    assert {entry["status"] for entry in listed} == {"running"}
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda n: runtime.detached("delete", "--force", f"c{n}"), range(50)))


def test_one_id_for_whoever_comes_first(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "60").save()
    log = bundle.path / "log"

    def attempt(number: int) -> int:
        flags = ["--log", f"{log}{number}", "run", "--detach", "--bundle", str(bundle.path), "one"]
        nowhere = subprocess.DEVNULL
        done = subprocess.run(
            runtime.command(*flags), stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False
        )
        return done.returncode

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(attempt, range(8)))
    assert sorted(statuses) == [0] + [1] * 7
    runtime.ok("delete", "--force", "one")
