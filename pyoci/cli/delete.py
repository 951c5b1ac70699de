"""`pyoci delete`."""

from __future__ import annotations

from pyoci.lifecycle.delete import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Delete the container."""
    delete(settings, given.arguments[0], force=given.switches["force"])
    return 0
