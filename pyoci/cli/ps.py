"""`pyoci ps`: the container's processes as ps(1) of the host shows them, or their ids."""

from __future__ import annotations

from pyoci.cli.output import write, write_json
from pyoci.errors import Error
from pyoci.lifecycle.report import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def main(settings: Settings, given: Given) -> int:
    """Print the processes. What follows the id is for ps(1); without it that is -ef."""
    container_id, *options = given.arguments
    if given.texts["format"] == "json":
        if options:
            raise Error("options for ps(1) make no sense with --format json", code="usage")
        write_json(processes(settings, container_id))
    else:
        pids = processes(settings, container_id)
        write(only(pids, _ps(options or ["-ef"])))
    return 0


def _ps(options: list[str]) -> str:
    """What ps(1) prints for these options."""
    from subprocess import run

    try:
        result = run(["ps", *options], capture_output=True, check=False, text=True, errors="surrogateescape")
    except OSError as error:
        raise Error(
            "can't run ps(1), which makes the table",
            code="not-found",
            errno=error.errno or 0,
            hint="install procps, or use --format json",
        ) from None
    if result.returncode:
        raise Error(f"ps(1) failed with status {result.returncode}: {result.stderr.strip()}", code="usage")
    return result.stdout


def only(pids: list[int], listing: str) -> str:
    """The title of a listing by ps(1), and its lines about these processes."""
    title, *lines = listing.splitlines(keepends=True) or [""]
    columns = title.split()
    if "PID" not in columns:
        raise Error("ps(1) printed no PID column", code="usage", hint="ask for it too: -o pid,...")
    at = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    return title + "".join(line for line in lines if line.split()[at : at + 1] and line.split()[at] in wanted)
