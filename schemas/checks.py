"""Says whether a JSON value conforms to the project's schemas: yes or no, and fast.

Written by schemas/generate.py: schemas/checks.py, and below it one check for each definition.
A check is a function of a value that returns whether it is valid. Why one isn't,
pyoci.bundle.violations says.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any], bool]

_unknown: list[str] = []
_STR = {str}


def verdict(check: Check, value: Any) -> tuple[bool, bool]:
    """Whether the value is valid, and whether it has properties that the schema doesn't name."""
    _unknown.clear()
    try:
        return check(value), bool(_unknown)
    except TypeError:  # an enumeration was asked for a list or an object, which have no hash
        return False, False


def boolean(value: Any) -> bool:
    return value is True or value is False


def string(value: Any) -> bool:
    return type(value) is str


def strings(value: Any) -> bool:
    return type(value) is list and (not value or set(map(type, value)) == _STR)


def anything(value: Any) -> bool:
    return type(value) is dict


def path(value: Any) -> bool:
    return type(value) is str and "\0" not in value


def bandwidth(value: Any) -> bool:
    return type(value) is str and value[:3] == "MB:" and "\n" not in value


def page_size(value: Any) -> bool:
    return (
        type(value) is str
        and value[-2:] in ("KB", "MB", "GB")
        and value[0] != "0"
        and value.isascii()
        and value[:-2].isdigit()
    )


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> bool:
        if type(value) is int:
            return low <= value <= high
        return type(value) is float and value.is_integer() and low <= value <= high

    return check


def at_least(low: int) -> Check:
    def check(value: Any) -> bool:
        return (type(value) is int or (type(value) is float and value.is_integer())) and low <= value

    return check


def only(characters: str) -> Check:
    """A string of nothing but these characters."""

    def check(value: Any) -> bool:
        return type(value) is str and not value.strip(characters)

    return check


def choice(*values: str) -> Check:
    return frozenset(values).__contains__


def array(item: Check, least: int = 0) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not list or len(value) < least:
            return False
        for element in value:  # noqa: SIM110  # twice as fast as all()
            if not item(element):
                return False
        return True

    return check


def members(item: Check, unnamed: bool = True) -> Check:
    """An object as a map: every value passes, and "" may be a name or not."""

    def check(value: Any) -> bool:
        if type(value) is not dict or not (unnamed or "" not in value):
            return False
        for element in value.values():  # noqa: SIM110
            if not item(element):
                return False
        return True

    return check


def record(required: tuple[str, ...], properties: dict[str, Check]) -> Check:
    """An object of named properties, and any others."""
    find = properties.get

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name in required:
            if name not in value:
                return False
        for name, element in value.items():
            property_check = find(name)
            if property_check is None:
                _unknown.append(name)
            elif not property_check(element):
                return False
        return True

    return check
