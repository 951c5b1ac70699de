"""`pyoci start`."""

from __future__ import annotations

from pyoci.lifecycle.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Start the container's program."""
    start(settings, given.arguments[0])
    return 0
