"""`pyoci spec`: a config.json to begin with."""

from __future__ import annotations

import os

from pyoci.bundle.document import dump
from pyoci.bundle.template import document
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Write config.json, never over one that is there."""
    path = os.path.join(given.texts["bundle"] or ".", "config.json")
    text = dump(document(given.switches["rootless"]), 4) + "\n"
    made = False
    try:
        with open(path, "x", encoding="utf-8") as file:
            made = True
            file.write(text)
    except FileExistsError:
        raise Error(f"{path} exists", code="exists", hint="remove it first") from None
    except OSError as error:
        if made:
            os.unlink(path)
        number = error.errno or 0
        raise Error(f"can't write {path}: {os.strerror(number).lower()}", errno=number) from None
    return 0
