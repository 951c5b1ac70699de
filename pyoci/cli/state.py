"""`pyoci state`."""

from __future__ import annotations

from pyoci.cli.output import write_json
from pyoci.lifecycle.report import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings

_ORDER = ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner")


def main(settings: Settings, given: Given) -> int:
    """Print the state in runc's shape."""
    write_json(ordered(state(settings, given.arguments[0])), 2)
    return 0


def ordered(report: dict[str, Any]) -> dict[str, Any]:
    """A state's members in runc's order, which people are used to; the owner by name."""
    first = {name: report[name] for name in _ORDER if name in report}
    return first | report | {"owner": user_name(report["owner"])}


def user_name(uid: int) -> str:
    """A user's name on this host, or the number where it has none."""
    if uid == 0:
        return "root"
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
