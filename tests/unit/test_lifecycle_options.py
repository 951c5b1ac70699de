"""Descriptors that the caller hands on are counted, and are really the caller's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyoci
from pyoci.lifecycle.options import passed_sockets

COUNT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pyoci.errors import Error
from pyoci.lifecycle.options import count_preserved, passed_sockets
for descriptor in sys.argv[3:]:
    os.dup2(0, int(descriptor))
try:
    print(count_preserved(int(sys.argv[2]), passed_sockets()))
except Error as error:
    print(error.message)
"""


@pytest.mark.parametrize(
    ("asked", "listening", "opened", "answer"),
    [
        (0, "", [], "0"),
        (2, "", [3, 4], "2"),
        (1, "2", [3, 4, 5], "3"),
        (0, "none", [], "0"),
        (2, "", [3, 5], "descriptor 4 is to be preserved, but it isn't open"),
        (0, "1", [], "descriptor 3 is to be preserved, but it isn't open"),
        (2**31 - 1, "", [3], "descriptor 4 is to be preserved, but it isn't open"),
    ],
)
def test_descriptors(asked, listening, opened, answer):
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            COUNT,
            Path(pyoci.__file__).parents[1],
            str(asked),
            *map(str, opened),
        ],
        env={"LISTEN_FDS": listening},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == answer + "\n"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"LISTEN_FDS": "2"}, ["LISTEN_FDS=2"]),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "own"}, ["LISTEN_FDS=2"]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "own", "LISTEN_FDNAMES": "web"},
         ["LISTEN_FDS=1", "LISTEN_FDNAMES=web"]),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, []),
        ({"LISTEN_FDS": "0", "LISTEN_FDNAMES": "web"}, []),
        ({"LISTEN_FDNAMES": "web"}, []),
    ],
)  # fmt: skip
def test_sockets_that_are_for_us(monkeypatch, variables, told):
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("own", str(os.getpid())))
    assert passed_sockets() == told
