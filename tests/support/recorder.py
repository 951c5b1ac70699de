"""A program in front of a runtime that notes how it is called, and becomes the runtime."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

# Of the variables' values only those are kept that say something about the caller.
SCRIPT = """#!{python} -IS
import fcntl, json, os, sys
RUNTIME, NOTES = {runtime!r}, {notes!r}
def kind(number):
    target = os.readlink(f"/proc/self/fd/{{number}}")
    return target.partition(":")[0] if target[0] != "/" else target
opened = [int(name) for name in os.listdir("/proc/self/fd")]
opened = {{number: kind(number) for number in opened if os.path.exists(f"/proc/self/fd/{{number}}")}}
flags = {{number: fcntl.fcntl(number, fcntl.F_GETFD) for number in opened}}
given = open("/proc/self/environ").read().split("\\0")[:-1]  # without what Python has added for itself
variables = dict(variable.split("=", 1) for variable in given)
words = sys.argv[1:]
files = {{}}
for flag, word in zip(words, words[1:] + [""]):
    flag, _, value = flag.partition("=")
    if flag in ("--process", "-p", "--resources", "-r"):
        files[flag] = value or word
contents = {{}}
for flag, name in files.items():
    if name == "-":
        text = sys.stdin.read()
        again = os.memfd_create("stdin")
        os.write(again, text.encode())
        os.lseek(again, 0, 0)
        os.dup2(again, 0)
    else:
        text = open(name).read()
    contents[flag] = text
note = {{
    "program": sys.argv[0],
    "words": words,
    "environment": variables,
    "descriptors": {{n: k for n, k in opened.items() if not flags[n] & fcntl.FD_CLOEXEC}},
    "directory": os.getcwd(),
    "given": contents,
}}
notes = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
os.write(notes, (json.dumps(note) + "\\n").encode())
os.close(notes)
os.execve(RUNTIME, [RUNTIME, *words], variables)
"""


@dataclass
class Call:
    """How a runtime was called once."""

    program: str
    words: list[str]
    environment: dict[str, str]
    descriptors: dict[str, str]  # those open beyond exec, and of what kind: pipe, socket, a path
    directory: str
    given: dict[str, str]  # what it was given by --process and --resources


class Recorder:
    """Its program is called NAME: engines decide by a runtime's name what it can do."""

    def __init__(self, directory: Path, runtime: str, name: str = "pyoci") -> None:
        self.program = directory / name
        self.notes = directory / "calls"
        script = SCRIPT.format(
            python=os.path.realpath(sys.executable), runtime=runtime, notes=str(self.notes)
        )
        self.program.write_text(script)
        self.program.chmod(0o755)

    def calls(self) -> list[Call]:
        if not self.notes.exists():
            return []
        return [Call(**json.loads(line)) for line in self.notes.read_text().splitlines()]
