"""What engines really call: it must be among what tests/system/test_engine_calls.py replays."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import engine_calls
from support.buildah import LIMITS, Buildah
from support.recorder import Call, Recorder


def named(engine: str, calls: list[Call]) -> list[str]:
    """The known names of the calls, in their order; polling counts once."""
    names: list[str] = []
    for call in calls:
        name = engine_calls.known(engine, call.words)
        assert name, f"{engine} makes a call that isn't in the table: {' '.join(call.words)}"
        if names[-1:] != [name]:
            names.append(name)
    return names


@pytest.fixture
def directory() -> Iterator[Path]:
    """One with a short name, as engines want it."""
    with tempfile.TemporaryDirectory(prefix="calls-") as name:
        yield Path(name)


@pytest.mark.skipif(not shutil.which("buildah"), reason="buildah isn't installed")
def test_buildahs(directory: Path, image_tar: Path, runtime_path: str) -> None:
    recorder = Recorder(directory, runtime_path)
    buildah = Buildah(directory, str(recorder.program))
    buildah.make_image(image_tar)
    working = buildah.ok("from", *LIMITS, "busybox")
    assert buildah.run(working, "sh", "-c", "exit 7").returncode == 7
    terminal = ["script", "--quiet", "--return", "--command"]
    words = " ".join(["buildah", *buildah.run_words("--terminal", working, "true")])
    subprocess.run(
        [*terminal, words, "/dev/null"],
        env=buildah.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    buildah.clean()
    calls = recorder.calls()
    assert named("buildah", calls) == ["create", "start", "state", "delete"] * 2
    assert [call.words for call in calls if "--console-socket" in call.words]
    for call in calls:
        assert set(call.environment) >= set(buildah.environment)  # its own, handed on
    assert set(map(int, calls[0].descriptors)) > {0, 1, 2}, "the replay hands on descriptors that don't come"
