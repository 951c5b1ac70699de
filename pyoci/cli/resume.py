"""`pyoci resume`."""

from __future__ import annotations

from pyoci.lifecycle.freeze import resume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Thaw the container."""
    resume(settings, given.arguments[0])
    return 0
