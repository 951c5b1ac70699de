"""Device rules: config's list with the defaults, and the allow and deny lists that v1 makes of it.

The rules are ordered and the last one that matches decides (config-linux.md, Allowed Device list). v1
keeps something poorer: one default and a set of exceptions to it, each with access letters. What can't
be said that way is refused, since the kernel would ignore it without a word.
"""

from __future__ import annotations

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANY = -1

ALWAYS = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, ANY, "rwm"),  # pts/*
)
"""What every container may use: the default devices, and making nodes (mknod is a capability's matter)."""


class Rule:
    """One rule. `kind` is "a" (everything; numbers don't count), "c" or "b"; ANY for `*`."""

    __slots__ = ("access", "allow", "kind", "major", "minor", "pointer")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: str, pointer: str) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{self.kind} {number(self.major)}:{number(self.minor)} {self.access}"


def number(value: int) -> str:
    """A device number as the kernel's lists write it."""
    return "*" if value == ANY else str(value)


def rules(entries: list[dict[str, object]] | None, pointer: str) -> list[Rule]:
    """The rules in effect, in order: deny all, config's, then what is always allowed.

    A config that ends up allowing by default has its denials left alone: only rules that name one
    of the default devices are added to it.
    """
    result = [Rule(False, "a", ANY, ANY, "rwm", pointer)]
    for index, entry in enumerate(entries or []):
        result.append(_rule(entry, f"{pointer}/{index}"))
    last = next(rule for rule in reversed(result) if rule.kind == "a")
    for kind, major, minor, access in ALWAYS:
        if not (last.allow and ANY in (major, minor)):
            result.append(Rule(True, kind, major, minor, access, pointer))
    return result


def _rule(entry: dict[str, object], pointer: str) -> Rule:
    kind = entry.get("type") or "a"
    access = entry.get("access") or "rwm"
    if kind not in ("a", "b", "c"):
        raise Error(
            f"{kind!r} is no device type that a rule can be for (a, b, c)",
            code="invalid-config",
            pointer=f"{pointer}/type",
        )
    if not isinstance(access, str) or access.strip("rwm"):
        raise Error(
            f"access {access!r} is not made of the letters r, w and m",
            code="invalid-config",
            pointer=f"{pointer}/access",
        )
    if kind == "a":
        # As the kernel and every runtime read it: numbers and letters beside "all" don't count.
        return Rule(bool(entry["allow"]), "a", ANY, ANY, "rwm", pointer)
    return Rule(
        bool(entry["allow"]),
        str(kind),
        _number(entry, "major", pointer),
        _number(entry, "minor", pointer),
        access,
        pointer,
    )


def _number(entry: dict[str, object], name: str, pointer: str) -> int:
    value = entry.get(name)
    if value is None or value == ANY:
        return ANY
    if not isinstance(value, int) or not 0 <= value < 2**32:
        raise Error(f"{value!r} is no device number", code="invalid-config", pointer=f"{pointer}/{name}")
    return value


def allow_all(ordered: list[Rule]) -> bool:
    """Whether nothing is denied in the end."""
    for rule in reversed(ordered):
        if not rule.allow:
            return False
        if rule.kind == "a":
            return True
    return False


class List:
    """What a v1 cgroup keeps: a default, and exceptions to it by (kind, major, minor)."""

    __slots__ = ("allow", "exceptions")

    def __init__(self, ordered: list[Rule]) -> None:
        self.allow = False
        self.exceptions: dict[tuple[str, int, int], str] = {}
        for rule in ordered:
            if rule.kind == "a":
                self.allow = rule.allow
                self.exceptions.clear()
            elif rule.allow == self.allow:
                self._narrow(rule)
            else:
                key = (rule.kind, rule.major, rule.minor)
                self.exceptions[key] = _letters(self.exceptions.get(key, "") + rule.access)

    @classmethod
    def read(cls, text: str) -> List:
        """What devices.list says. Of a cgroup that allows by default it doesn't tell the exceptions."""
        found = cls([])
        for line in text.splitlines():
            kind, numbers, access = line.split()
            if kind == "a":
                found.allow = True
            else:
                major, minor = (ANY if part == "*" else int(part) for part in numbers.split(":"))
                found.exceptions[kind, major, minor] = _letters(access)
        return found

    def data(self) -> list[Any]:
        """The list as JSON can hold it."""
        return [self.allow, [[*key, access] for key, access in self.exceptions.items()]]

    @classmethod
    def of_data(cls, data: list[Any]) -> List:
        """The list that data() told."""
        found = cls([])
        found.allow = data[0]
        found.exceptions = {(kind, major, minor): access for kind, major, minor, access in data[1]}
        return found

    def _narrow(self, rule: Rule) -> None:
        """Takes a rule's access back out of the exceptions that it covers."""
        for (kind, major, minor), access in list(self.exceptions.items()):
            common = set(access) & set(rule.access)
            if kind != rule.kind or not (common and _meet(major, rule.major) and _meet(minor, rule.minor)):
                continue
            if rule.major not in (ANY, major) or rule.minor not in (ANY, minor):
                verb = "allow" if rule.allow else "deny"
                raise Error(
                    f"cgroup v1 can't {verb} {rule} out of {kind} {number(major)}:{number(minor)} {access}, "
                    "which an earlier rule names",
                    code="not-supported",
                    pointer=rule.pointer,
                    hint="list the devices one by one",
                )
            left = _without(access, rule.access)
            if left:
                self.exceptions[kind, major, minor] = left
            else:
                del self.exceptions[kind, major, minor]

    def writes(self) -> list[tuple[str, str]]:
        """(file, value) to write, in order, whatever the cgroup has now."""
        first, then = self._files()
        return [(first, "a")] + [
            (then, f"{kind} {number(major)}:{number(minor)} {access}")
            for (kind, major, minor), access in self.exceptions.items()
        ]

    def changes_from(self, now: List) -> list[tuple[str, str]]:
        """(file, value) to write where both have the same default: the exceptions that come in, then those
        that go. So what both allow is allowed throughout where the default is to deny, and what both deny is
        denied throughout where it is to allow."""
        default, exception = self._files()
        return [
            (file, f"{kind} {number(major)}:{number(minor)} {access}")
            for file, more, less in ((exception, self, now), (default, now, self))
            for (kind, major, minor), letters in more.exceptions.items()
            if (access := _without(letters, less.exceptions.get((kind, major, minor), "")))
        ]

    def _files(self) -> tuple[str, str]:
        """The file that gives the default, and the one that makes exceptions to it."""
        return ("devices.allow", "devices.deny") if self.allow else ("devices.deny", "devices.allow")


def _without(letters: str, others: str) -> str:
    return "".join(letter for letter in letters if letter not in others)


def _meet(one: int, other: int) -> bool:
    return ANY in (one, other) or one == other


def _letters(access: str) -> str:
    return "".join(letter for letter in "rwm" if letter in access)
