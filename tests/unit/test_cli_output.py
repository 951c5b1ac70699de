"""Standard output: tables, JSON, and pipes whose reader has gone."""

from __future__ import annotations

import os

import pytest

from pyoci.cli import output
from pyoci.errors import Error


def test_a_table_is_runcs():
    rows = [
        ["ID", "PID", "STATUS", "BUNDLE", "OWNER"],
        ["cc", "9862", "running", "/tmp/clidev/b", "root"],
        ["cc_with_a_long_name_here", "9881", "created", "/tmp/clidev/b", "root"],
    ]
    assert output.table(rows) == (
        "ID                         PID         STATUS      BUNDLE          OWNER\n"
        "cc                         9862        running     /tmp/clidev/b   root\n"
        "cc_with_a_long_name_here   9881        created     /tmp/clidev/b   root\n"
    )


def test_a_table_without_rows_is_runcs():
    title = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert output.table([title]) == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_json_ends_its_line(capfd):
    output.write_json({"a": [1]}, 2)
    output.write_json([1, 2])
    assert capfd.readouterr().out == '{\n  "a": [\n    1\n  ]\n}\n[1,2]\n'


@pytest.fixture
def standard_output():
    """Replaces descriptor 1 by what it is called with; gives it back afterwards."""
    kept = os.dup(1)
    yield lambda descriptor: os.dup2(descriptor, 1)
    os.dup2(kept, 1)
    os.close(kept)


def test_a_reader_that_has_gone(standard_output):
    reader, writer = os.pipe()
    standard_output(writer)
    os.close(writer)
    os.close(reader)
    with pytest.raises(output.ReaderGone):
        output.write("x")


def test_a_full_disk_is_an_error(standard_output):
    full = os.open("/dev/full", os.O_WRONLY)
    standard_output(full)
    os.close(full)
    with pytest.raises(Error, match="can't write to standard output: no space left on device"):
        output.write("x")


def test_long_texts_are_written_whole(standard_output, tmp_path):
    reader, writer = os.pipe()
    standard_output(writer)
    os.close(writer)
    child = os.fork()
    if child == 0:
        output.write("x" * 300_000)
        os._exit(0)
    os.close(1)
    with open(reader, "rb") as file:
        assert len(file.read()) == 300_000
    os.waitpid(child, 0)
