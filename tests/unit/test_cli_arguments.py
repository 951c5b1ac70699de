"""Reading command lines: what runc accepts is accepted, and everything else is named in the error."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from pyoci.cli.arguments import number, parse
from pyoci.cli.commands import CHOICE, COMMANDS, GLOBAL_ARGUMENTS, GLOBAL_FLAGS, LIST, NUMBER, SWITCH, TEXT
from pyoci.errors import Error

FLAGS = (
    ("all", "a", SWITCH, "", "", ""),
    ("detach", "d", SWITCH, "", "", ""),
    ("bundle", "b", TEXT, "DIR", ".", ""),
    ("count", "", NUMBER, "N", "0", ""),
    ("env", "e", LIST, "NAME=VALUE", "", ""),
    ("format", "f", CHOICE, "table|json", "table", ""),
)


def read(line: str, arguments: str = "<id> [signal]"):
    return parse(line.split(), FLAGS, arguments, "test")


def refused(line: str, arguments: str = "<id> [signal]") -> Error:
    with pytest.raises(Error) as caught:
        read(line, arguments)
    assert caught.value.code == "usage"
    assert caught.value.status == 1
    return caught.value


def test_defaults_stand_for_what_is_not_given():
    given = read("x")
    assert given.switches == {"all": False, "detach": False, "help": False}
    assert given.texts == {"bundle": ".", "format": "table"}
    assert given.numbers == {"count": 0}
    assert given.lists == {"env": []}
    assert given.named == set()


@pytest.mark.parametrize(
    "line",
    ["--bundle /b x", "-bundle /b x", "--bundle=/b x", "-b /b x", "-b=/b x", "--b /b x", "x --bundle /b"],
)
def test_every_way_to_write_a_flag(line):
    given = read(line)
    assert given.texts["bundle"] == "/b"
    assert given.arguments == ["x"]
    assert given.named == {"bundle"}


def test_a_value_may_look_like_a_flag_or_hold_an_equals_sign():
    assert read("--bundle --all x").texts["bundle"] == "--all"
    assert read("--bundle=a=b x").texts["bundle"] == "a=b"
    assert read("--bundle= x").texts["bundle"] == ""


@pytest.mark.parametrize("line", ["x 9 --all", "x -a 9", "--all x 9", "--all=true x 9", "-a=1 x 9"])
def test_flags_may_stand_among_the_arguments(line):
    given = read(line)
    assert given.arguments == ["x", "9"]
    assert given.switches["all"]


def test_a_switch_can_be_turned_off():
    assert not read("--all --all=false x").switches["all"]


def test_lists_grow_and_keep_their_commas():
    assert read("-e A=1 --env B=2,3 -e=C=4 x").lists["env"] == ["A=1", "B=2,3", "C=4"]


def test_letters_of_switches_may_be_put_together():
    given = read("-ad x")
    assert given.switches["all"] and given.switches["detach"]
    assert read("-ab /b x").texts["bundle"] == "/b"


def test_two_dashes_end_the_flags():
    assert read("-- --all").arguments == ["--all"]
    assert read("--all -- -b 9").arguments == ["-b", "9"]


def test_the_first_argument_ends_the_flags_of_a_command_that_takes_a_command():
    given = read("-a web sh -c -a --bogus -- x", "<id> [command] [argument]...")
    assert given.switches["all"]
    assert given.arguments == ["web", "sh", "-c", "-a", "--bogus", "--", "x"]
    assert read("-- web -a", "<id> [command]...").arguments == ["web", "-a"]


def test_a_negative_number_and_a_single_dash_are_arguments():
    assert read("x -9").arguments == ["x", "-9"]
    assert read("x -").arguments == ["x", "-"]


def test_help_is_answered_whatever_else_is_missing():
    assert read("--help").switches["help"]
    assert read("-h a b c d").switches["help"]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("--bogus x", "flag provided but not defined: --bogus", "`pyoci test --help` lists the flags"),
        ("x --bundel=/b", "flag provided but not defined: --bundel", "did you mean --bundle?"),
        (
            "x --root /r",
            "flag provided but not defined: --root",
            "--root is a global flag: write it before test",
        ),
        ("-b/tmp x", "flag provided but not defined: -b/tmp", "leave a blank between -b and its value"),
        ("-ax y", "flag provided but not defined: -ax", ""),
        ("--bundle", "flag needs an argument: --bundle", "write --bundle DIR"),
        ("x -b", "flag needs an argument: -b", "write -b DIR"),
        ("--all=maybe x", "invalid boolean value 'maybe' for --all", "it is true or false"),
        ("--count 0x10 x", "invalid value '0x10' for --count", "it is a number from 0 to 2147483647"),
        ("--count=-1 x", "invalid value '-1' for --count", ""),
        ("-f xml x", "invalid value 'xml' for --format", "it is one of table, json"),
    ],
)
def test_errors_name_the_flag_and_what_would_do(line, message, hint):
    error = refused(line)
    assert error.message == message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("line", "arguments", "rule"),
    [
        ("", "<id>", '"test" requires exactly 1 argument(s), 0 given'),
        ("a b", "<id>", '"test" requires exactly 1 argument(s), 2 given'),
        ("a", "", '"test" requires exactly 0 argument(s), 1 given'),
        ("", "<id> [signal]", '"test" requires a minimum of 1 argument(s), 0 given'),
        ("a 9 3", "<id> [signal]", '"test" requires a maximum of 2 argument(s), 3 given'),
        ("", "<id> [command]...", '"test" requires a minimum of 1 argument(s), 0 given'),
    ],
)
def test_the_number_of_arguments(line, arguments, rule):
    assert refused(line, arguments).message == rule


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "-1", "0x1", "1_0", "1.0", "٣", "²", "9" * 30, "4294967295"]
)
def test_numbers_are_whole_decimal_texts_in_range(text):
    with pytest.raises(Error):
        number(text, 0, 2**32 - 2, "the user id")


def test_the_largest_id():
    assert number("4294967294", 0, 2**32 - 2, "the user id") == 4294967294
    assert number("007", 0, 10, "x") == 7


@for_all(st.sampled_from(sorted(COMMANDS)), st.lists(st.text(max_size=8), max_size=6))
def test_no_words_make_the_parser_fail_otherwise(name, words):
    _, arguments, flags = COMMANDS[name]
    try:
        given = parse(words, flags, arguments, name)
    except Error as error:
        assert error.code == "usage"
        return
    assert set(given.texts) | set(given.switches) | set(given.numbers) | set(given.lists) == {
        *(flag[0] for flag in flags),
        "help",
    }


@for_all(
    st.lists(
        st.sampled_from(["--root", "/r", "--debug", "-v", "state", "--all", "x", "--", "-h"]), max_size=8
    )
)
def test_global_flags_stop_at_the_command(words):
    try:
        given = parse(words, GLOBAL_FLAGS, GLOBAL_ARGUMENTS)
    except Error:
        return
    if given.arguments:
        assert words[-len(given.arguments) :] == given.arguments
