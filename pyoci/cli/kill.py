"""`pyoci kill`."""

from __future__ import annotations

from pyoci.cli import signal_names
from pyoci.lifecycle.signals import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Send the signal, TERM where none is given (or an empty one, as runc has it)."""
    container_id, *rest = given.arguments
    signal = signal_names.number(rest[0] if rest and rest[0] else "TERM")
    kill(settings, container_id, signal, everyone=given.switches["all"])
    return 0
