"""Reading the command line as runc does: flags anywhere, one dash or two, `--flag value` or `--flag=value`.

After `--` everything is an argument. Where the arguments end in `...` (exec, ps) the first of them
ends the flags, so that the command's own flags stay with it.
"""

from __future__ import annotations

from pyoci.cli.commands import CHOICE, HELP, LIST, NUMBER, SWITCH
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.commands import Flag

# What Go's strconv.ParseBool takes.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Given:
    """What was given on the command line, by long names; defaults stand for what wasn't.

    `named` holds the long names that were really given.
    """

    __slots__ = ("arguments", "lists", "named", "numbers", "switches", "texts")

    def __init__(self, flags: tuple[Flag, ...]) -> None:
        self.arguments: list[str] = []
        self.switches: dict[str, bool] = {"help": False}
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.lists: dict[str, list[str]] = {}
        self.named: set[str] = set()
        for name, _, kind, _, default, _ in flags:
            if kind == SWITCH:
                self.switches[name] = False
            elif kind == LIST:
                self.lists[name] = []
            elif kind == NUMBER:
                self.numbers[name] = int(default)
            else:
                self.texts[name] = default


def usage(message: str, hint: str = "") -> Error:
    """The error for a command line that can't be understood."""
    return Error(message, code="usage", hint=hint)


def parse(words: list[str], flags: tuple[Flag, ...], arguments: str, command: str = "") -> Given:
    """Sort the words into flags and arguments, and check both against the table.

    The number of arguments isn't checked when help is asked for. Error `usage` names the flag.
    """
    given = Given(flags)
    known = _by_name(flags)
    first_ends_flags = arguments.endswith("...")
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            given.arguments += words[at:]
            break
        if word[:1] != "-" or word == "-" or _is_number(word):
            given.arguments.append(word)
            if first_ends_flags:
                given.arguments += words[at:]
                break
            continue
        name, equals, value = word[1 + word.startswith("--") :].partition("=")
        flag = known.get(name)
        if flag is None:
            for letter in _letters(word, name, known, command)[:-1]:
                _set(given, known[letter], "true")
            flag = known[name[-1]]
        if not equals:
            if flag[2] == SWITCH:
                value = "true"
            elif at < len(words):
                value = words[at]
                at += 1
            else:
                raise usage(f"flag needs an argument: {word}", f"write {word} {flag[3]}")
        _set(given, flag, value)
    if not given.switches["help"]:
        _check_count(given.arguments, arguments, command)
    return given


def _by_name(flags: tuple[Flag, ...]) -> dict[str, Flag]:
    known = {"help": HELP, "h": HELP}
    for flag in flags:
        known[flag[0]] = flag
        if flag[1]:
            known[flag[1]] = flag
    return known


def _is_number(word: str) -> bool:
    """`kill ID -9` is a wrong signal, not an unknown flag."""
    return word[1:].isdecimal()


def _letters(word: str, name: str, known: dict[str, Flag], command: str) -> str:
    """The letters of `-td`: known flags, of which only the last may want a value."""
    if not word.startswith("--") and len(name) > 1:
        flags = [known.get(letter) for letter in name]
        if all(flags) and all(flag is not None and flag[2] == SWITCH for flag in flags[:-1]):
            return name
    from pyoci.cli.suggestions import unknown_flag

    raise unknown_flag(word, list(known.values()), command)


def _set(given: Given, flag: Flag, value: str) -> None:
    """Note the value of a flag, in the type of its kind."""
    name, _, kind, called, _, _ = flag
    given.named.add(name)
    if kind == SWITCH:
        if value not in _TRUE and value not in _FALSE:
            raise usage(f"invalid boolean value {value!r} for --{name}", "it is true or false")
        given.switches[name] = value in _TRUE
    elif kind == LIST:
        given.lists[name].append(value)
    elif kind == NUMBER:
        given.numbers[name] = number(value, 0, 2**31 - 1, f"--{name}")
    elif kind == CHOICE and value not in called.split("|"):
        raise usage(f"invalid value {value!r} for --{name}", f"it is one of {called.replace('|', ', ')}")
    else:
        given.texts[name] = value


def number(text: str, least: int, most: int, what: str) -> int:
    """A whole text of decimal digits as an int: no sign, no blank, no base, nothing left over."""
    if text.isascii() and text.isdecimal() and len(text) <= 20:
        value = int(text)
        if least <= value <= most:
            return value
    raise usage(f"invalid value {text!r} for {what}", f"it is a number from {least} to {most}")


def _check_count(given: list[str], arguments: str, command: str) -> None:
    least = arguments.count("<")
    most = len(given) if arguments.endswith("...") else least + arguments.count("[")
    if least <= len(given) <= most:
        return
    if least == most:
        rule = f"exactly {least}"
    elif len(given) < least:
        rule = f"a minimum of {least}"
    else:
        rule = f"a maximum of {most}"
    raise usage(
        f'"{command}" requires {rule} argument(s), {len(given)} given',
        f"the usage is: pyoci {command} [flags] {arguments}".rstrip(),
    )
