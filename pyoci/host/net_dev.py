"""A process's network interfaces and their counters, as /proc/PID/net/dev tells them (proc_pid_net(5))."""

from __future__ import annotations

from pyoci.host import procfs

# Where each counter stands behind the interface's name; by the names that runc's `events` has for them.
_COLUMNS = {
    "RxBytes": 0,
    "RxPackets": 1,
    "RxErrors": 2,
    "RxDropped": 3,
    "TxBytes": 8,
    "TxPackets": 9,
    "TxErrors": 10,
    "TxDropped": 11,
}


def interfaces(pid: int) -> list[dict[str, str | int]]:
    """The interfaces of the network namespace that a process is in, without its loopback."""
    try:
        return parse(procfs.read(f"{procfs.PROC}/{pid}/net/dev").decode())
    except OSError:  # the process is gone, or its first thread
        return []


def parse(text: str) -> list[dict[str, str | int]]:
    """The interfaces of the text: two lines of titles, then one line an interface."""
    found: list[dict[str, str | int]] = []
    for line in text.split("\n")[2:]:
        name, colon, rest = line.rpartition(":")  # an alias has a colon in its name
        counters = rest.split()
        if colon and name.strip() != "lo":
            numbers = {key: int(counters[column]) for key, column in _COLUMNS.items()}
            found.append({"Name": name.strip(), **numbers})
    return found
