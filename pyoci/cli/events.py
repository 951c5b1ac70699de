"""`pyoci events`: what a container uses, and that its memory has run out, as one JSON object a line."""

from __future__ import annotations

from pyoci.cli import durations
from pyoci.cli.arguments import usage
from pyoci.cli.output import write_json
from pyoci.lifecycle.events import stats, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings

STDOUT = 1


def main(settings: Settings, given: Given) -> int:
    """Print the events until the container ends; with --stats, what it uses now."""
    interval = durations.parse(given.texts["interval"], "--interval")
    if interval <= 0:
        raise usage("the duration interval must be greater than 0", "write --interval 5s")
    container_id = given.arguments[0]
    if given.switches["stats"]:
        write_json(stats(settings, container_id))
        return 0
    for event in watch(settings, container_id, interval, STDOUT):
        write_json(event)
    return 0
