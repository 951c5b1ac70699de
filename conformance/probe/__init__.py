"""The probe: a static C program that prints as JSON what a process can see; built here when needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
FLAGS = ["-std=c11", "-O1", "-static", "-Wall", "-Wextra", "-Werror"]


class CannotBuild(Exception):
    """No compiler here makes static programs, or the probe's source is wrong."""


def compiler() -> str:
    """musl's compiler where there is one (small, truly static), else the system's."""
    for name in ("musl-gcc", "cc"):
        found = shutil.which(name)
        if found:
            return found
    raise CannotBuild("the probe needs musl-gcc or cc with a static C library (apt-get install musl-tools)")


def cache_directory() -> Path:
    """`build/` of the checkout this suite stands in, or a directory of the user's own."""
    build = SOURCES.parents[1] / "build" / "conformance"
    try:
        build.mkdir(parents=True, exist_ok=True)
    except OSError:
        build = Path(tempfile.gettempdir()) / f"conformance-probe-{os.getuid()}"
        build.mkdir(mode=0o700, exist_ok=True)
        if build.stat().st_uid != os.getuid():
            raise CannotBuild(f"{build} belongs to somebody else") from None
    return build


def build() -> Path:
    """The probe's path, compiled if its source changed since it last was."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    command = [compiler(), *FLAGS]
    digest = hashlib.sha256("\0".join(command).encode())
    for source in sources:
        digest.update(source.read_bytes())
    program = cache_directory() / f"probe-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    # Compiled under another name, so that a second suite never runs half a program.
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    units = [str(source) for source in sources if source.suffix == ".c"]
    done = subprocess.run([*command, "-o", str(fresh), *units], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBuild(done.stderr)
    fresh.rename(program)
    return program
