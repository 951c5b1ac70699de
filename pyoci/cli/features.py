"""`pyoci features`."""

from __future__ import annotations

from pyoci.cli.output import write_json
from pyoci.host.features import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Print what this runtime can do on this machine."""
    write_json(document(), 4)
    return 0
