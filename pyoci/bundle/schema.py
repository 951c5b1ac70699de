"""Checks documents against the project's schemas: a fast yes, and a slow but full no.

The yes comes from a validator generated from the schemas at build time. Only after its no is
jsonschema imported (55 ms), whose word is final and from which the messages are made.
"""

from __future__ import annotations

from pyoci.bundle import validator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check(config: Any) -> list[str]:
    """Check a whole config.json; returns warnings, one for each property that the schema doesn't name.

    Error (invalid-config): one line for each violation, "POINTER: what was found, what would do".
    """
    return _check(config, validator.config, "", "")


def check_process(process: Any, prefix: str = "") -> list[str]:
    """The same for what exec --process reads; prefix goes before every pointer."""
    return _check(process, validator.process, "process", prefix)


def check_resources(resources: Any, prefix: str = "") -> list[str]:
    """The same for what update --resources reads."""
    return _check(resources, validator.resources, "resources", prefix)


def check_mount(mount: Any, prefix: str = "") -> list[str]:
    """The same for each of what mounts add reads."""
    return _check(mount, validator.mount, "mount", prefix)


def _check(value: Any, check: validator.Check, definition: str, prefix: str) -> list[str]:
    valid, unknown = validator.verdict(check, value)
    if valid and not unknown:
        return []
    from pyoci.bundle import violations

    if not valid:
        violations.explain(value, definition, prefix)
    return violations.unknown_properties(value, definition, prefix)
