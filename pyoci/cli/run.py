"""`pyoci run`."""

from __future__ import annotations

from pyoci.cli.create import options
from pyoci.lifecycle.run import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Create and start the container; its exit status when it isn't detached."""
    trace = None
    if given.switches["trace"]:
        from pyoci.cli.trace import Trace

        trace = Trace().step
    return run(
        settings,
        given.arguments[0],
        options(given),
        detach=given.switches["detach"],
        keep=given.switches["keep"],
        no_subreaper=given.switches["no-subreaper"],
        trace=trace,
    )
