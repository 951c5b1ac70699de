"""Idmapped mounts: under which owners a mount shows its files (config.md#mounts, mount_setattr(2)).

A mapping is that of a user namespace, its lines read in the same direction: `containerID` is an owner on the
filesystem, `hostID` who that is on the mount, as a user of the host.
"""

from __future__ import annotations

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Mapping = dict[str, int]

JOINED = "namespace:user"  # the descriptor's name of a user namespace that is joined
KINDS = {"uids": "uidMappings", "gids": "gidMappings"}
_FORM = "it is like idmap=uids=0-100000-1000#5000-1000-1;gids=@0-0-1000"


class Idmap:
    """A mount's mapping, and the property that asked for it.

    uids, gids  as in uidMappings and gidMappings; empty: those of the namespace
    namespace   the name of the descriptor of a user namespace that has the mapping already, or ""
    recursive   whether what is mounted below is mapped too
    """

    __slots__ = ("gids", "namespace", "pointer", "recursive", "uids")

    def __init__(self, pointer: str, recursive: bool) -> None:
        self.pointer = pointer
        self.recursive = recursive
        self.uids: list[Mapping] = []
        self.gids: list[Mapping] = []
        self.namespace = ""


def compile_idmap(mount: dict[str, Any], pointer: str, linux: dict[str, Any]) -> Idmap | None:
    """What an entry of `mounts` says by its mappings or its options, or None.

    Its own mappings come first, then those in the option, then the container's user namespace's. Error
    (invalid-config): there is none of these, or the option can't be understood.
    """
    options = mount.get("options") or ()
    found = [index for index, option in enumerate(options) if option.partition("=")[0] in ("idmap", "ridmap")]
    if not found and not mount.get("uidMappings"):
        return None
    place, name, given = f"{pointer}/uidMappings", "", ""
    if found:
        place = f"{pointer}/options/{found[-1]}"
        name, _, given = options[found[-1]].partition("=")
    idmap = Idmap(place, name == "ridmap")
    if mount.get("uidMappings"):
        idmap.uids, idmap.gids = mount["uidMappings"], mount["gidMappings"]
    elif given:
        _read(given, idmap, linux)
    else:
        _take_containers(idmap, linux)
    return idmap


def _take_containers(idmap: Idmap, linux: dict[str, Any]) -> None:
    """The container's user namespace itself if it is there already, else its mappings."""
    user = next((entry for entry in linux.get("namespaces") or () if entry["type"] == "user"), None)
    if user is None:
        raise Error(
            "the mount has no mappings, and the container no user namespace whose mappings could be taken",
            code="invalid-config",
            pointer=idmap.pointer,
            hint="add uidMappings and gidMappings to the mount, or a user namespace to the container",
        )
    if user.get("path"):
        idmap.namespace = JOINED
    else:
        idmap.uids, idmap.gids = linux["uidMappings"], linux["gidMappings"]


def _read(given: str, idmap: Idmap, linux: dict[str, Any]) -> None:
    """crun's form: `uids=` and `gids=`, with ";" between, each of triplets ON_DISK-ON_HOST-COUNT with "#"
    between. One that begins with "@" has a user of the container's for the host's."""
    lists: dict[str, list[Mapping]] = {}
    for part in filter(None, given.split(";")):
        kind, _, triplets = part.partition("=")
        if kind not in KINDS or kind in lists:
            _refuse(idmap, part)
        lists[kind] = []
        for triplet in triplets.split("#"):
            numbers = triplet.removeprefix("@").split("-")
            if len(numbers) != 3 or not all(n.isascii() and n.isdecimal() and len(n) <= 10 for n in numbers):
                _refuse(idmap, triplet)
            inside, outside, size = map(int, numbers)
            if not size or max(inside, outside) + size > 2**32 - 1:
                _refuse(idmap, triplet)
            if triplet.startswith("@"):
                lists[kind] += _relative(inside, outside, size, _containers(KINDS[kind], idmap, linux), idmap)
            else:
                lists[kind].append({"containerID": inside, "hostID": outside, "size": size})
    for kind in KINDS:
        if not lists.get(kind):
            raise Error(
                f"the mapping has no {kind}; the kernel takes both or none",
                code="invalid-config",
                pointer=idmap.pointer,
                hint=_FORM,
            )
    idmap.uids, idmap.gids = lists["uids"], lists["gids"]


def _refuse(idmap: Idmap, text: str) -> NoReturn:
    raise Error(
        f"{text!r} can't be understood as a mapping", code="invalid-config", pointer=idmap.pointer, hint=_FORM
    )


def _containers(property: str, idmap: Idmap, linux: dict[str, Any]) -> list[Mapping]:
    """What a mapping is relative to; without a user namespace the container's users are the host's."""
    if linux.get(property):
        mappings: list[Mapping] = linux[property]
        return mappings
    if any(entry["type"] == "user" for entry in linux.get("namespaces") or ()):
        raise Error(
            f"the mapping is relative to a user namespace that is joined, whose {property} aren't given",
            code="invalid-config",
            pointer=idmap.pointer,
            hint=f"give them in linux.{property}, or the host's users without @",
        )
    return [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}]


def _relative(inside: int, outside: int, size: int, containers: list[Mapping], idmap: Idmap) -> list[Mapping]:
    """A line whose `outside` are users of the container, as users of the host: one for each range of the
    container's that it touches."""
    lines: list[Mapping] = []
    for entry in sorted(containers, key=lambda entry: entry["containerID"]):
        first = max(outside, entry["containerID"])
        last = min(outside + size, entry["containerID"] + entry["size"])
        if first < last:
            host = first - entry["containerID"] + entry["hostID"]
            lines.append({"containerID": inside + first - outside, "hostID": host, "size": last - first})
    if sum(line["size"] for line in lines) != size:
        raise Error(
            f"not every user from {outside} to {outside + size - 1} is in the container's user namespace",
            code="invalid-config",
            pointer=idmap.pointer,
            hint="the second number of a triplet that begins with @ is a user of the container",
        )
    return lines
