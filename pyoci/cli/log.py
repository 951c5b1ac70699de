"""The log: a file, a daemon or stderr, as text or as one JSON object a line, which engines read.

People get errors on stderr in their own shape, `pyoci COMMAND: MESSAGE` with the hint on a line of its
own, also when there is a log. Warnings and debug messages go to one place only: the log if there is one.
"""

from __future__ import annotations

import os
import time
from _json import encode_basestring_ascii

from pyoci.errors import Error

_LEVELS = {"error": 0, "warning": 1, "info": 2, "debug": 3}
_DAEMONS = ("journald:", "syslog:")
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Log:
    """Where messages go. `command` is named in what people see."""

    __slots__ = ("_json", "_level", "_target", "command")

    def __init__(self, target: str = "", shape: str = "text", level: str = "info") -> None:
        """target  a file's path, journald:ID or syslog:ID; "" or /dev/stderr for stderr
        shape   text or json
        level   the least important one to tell: error, warning, info or debug
        """
        if target == "/dev/stderr":
            target = ""
        self._target = target if not target or target.startswith(_DAEMONS) else os.path.abspath(target)
        self._json = shape == "json"
        self._level = _LEVELS[level]
        self.command = ""

    def check(self) -> None:
        """Make the log's file, so that a wrong path is told before anything is done.

        It isn't held open between records: descriptors from 3 up belong to the caller (--preserve-fds).
        """
        if self._target and not self._target.startswith(_DAEMONS):
            try:
                os.close(os.open(self._target, _APPEND, 0o644))
            except OSError as error:
                path, self._target = self._target, ""
                raise Error(
                    f"can't open the log file {path}: {os.strerror(error.errno or 0).lower()}",
                    code="usage",
                    errno=error.errno or 0,
                ) from None

    def error(self, failure: Error) -> None:
        """Tell a failure: to people, and to the log with everything known of it."""
        if self._target or not self._json:
            where = f"{failure.pointer}: " if failure.pointer else ""
            hint = f"\n  {failure.hint}" if failure.hint else ""
            self._tell(where + failure.message + hint)
        if self._target or self._json:
            self._record("error", str(failure), failure)

    def warn(self, text: str) -> None:
        """Tell what didn't work as asked, though the command goes on."""
        self._message("warning", text)

    def debug(self, text: str) -> None:
        """Tell a step of the work, for who looks for a fault."""
        self._message("debug", text)

    def _message(self, level: str, text: str) -> None:
        if _LEVELS[level] > self._level:
            return
        if self._target or self._json:
            self._record(level, text)
        else:
            self._tell(f"{level}: {text}")

    def _tell(self, text: str) -> None:
        name = f"pyoci {self.command}" if self.command else "pyoci"
        _write_stderr(f"{name}: {_printable(text)}\n")

    def _record(self, level: str, text: str, failure: Error | None = None) -> None:
        """Write one record. A log that fails makes no container fail: people are told, and all goes on."""
        line = _line(self._json, level, text, failure)
        try:
            if not self._target:
                _write_stderr(line)
            elif self._target.startswith(_DAEMONS):
                from pyoci.cli.log_daemons import send

                send(self._target, level, line.rstrip() if self._json else text)
            else:
                descriptor = os.open(self._target, _APPEND, 0o644)
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)
        except OSError as error:
            self._tell(f"can't write to the log {self._target}: {os.strerror(error.errno or 0).lower()}")


def _line(as_json: bool, level: str, text: str, failure: Error | None) -> str:
    """A record in ASCII. The order of its fields, and the text's shape, are those of Go's logrus."""
    message = encode_basestring_ascii(text)
    when = f'"{timestamp(time.time())}"'
    more = _details(failure) if failure else []
    if as_json:
        fields = [("level", f'"{level}"'), ("msg", message), ("time", when), *more]
        return "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}\n"
    fields = [("time", when), ("level", level), ("msg", message), *more]
    return " ".join(f"{name}={value}" for name, value in fields) + "\n"


def _details(failure: Error) -> list[tuple[str, str]]:
    """What else is known of a failure, as names and JSON values; what is empty is left out."""
    fields = [("code", encode_basestring_ascii(failure.code))]
    if failure.pointer:
        fields.append(("pointer", encode_basestring_ascii(failure.pointer)))
    if failure.errno:
        fields.append(("errno", str(failure.errno)))
    if failure.hint:
        fields.append(("hint", encode_basestring_ascii(failure.hint)))
    return fields


def timestamp(seconds: float) -> str:
    """RFC 3339 with the offset from UTC, to the second."""
    local = time.localtime(seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    minutes = local.tm_gmtoff // 60
    if not minutes:
        return text + "Z"
    return f"{text}{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _printable(text: str) -> str:
    """Control characters escaped: parts of a message may come from a container."""
    if text.isprintable():
        return text
    # repr(), as the launcher's Python has no encoding that escapes.
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)


def _write_stderr(text: str) -> None:
    """Write to stderr. Where nobody reads it there is nobody left to tell."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        return
