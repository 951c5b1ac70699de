"""`pyoci list`."""

from __future__ import annotations

from pyoci.cli.output import table, write, write_json
from pyoci.cli.state import ordered
from pyoci.lifecycle.report import list_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def main(settings: Settings, given: Given) -> int:
    """Print the containers: ids only, a table, or what `state` prints of each."""
    containers = [ordered(container) for container in list_containers(settings)]
    if given.switches["quiet"]:
        write("".join(container["id"] + "\n" for container in containers))
    elif given.texts["format"] == "json":
        write_json(containers)
    else:
        rows = [[str(container[name]) for name in _COLUMNS] for container in containers]
        write(table([[name.upper() for name in _COLUMNS], *rows]))
    return 0
