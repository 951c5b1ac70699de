"""Lists of devices that runtimes are compared on, and what a container may then make, read and write."""

from __future__ import annotations

import errno
import functools

from conformance.registry import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from conformance.harness import World

    Rules = list[dict[str, Any]] | None

# A default one; the host's console; three that have a driver, or haven't: opened without one they fail too,
# but not with EPERM.
DEVICES = ("c:1:3", "c:5:1", "c:10:200", "c:10:229", "b:8:0", "c:511:7")
TUN = {"type": "c", "major": 10, "minor": 200}
DENY, ALLOW = {"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}

LISTS: dict[str, Rules] = {
    "no list": None,
    "all denied": [DENY],
    "one allowed": [DENY, {**TUN, "allow": True, "access": "rw"}],
    "one to be read": [DENY, {**TUN, "allow": True, "access": "r"}],
    "one denied": [ALLOW, {**TUN, **DENY}],
    "a major allowed": [DENY, {"type": "c", "major": 10, "allow": True, "access": "r"}],
    "a kind allowed": [DENY, {"type": "b", "allow": True, "access": "rwm"}],
    "allowed, then denied to write": [DENY, {**TUN, **ALLOW}, {**TUN, "allow": False, "access": "w"}],
    "allowed, then all denied": [{**TUN, **ALLOW}, DENY],
    "denied, then all allowed": [{**TUN, **DENY}, ALLOW],
}


def look(rules: Rules, world: World) -> dict[str, Any]:
    """The letters of the access to each device that the kernel doesn't forbid."""
    container = world.container()
    config = container.config
    config["linux"]["resources"] = {} if rules is None else {"devices": rules}
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] = ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
    found = container.view(*(word for device in DEVICES for word in ("--device", device)))["device_access"]
    check(set(found) == set(DEVICES), f"the probe told of {sorted(found)}")
    letters = (("m", "mknod_errno"), ("r", "read_errno"), ("w", "write_errno"))
    return {
        "access": {
            device: "".join(letter for letter, name in letters if tried.get(name, errno.EPERM) != errno.EPERM)
            for device, tried in found.items()
        }
    }


ACCESSED: dict[str, Callable[[World], dict[str, Any]]] = {
    f"devices: {name}": functools.partial(look, rules) for name, rules in LISTS.items()
}
