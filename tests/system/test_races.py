"""Races for what a name in a shared volume is: another container swaps it as fast as it can.

The one who swaps exchanges a directory (or file) with a link to the host's, atomically. Whatever the
runtime meets, nothing of the host's is changed or shown; and enough is met of both that it has been
a race. support/naive.py resolves links within the root, and loses all the same. PYOCI=/usr/sbin/runc
runs them against another runtime.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.attacks import MARKER, NaiveRuntime, bind, changes, listing, without
from support.containers import PYOCI, SECONDS, Bundle, Runtime

RENAME_EXCHANGE = 2
AT_ONCE = 4
MOST_STARTS_OF_NAIVE = 2000


class Swapper:
    """Another container's process, for the time of a `with`: exchanges two names until it's told to stop.
    `count` says how often it has."""

    def __init__(self, one: Path, other: Path) -> None:
        self.names = os.fsencode(one), os.fsencode(other)
        self.shared = mmap.mmap(-1, 16)  # the count, and whether to stop

    def __enter__(self) -> Swapper:
        self.pid = os.fork()
        if not self.pid:
            try:
                self.swap()
            finally:
                os._exit(0)
        return self

    def swap(self) -> None:
        renameat2 = ctypes.CDLL(None).renameat2
        count = 0
        while not self.shared[8]:
            for _ in range(100):
                count += renameat2(-100, self.names[0], -100, self.names[1], RENAME_EXCHANGE) == 0
            struct.pack_into("q", self.shared, 0, count)

    def __exit__(self, *_: object) -> None:
        self.shared[8] = 1
        os.waitpid(self.pid, 0)

    @property
    def count(self) -> int:
        return int(struct.unpack_from("q", self.shared)[0])


@dataclass(frozen=True)
class Race:
    """prepare makes bundle and host, and returns the two names to swap; the program says what it met."""

    prepare: Callable[[Bundle, Path], tuple[Path, Path]]
    starts: int
    # What has to be met: words of the program's output, or of the message
    outcomes: tuple[str, str]


def host_volume(bundle: Bundle, host: Path, link: Path) -> tuple[Path, Path]:
    """A volume with a directory x, and a link that is to be swapped with it."""
    volume = bundle.path / "volume"
    (volume / "x").mkdir(parents=True)
    (volume / "link").symlink_to(link)
    bind(bundle, volume, "/volume")
    return volume / "x", volume / "link"


SAY_WHERE = "grep -q ' /volume/x[ /]' /proc/self/mountinfo && echo met a directory || echo met a link; "


def mount_over_a_source(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    """The attacker's volume, mounted through the link onto a directory from which another mount is
    then made: his link in it leads that to anything of the host's."""
    for name in ("staging/volume", "evil", "secrets"):
        (host / name).mkdir(parents=True)
    (host / "secrets/marker").write_text(MARKER)
    (host / "evil/volume").symlink_to(host / "secrets")
    names = host_volume(bundle, host, host / "staging")
    bind(bundle, host / "evil", "/volume/x")
    bind(bundle, host / "staging/volume", "/mnt")
    bundle.shell(SAY_WHERE + "cat /mnt/marker")
    return names


def make_targets(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    (host / "outside").mkdir()
    names = host_volume(bundle, host, host / "outside")
    bundle.config["mounts"].append({"destination": "/volume/x/new/deep", "type": "tmpfs", "source": "tmpfs"})
    bind(bundle, host / "secret", "/volume/x/file")
    bundle.shell(SAY_WHERE)
    return names


def proc_on_a_link(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    """Where procfs is mounted is seen by its line in mountinfo, whatever its name is by then."""
    (bundle.rootfs / "tmp/elsewhere").mkdir()
    (bundle.rootfs / "link").symlink_to("tmp/elsewhere")
    bundle.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    bundle.shell(
        "until read line < /proc/1/mountinfo; do :; done 2>/dev/null;"
        "for n in 1 2 3 4 5 6 7 8 9; do cat /proc/1/mountinfo; done 2>/dev/null |"
        "grep -q ' /tmp/elsewhere ' && cat /secret || echo met a directory"
    )
    (bundle.rootfs / "secret").write_text(MARKER)
    return bundle.rootfs / "proc", bundle.rootfs / "link"


def null_of_a_mask(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    volume = bundle.path / "volume"
    volume.mkdir()
    os.mknod(volume / "null", 0o20666, os.makedev(1, 3))
    (volume / "link").symlink_to(host / "secret")
    bind(bundle, volume, "/dev")
    without(bundle, "/dev/pts")
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] != "tmpfs"]
    (bundle.rootfs / "etc/hidden").write_text("")
    bundle.config["linux"]["maskedPaths"] = ["/etc/hidden"]
    bundle.shell("cat /etc/hidden; echo met the device")
    return volume / "null", volume / "link"


def nodes_of_dev(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    (host / "outside").mkdir()
    (host / "outside/ptmx").write_text("a file of the host's")
    without(bundle, "/dev")
    (bundle.rootfs / "link").symlink_to(host / "outside")
    (bundle.rootfs / "dev/real").write_text("")
    bundle.shell(
        "for place in /dev /link; do cd $place && test -e real -a -c null && echo met a directory; done;"
        f"test -c {host}/outside/null && echo met a link"
    )
    return bundle.rootfs / "dev", bundle.rootfs / "link"


def console_of_a_terminal(bundle: Bundle, host: Path) -> tuple[Path, Path]:
    without(bundle, "/dev")
    (bundle.rootfs / "dev/console").write_text("")
    (bundle.rootfs / "dev/link").symlink_to(host / "console")
    bundle.config["process"]["terminal"] = True
    bundle.shell("echo met a file")
    return bundle.rootfs / "dev/console", bundle.rootfs / "dev/link"


RACES = {
    "CVE-2021-30465": Race(mount_over_a_source, 1000, ("met a directory", "met a link")),
    "CVE-2024-45310": Race(make_targets, 300, ("met a directory", "met a link")),
    "CVE-2019-19921": Race(proc_on_a_link, 300, ("met a directory", "is a symbolic link")),
    "CVE-2025-31133": Race(null_of_a_mask, 300, ("met the device", "isn't the null device")),
    "CVE-2025-52565": Race(console_of_a_terminal, 300, ("met a file", "/dev/console is a symbolic link")),
    "CVE-2026-41579": Race(nodes_of_dev, 300, ("met a directory", "met a link")),
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "secret").write_text(MARKER)
    return directory


@pytest.fixture(params=RACES)
def race(request: pytest.FixtureRequest) -> Race:
    return RACES[request.param]


def start(runtime: Runtime, bundle: Bundle, number: int) -> str:
    """One start of the bundle; what the program and the runtime say."""
    command = runtime.command("run", "--bundle", str(bundle.path), f"racer-{number}")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture
def cheap(bundle: Bundle) -> Bundle:
    """Without what takes most of a start and is no part of the race."""
    bundle.config["ociVersion"] = "1.0.2"  # which every runtime knows
    bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "uts")]
    without(bundle, "/sys")
    return bundle


def test_race(runtime: Runtime, cheap: Bundle, host: Path, race: Race) -> None:
    one, other = race.prepare(cheap, host)
    cheap.save()
    before, met = listing(host), Counter[str]()
    with Swapper(one, other) as swapper, ThreadPoolExecutor(AT_ONCE) as pool:
        for said in pool.map(lambda number: start(runtime, cheap, number), range(race.starts)):
            assert MARKER not in said
            met.update(outcome for outcome in {*race.outcomes, said} if outcome in said)
    assert changes(before, listing(host)) == []
    assert swapper.count > race.starts
    if PYOCI.endswith("pyoci"):  # others have other words
        assert all(met[outcome] for outcome in race.outcomes), met


def test_a_naive_runtime_loses_it(
    tmp_path: Path, cheap: Bundle, host: Path, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIVE", "scoped")
    one, other = race.prepare(cheap, host)
    cheap.save()
    naive, before = NaiveRuntime(tmp_path), listing(host)

    def lost(number: int) -> bool:
        return MARKER in start(naive, cheap, number) or changes(before, listing(host)) != []

    assert not lost(0), "without anyone to race against, links lead nowhere"
    with Swapper(one, other):
        assert any(lost(number) for number in range(1, MOST_STARTS_OF_NAIVE))
