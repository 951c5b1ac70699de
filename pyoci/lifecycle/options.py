"""What can be asked of create, run and exec beyond the bundle and the id."""

from __future__ import annotations

import os

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def passed_sockets() -> list[str]:
    """What the program's environment is to say of the sockets that the caller passes from descriptor 3
    up (sd_listen_fds(3)); empty if there are none.

    A LISTEN_PID that is another's means that they aren't for us: the variables were only inherited.
    Without one they are, as with crun: a script can't know our process id before we run.
    """
    count = os.environ.get("LISTEN_FDS", "")
    pid = os.environ.get("LISTEN_PID", "")
    if not (count.isascii() and count.isdecimal() and int(count)) or pid not in ("", str(os.getpid())):
        return []
    names = os.environ.get("LISTEN_FDNAMES")
    return [f"LISTEN_FDS={int(count)}", *([f"LISTEN_FDNAMES={names}"] if names else ())]


def count_preserved(asked: int, sockets: Sequence[str] = ()) -> int:
    """How many descriptors from 3 up the program inherits: the passed sockets first, then those asked
    for. Each must be open.

    To be called before anything is opened: afterwards a number that the caller left free may be one
    of our own descriptors, and the container would get it.
    """
    count = asked + (int(sockets[0].partition("=")[2]) if sockets else 0)
    for descriptor in range(3, 3 + count):
        try:
            os.fstat(descriptor)
        except OSError:
            raise Error(
                f"descriptor {descriptor} is to be preserved, but it isn't open",
                code="usage",
                hint="--preserve-fds counts from 3 up, after the sockets that LISTEN_FDS tells of",
            ) from None
    return count


class CreateOptions:
    """bundle          the bundle's directory
    config          the configuration's name in the bundle
    console_socket  path of the AF_UNIX socket that is sent the terminal, or ""
    pid_file        where to write the process id, or ""
    pidfd_socket    path of the AF_UNIX socket that is sent a pidfd of the container's process, or ""
    preserve_fds    how many descriptors from 3 up the container gets: what count_preserved() returned
    listening       what passed_sockets() returned
    no_pivot        change the root without pivot_root(2)
    no_new_keyring  keep the caller's session keyring
    """

    __slots__ = (
        "bundle",
        "config",
        "console_socket",
        "listening",
        "no_new_keyring",
        "no_pivot",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
    )

    def __init__(
        self,
        bundle: str = ".",
        config: str = "config.json",
        console_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
        preserve_fds: int = 0,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        listening: Sequence[str] = (),
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.preserve_fds = preserve_fds
        self.listening = listening
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring


class ExecOptions:
    """args             the program and its arguments; empty with a process file
    process_file     path of a JSON file with a `process` object, or ""
    tty              give it a terminal
    user             (uid, gid), gid None where it wasn't said; None: as config.json says
    additional_gids  further supplementary groups
    env              NAME=VALUE texts, each replacing or adding to config.json's
    cwd              absolute path in the container, or "" for config.json's
    detach           don't wait for its end
    pid_file         where to write the process id, or ""
    console_socket   path of the AF_UNIX socket that is sent the terminal, or ""
    pidfd_socket     path of the AF_UNIX socket that is sent a pidfd, or ""
    caps             capabilities to add, such as CAP_NET_ADMIN
    no_new_privs     set no_new_privs even where config.json doesn't
    preserve_fds     how many descriptors from 3 up it gets: what count_preserved() returned
    listening        what passed_sockets() returned
    ignore_paused    allow it in a paused container
    process_label    SELinux label, or ""
    apparmor         AppArmor profile, or ""
    cgroup           controllers to cgroups below the container's; the key "" stands for all; empty: its own
    """

    __slots__ = (
        "additional_gids",
        "apparmor",
        "args",
        "caps",
        "cgroup",
        "console_socket",
        "cwd",
        "detach",
        "env",
        "ignore_paused",
        "listening",
        "no_new_privs",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "process_file",
        "process_label",
        "tty",
        "user",
    )

    def __init__(
        self,
        args: Sequence[str] = (),
        process_file: str = "",
        tty: bool = False,
        user: tuple[int, int | None] | None = None,
        additional_gids: Sequence[int] = (),
        env: Sequence[str] = (),
        cwd: str = "",
        detach: bool = False,
        pid_file: str = "",
        console_socket: str = "",
        pidfd_socket: str = "",
        caps: Sequence[str] = (),
        no_new_privs: bool = False,
        preserve_fds: int = 0,
        ignore_paused: bool = False,
        process_label: str = "",
        apparmor: str = "",
        cgroup: dict[str, str] | None = None,
        listening: Sequence[str] = (),
    ) -> None:
        self.args = args
        self.process_file = process_file
        self.tty = tty
        self.user = user
        self.additional_gids = additional_gids
        self.env = env
        self.cwd = cwd
        self.detach = detach
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.caps = caps
        self.no_new_privs = no_new_privs
        self.preserve_fds = preserve_fds
        self.listening = listening
        self.ignore_paused = ignore_paused
        self.process_label = process_label
        self.apparmor = apparmor
        self.cgroup = cgroup or {}
