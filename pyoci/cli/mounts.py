"""`pyoci mounts`."""

from __future__ import annotations

from pyoci.cli.arguments import usage
from pyoci.lifecycle.mounts import add, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Add the file's mounts to the container, or remove them from it."""
    verb, container_id, path = given.arguments
    if verb == "add":
        add(settings, container_id, path)
    elif verb == "remove":
        remove(settings, container_id, path)
    else:
        raise usage(f"mounts can't {verb!r}", "it is mounts add or mounts remove")
    return 0
