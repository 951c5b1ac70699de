"""`pyoci pause`."""

from __future__ import annotations

from pyoci.lifecycle.freeze import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Freeze the container."""
    pause(settings, given.arguments[0])
    return 0
