"""Signals by name and number."""

from __future__ import annotations

import signal

import pytest

from pyoci.cli.signal_names import number
from pyoci.errors import Error


@pytest.mark.parametrize("one", [s for s in signal.Signals if not s.name.startswith("SIGRT")])
def test_names_are_the_hosts(one):
    assert number(one.name) == one.value
    assert number(one.name.removeprefix("SIG")) == one.value
    assert number(one.name.lower()) == one.value
    assert number(str(one.value)) == one.value


def test_aliases():
    assert number("POLL") == signal.SIGPOLL
    assert number("sigcld") == signal.SIGCHLD
    assert number("IOT") == signal.SIGABRT


@pytest.mark.parametrize("offset", range(31))
def test_real_time_signals_count_from_both_ends(offset):
    assert number(f"RTMIN+{offset}") == signal.SIGRTMIN + offset
    assert number(f"SIGRTMAX-{offset}") == signal.SIGRTMAX - offset


def test_the_ends_of_the_range():
    assert number("RTMIN") == signal.SIGRTMIN
    assert number("sigrtmax") == signal.SIGRTMAX
    assert number("0") == 0
    assert number("64") == 64
    assert number("034") == 34


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " 9",
            "9 ",
            "65",
            "-1",
            "+9",
            "0x9",
            "1e1",
            "SIG",
            "SIGSIGTERM",
            "TERMX",
            "RTMIN+31",
            "RTMAX-31",
        ),
        *("RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN+-1", "RTMIN+x", "RT", "٩", "9" * 5000),
    ],
)
def test_what_is_no_signal_is_refused(text):
    with pytest.raises(Error) as caught:
        number(text)
    assert caught.value.code == "usage"
    assert "unknown signal" in caught.value.message
