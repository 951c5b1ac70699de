"""`pyoci explain`."""

from __future__ import annotations

from pyoci.cli.output import write, write_json
from pyoci.lifecycle.explain import plan
from pyoci.plan import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Print the plan of the bundle, as a table or as JSON."""
    compiled = plan(settings, given.texts["bundle"] or ".", given.texts["config"] or "config.json")
    if given.switches["json"]:
        write_json(explain.document(compiled), 2)
    else:
        write("".join(line + "\n" for line in explain.lines(compiled)))
    return 0
