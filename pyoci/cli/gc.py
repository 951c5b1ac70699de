"""`pyoci gc`."""

from __future__ import annotations

from pyoci.cli.output import write
from pyoci.errors import Error
from pyoci.lifecycle.remains import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Remove what containers without a state have left, a line each; then Error if some is still there."""
    kept = []
    for container_id, what, failure in collect(settings, given.switches["dry-run"]):
        if failure:
            settings.warn(f"{container_id}: {what}; {failure}")
            kept.append(container_id)
        else:
            write(f"{container_id}: {what}\n")
    if kept:
        raise Error(f"what these containers have left can't be removed: {', '.join(kept)}", code="busy")
    return 0
