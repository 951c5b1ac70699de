"""`pyoci gc`."""

from __future__ import annotations

from pyoci.cli.output import write
from pyoci.lifecycle.remains import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Remove what containers without a state have left, a line each."""
    for container_id, what in collect(settings, given.switches["dry-run"]):
        write(f"{container_id}: {what}\n")
    return 0
