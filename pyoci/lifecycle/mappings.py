"""Writing a new user namespace's mappings, by hand or through newuidmap (user_namespaces(7))."""

from __future__ import annotations

import os

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write(linux: dict[str, Any], pid: int, prefix: str = "/linux") -> None:
    """Map the users and groups of the namespace that `pid` is in; it waits meanwhile.

    Root of whatever user namespace may map all the ids there are in it; others themselves alone, and
    for more there is newuidmap.

    prefix  the JSON pointer of the object with uidMappings and gidMappings
    """
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if os.geteuid() == 0:
        _put(pid, "uid_map", uids, f"{prefix}/uidMappings")
        _put(pid, "gid_map", gids, f"{prefix}/gidMappings")
        return
    if is_by_hand(linux):
        # Who maps only himself must give up setgroups(2) first, user_namespaces(7).
        _text(pid, "setgroups", "deny", f"{prefix}/gidMappings")
        _put(pid, "uid_map", uids, f"{prefix}/uidMappings")
        _put(pid, "gid_map", gids, f"{prefix}/gidMappings")
        return
    _helper("newuidmap", pid, uids, f"{prefix}/uidMappings")
    _helper("newgidmap", pid, gids, f"{prefix}/gidMappings")


def compare(linux: dict[str, Any], pid: int) -> None:
    """Error if a joined user namespace, that of `pid`, has other mappings than the ones that are given
    beside its path."""
    for name, file in (("uidMappings", "uid_map"), ("gidMappings", "gid_map")):
        wanted = sorted(_lines(linux.get(name) or []))
        with open(f"/proc/{pid}/{file}") as lines:
            found = sorted(tuple(map(int, line.split())) for line in lines)
        if wanted and wanted != found:
            shown = "; ".join(f"{inside} {outside} {size}" for inside, outside, size in found[:4])
            raise Error(
                f"the user namespace that is joined has other mappings: {shown or 'none'}",
                code="invalid-config",
                pointer=f"/linux/{name}",
                hint="leave the mappings away: they are the namespace's own",
            )


def is_by_hand(linux: dict[str, Any]) -> bool:
    """Whether an unprivileged caller maps himself alone, which takes no help and costs him setgroups(2)."""
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    return _only_self(uids, os.geteuid()) and _only_self(gids, os.getegid())


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
        lines = text.splitlines()
        shown = "; ".join(lines) if len(lines) <= 2 else f"{lines[0]}; {lines[1]}; ..."
        raise Error(
            f"the kernel refused {len(lines)} lines ({shown}) as {name}: "
            + os.strerror(error.errno or 0).lower(),
            pointer=pointer,
            errno=error.errno or 0,
            hint=_unmappable(name),
        ) from None


def _unmappable(name: str) -> str:
    with open(f"/proc/self/{name.replace('setgroups', 'gid_map')}") as file:
        own = [line.split() for line in file]
    if own == [["0", "0", "4294967295"]]:
        return "ranges may not overlap, and less than 4096 bytes of lines are read"
    there = ", ".join(f"{first} to {int(first) + int(count) - 1}" for first, _, count in own)
    return f"only ids of the user namespace that pyoci is in can be mapped, and these are {there or 'none'}"


def _helper(program: str, pid: int, mappings: list[dict[str, Any]], pointer: str) -> None:
    arguments = [program, str(pid)]
    for line in _lines(mappings):
        arguments += map(str, line)
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, theirs, 2)]
        child = os.posix_spawnp(program, arguments, os.environ, file_actions=actions)
    except FileNotFoundError:
        os.close(ours)
        raise Error(
            f"mapping more than one's own id needs {program}, which isn't installed",
            code="not-found",
            pointer=pointer,
            hint="install uidmap (Debian) or shadow-utils, or map only your own id",
        ) from None
    finally:
        os.close(theirs)
    with open(ours, encoding="utf-8", errors="replace") as said:
        words = " ".join(said.read().split())
    _, status = os.waitpid(child, 0)
    if status:
        raise Error(
            f"{program} refused to map {' '.join(arguments[2:])}: {words or f'status {status >> 8}'}",
            code="permission",
            pointer=pointer,
            hint=_lacking(f"/etc/sub{program[3]}id", mappings),
        )


def _lacking(path: str, mappings: list[dict[str, Any]]) -> str:
    """What a file of delegated ids, subuid(5), would need to say for these mappings."""
    from pwd import getpwuid

    uid = os.getuid()
    try:
        name = getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    given = []
    try:
        with open(path) as file:
            for line in file:
                user, _, rest = line.strip().partition(":")
                first, _, count = rest.partition(":")
                if user in (name, str(uid)) and first.isdigit() and count.isdigit():
                    given.append((int(first), int(first) + int(count)))
    except OSError:
        pass  # then it gives nothing
    for mapping in mappings:
        first, size = mapping["hostID"], mapping["size"]
        own = size == 1 and first in (uid, os.getgid())
        if not own and not any(low <= first and first + size <= high for low, high in given):
            shown = ", ".join(f"{low} to {high - 1}" for low, high in given) or "nothing"
            return f"{path} gives {name} {shown}; a line {name}:{first}:{size} would do"
    return "the program may lack its set-user-ID bit or file capability"
