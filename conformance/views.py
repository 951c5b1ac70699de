"""A probe's view made comparable: what differs from run to run taken out, the rest as flat facts."""

from __future__ import annotations

import itertools
import re

from conformance.host import unescape
from conformance.lifecycle import SEMVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conformance.harness import Container

# Signals 32 and 33 are the C library's own: a caller may have them ignored without having asked for it.
LIBRARY_SIGNALS = 0b11 << 31
# Clocks go on; ids of keys and the argument vector are of the run.
OF_THE_RUN = ("clock_monotonic", "clock_boottime", "argv")
ANONYMOUS_DEVICE = re.compile(r"^0:\d+$")
NUMBERED = re.compile(r"(pipe|socket|anon_inode):\[\d+\]")
# O_CLOEXEC, O_LARGEFILE and O_NOFOLLOW as the kernel has them (the latter two the other way round on arm):
# F_GETFL shows them though they say nothing once a file is open.
SPENT_FLAGS = 0o2000000 | 0o400000 | 0o100000
UNORDERED = re.compile(r"/sys/fs/cgroup/|/dev/(null|zero|full|random|urandom|tty)$")
CALL = re.compile(r"runtime-\d+/call-\d+")


def normalise(view: dict[str, Any], runtime_namespaces: dict[str, int]) -> dict[str, Any]:
    """The view without inode, mount, device and key numbers, which only ever say same or not the same."""
    view = {key: value for key, value in view.items() if key not in OF_THE_RUN}
    view["namespaces"] = {
        kind: "the runtime's" if number == runtime_namespaces.get(kind) else "its own"
        for kind, number in view["namespaces"].items()
    }
    for key in ("uid_map", "gid_map", "timens_offsets"):
        view[key] = " ".join((view[key] or "").split())
    ignored = int(view["signals_ignored"], 16) & ~LIBRARY_SIGNALS
    view["signals_ignored"] = f"{ignored:016x}"
    lines = [line.split(":", 2) for line in view["cgroup"].splitlines()]
    view["cgroup"] = {controllers or "unified": path for _, controllers, path in lines}
    view["session_keyring"] = keyring(view["session_keyring"])
    view["descriptors"] = {fd["number"]: descriptor(fd) for fd in view["descriptors"]}
    view["env"] = dict(enumerate(view["env"]))
    view["mounts"] = mounts(view["mounts"])
    view["dev"] = {name: node(found) for name, found in view["dev"].items()}
    view["paths"] = {path: node(found) for path, found in view["paths"].items()}
    return view


def node(found: dict[str, Any]) -> Any:
    """A file: of a symbolic link in /dev only the target, of a directory not the order."""
    if found.get("type") == "symlink" and "errno" not in found:
        return f"-> {found['target']}"
    # How large a directory is depends on the file system's history.
    found = {key: value for key, value in found.items() if key != "size"}
    if found.get("entries"):
        found["entries"] = sorted(found["entries"])
    return found


def keyring(found: dict[str, Any]) -> dict[str, Any]:
    return {"errno": found["errno"], "description": found["description"]}


def descriptor(found: dict[str, Any]) -> dict[str, Any]:
    target = CALL.sub("output", NUMBERED.sub(r"\1", found["target"] or ""))
    flags = found["flags"] & ~SPENT_FLAGS
    return {"target": target, "mode": found["mode"], "flags": flags, "cloexec": found["cloexec"]}


def mounts(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mounts by mount point (a second at the same point as `POINT (2)`), parents by name, and the order."""
    names: dict[str, str] = {}
    found: dict[str, Any] = {}
    for entry in entries:
        name = point = unescape(entry["point"])
        number = 1
        while name in found:
            number += 1
            name = f"{point} ({number})"
        names[entry["id"]] = name
        found[name] = entry
    result: dict[str, Any] = {}
    for name, entry in found.items():
        result[name] = {
            "parent": names.get(entry["parent"], "outside"),
            "device": "anonymous" if ANONYMOUS_DEVICE.match(entry["device"]) else entry["device"],
            "root": unescape(entry["root"]),
            "options": entry["options"],
            "propagation": " ".join(tag.split(":")[0] for tag in entry["propagation"]),
            "type": entry["type"],
            "source": unescape(entry["source"] or ""),
            "super": entry["super"],
        }
    result["order"] = order(list(found))
    return result


def order(points: list[str]) -> str:
    """Mount points in the order of their mounts, but for the siblings that nothing orders: the hierarchies
    of one cgroup mount and the default devices.
    """
    known: list[str] = []
    for unordered, group in itertools.groupby(points, lambda point: UNORDERED.match(point) is not None):
        names = list(group)
        known += sorted(names) if unordered else names
    return " ".join(known)


def flatten(value: object, path: str = "") -> dict[str, object]:
    """Every leaf of a document by its path, parted by blanks (mount points have dots and slashes)."""
    if isinstance(value, dict) and value:
        facts: dict[str, object] = {}
        for key, member in value.items():
            facts.update(flatten(member, f"{path} {key}".strip()))
        return facts
    return {path: value}


def outside(container: Container, limits: dict[str, str]) -> dict[str, Any]:
    """What the host sees of a running container: its limits, and the state as the specification has it."""
    state = container.state()
    told = {key: state.get(key) for key in ("ociVersion", "id", "status", "bundle", "annotations")}
    # Which version a state complies with is the runtime's own.
    told["ociVersion"] = SEMVER.fullmatch(str(told["ociVersion"])) is not None
    told["pid"] = "the process" if state.get("pid") == container.pid else state.get("pid")
    # No annotations may be told as an empty object or not at all.
    told["annotations"] = told["annotations"] or {}
    # A list of the device cgroup's rules is a set.
    limits = {name: " ".join(sorted(value.split("\n"))) for name, value in limits.items()}
    return {"limits": limits, "state": told}
