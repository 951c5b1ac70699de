"""Directories with short names, for engines: a socket's path has at most 107 characters, a runroot 50."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def short_directory(prefix: str) -> Iterator[str]:
    """A directory of the test's own, whose path can also be a part of an image's name, as `_` in tempfile's
    names at times can't."""
    path = Path(tempfile.gettempdir()) / f"{prefix}{uuid4().hex[:8]}"
    path.mkdir(mode=0o700)
    try:
        yield str(path)
    finally:
        shutil.rmtree(path)
