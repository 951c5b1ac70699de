"""Writing a new user namespace's mappings, by hand or through newuidmap (user_namespaces(7))."""

from __future__ import annotations

import os

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write(linux: dict[str, Any], pid: int, privileged: bool, prefix: str = "/linux") -> None:
    """Map the users and groups of the namespace that `pid` is in; it waits meanwhile.

    prefix  the JSON pointer of the object with uidMappings and gidMappings
    """
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if privileged:
        _put(pid, "uid_map", uids, f"{prefix}/uidMappings")
        _put(pid, "gid_map", gids, f"{prefix}/gidMappings")
        return
    if _only_self(uids, os.geteuid()) and _only_self(gids, os.getegid()):
        # Who maps only himself must give up setgroups(2) first, user_namespaces(7).
        _text(pid, "setgroups", "deny", f"{prefix}/gidMappings")
        _put(pid, "uid_map", uids, f"{prefix}/uidMappings")
        _put(pid, "gid_map", gids, f"{prefix}/gidMappings")
        return
    _helper("newuidmap", pid, uids, f"{prefix}/uidMappings")
    _helper("newgidmap", pid, gids, f"{prefix}/gidMappings")


def _only_self(mappings: list[dict[str, Any]], own: int) -> bool:
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own


def _lines(mappings: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    return [(entry["containerID"], entry["hostID"], entry["size"]) for entry in mappings]


def _put(pid: int, name: str, mappings: list[dict[str, Any]], pointer: str) -> None:
    text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in _lines(mappings))
    _text(pid, name, text, pointer)


def _text(pid: int, name: str, text: str, pointer: str) -> None:
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Error(
            f"the kernel refused {text.strip()!r} as {name}: {os.strerror(error.errno or 0).lower()}",
            pointer=pointer,
            errno=error.errno or 0,
            hint="ranges may not overlap, and at most 340 of them fit",
        ) from None


def _helper(program: str, pid: int, mappings: list[dict[str, Any]], pointer: str) -> None:
    arguments = [program, str(pid)]
    for line in _lines(mappings):
        arguments += map(str, line)
    try:
        child = os.posix_spawnp(program, arguments, os.environ)
    except FileNotFoundError:
        raise Error(
            f"mapping more than one's own id needs {program}, which isn't installed",
            code="not-found",
            pointer=pointer,
            hint="install uidmap (Debian) or shadow-utils, or map only your own id",
        ) from None
    _, status = os.waitpid(child, 0)
    if status:
        raise Error(
            f"{program} refused the mapping ({' '.join(arguments[2:])})",
            code="permission",
            pointer=pointer,
            hint=f"/etc/sub{program[3]}id must give these ids to the caller",
        )
