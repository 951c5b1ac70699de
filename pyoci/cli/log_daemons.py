"""Messages to systemd's journal and to syslog, for --log journald:ID and --log syslog:ID."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

# syslog(3): priorities; the facility is LOG_DAEMON.
_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_DAEMON = 3 << 3

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"


def send(target: str, level: str, text: str) -> None:
    """Send one message. OSError when nobody listens."""
    scheme, _, identifier = target.partition(":")
    if scheme == "journald":
        address, data = JOURNAL, journal_entry(identifier or "pyoci", level, text)
    else:
        address = SYSLOG
        header = f"<{_DAEMON | _PRIORITIES[level]}>{identifier or 'pyoci'}[{os.getpid()}]: "
        data = (header + text).encode("utf-8", "backslashreplace")
    channel = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        channel.sendto(data, address)
    finally:
        channel.close()


def journal_entry(identifier: str, level: str, text: str) -> bytes:
    """An entry in the journal's native protocol, where a value of several lines goes with its length."""
    message = text.encode("utf-8", "backslashreplace")
    return b"".join(
        (
            b"PRIORITY=%d\n" % _PRIORITIES[level],
            b"SYSLOG_IDENTIFIER=%s\n" % identifier.replace("\n", " ").encode("utf-8", "backslashreplace"),
            b"MESSAGE\n%s%s\n" % (len(message).to_bytes(8, "little"), message),
        )
    )
