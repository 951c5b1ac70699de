"""`pyoci create`."""

from __future__ import annotations

from pyoci.lifecycle.create import create
from pyoci.lifecycle.options import CreateOptions, count_preserved, passed_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings


def options(given: Given) -> CreateOptions:
    """What the flags that create and run share ask for."""
    texts = given.texts
    sockets = passed_sockets()
    return CreateOptions(
        bundle=texts["bundle"] or ".",
        config=texts["config"] or "config.json",
        console_socket=texts["console-socket"],
        pid_file=texts["pid-file"],
        pidfd_socket=texts["pidfd-socket"],
        preserve_fds=count_preserved(given.numbers["preserve-fds"], sockets),
        listening=sockets,
        no_pivot=given.switches["no-pivot"],
        no_new_keyring=given.switches["no-new-keyring"],
    )


def main(settings: Settings, given: Given) -> int:
    """Create the container."""
    create(settings, given.arguments[0], options(given))
    return 0
