"""What holds for every operation of one call of pyoci: where state is kept, and who manages cgroups."""

from __future__ import annotations

import os

from pyoci.host.privileges import in_initial_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def silent(text: str) -> None:
    """Take a message and do nothing with it."""


class Settings:
    """root            directory of the containers' state, absolute
    cgroup_manager  cgroupfs, systemd or disabled
    rootless        whether missing rights over cgroups are put up with
    warn, debug     called with one sentence each
    """

    __slots__ = ("cgroup_manager", "debug", "root", "rootless", "warn")

    def __init__(
        self,
        root: str,
        cgroup_manager: str = "cgroupfs",
        rootless: bool = False,
        warn: Callable[[str], None] = silent,
        debug: Callable[[str], None] = silent,
    ) -> None:
        self.root = root
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.warn = warn
        self.debug = debug


def default_root() -> str:
    """/run/pyoci, or $XDG_RUNTIME_DIR/pyoci for whoever isn't the machine's root.

    Root in a user namespace uses it unless $USER is root, the sign that a real root's shell was
    entered: runc's rule.
    """
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime_dir:
        return "/run/pyoci"
    if os.geteuid() == 0 and (in_initial_user_namespace() or os.environ.get("USER") == "root"):
        return "/run/pyoci"
    return runtime_dir + "/pyoci"
