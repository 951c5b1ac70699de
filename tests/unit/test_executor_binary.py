"""The executor's binary: static, small and hardened, and nothing in its sources grows out of hand."""

from __future__ import annotations

import re
import subprocess

import pytest

import executor_driver as driver


def readelf(*options: str) -> str:
    return subprocess.run(
        ["readelf", *options, driver.build()], capture_output=True, text=True, check=True
    ).stdout


def test_it_is_static_and_position_independent() -> None:
    assert re.search(r"Type:\s+DYN", readelf("-hW"))
    assert "INTERP" not in readelf("-lW")
    assert "(NEEDED)" not in readelf("-dW")
    assert "TEXTREL" not in readelf("-dW")


def test_it_is_hardened() -> None:
    segments = readelf("-lW")
    (stack,) = re.findall(r"GNU_STACK.*", segments)
    assert re.search(r"RW\s+0x", stack)
    assert "GNU_RELRO" in segments
    assert not re.search(r"LOAD.* RWE ", segments)
    assert re.search(r"FLAGS_1.*NOW", readelf("-dW"))


def test_it_is_small() -> None:
    """A waiting container keeps one of them in memory."""
    if driver.build().name.startswith("musl"):
        assert driver.build().stat().st_size < 200 * 1024
    else:
        assert driver.build().stat().st_size < 1200 * 1024


def test_its_own_data_is_small() -> None:
    """Static buffers instead of a heap: they are only real where they are written to, and bounded."""
    sizes = subprocess.run(["size", driver.build()], capture_output=True, text=True, check=True).stdout
    data, bss = (int(number) for number in sizes.splitlines()[1].split()[1:3])
    assert data + bss < 512 * 1024


@pytest.mark.parametrize("flavour", ["glibc", "sanitised"])
def test_it_builds_with_the_other_library_and_with_sanitizers(flavour: str) -> None:
    assert driver.build(flavour).exists()


def test_no_heap_and_no_shell() -> None:
    sources = "".join(path.read_text() for path in driver.SOURCES.glob("*.c"))
    for call in (
        "malloc",
        "calloc",
        "realloc",
        "alloca",
        "strdup",
        "system",
        "popen",
        "fopen",
        "opendir",
        "getpwuid",
    ):
        assert not re.search(rf"\b{call}\(", sources), call


def test_each_file_can_be_read_at_a_sitting() -> None:
    for path in driver.SOURCES.glob("*.[ch]"):
        if path.name != "steps.h":
            assert len(path.read_text().splitlines()) <= 500, path.name
