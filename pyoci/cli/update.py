"""`pyoci update`."""

from __future__ import annotations

from pyoci.bundle import document
from pyoci.cli.arguments import usage
from pyoci.cli.quantities import integer, size
from pyoci.errors import Error
from pyoci.lifecycle.update import update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cli.arguments import Given
    from pyoci.lifecycle.settings import Settings

# Each flag: where linux.resources says it, and the least number there is; -2 for a size in bytes.
_SIZE = -2
_FLAGS = {
    "blkio-weight": ("blockIO", "weight", 0),
    "cpu-burst": ("cpu", "burst", 0),
    "cpu-idle": ("cpu", "idle", 0),
    "cpu-period": ("cpu", "period", 0),
    "cpu-quota": ("cpu", "quota", -1),
    "cpu-rt-period": ("cpu", "realtimePeriod", 0),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", -1),
    "cpu-share": ("cpu", "shares", 0),
    "memory": ("memory", "limit", _SIZE),
    "memory-reservation": ("memory", "reservation", _SIZE),
    "memory-swap": ("memory", "swap", _SIZE),
    "pids-limit": ("pids", "limit", -1),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SCHEMAS = {
    "l3-cache-schema": ("intelRdt", "l3CacheSchema"),
    "mem-bw-schema": ("intelRdt", "memBwSchema"),
}


def main(settings: Settings, given: Given) -> int:
    """Change the container's resources."""
    schemas = {key: given.texts[name] for name, (_, key) in _SCHEMAS.items() if given.texts[name]}
    if "resources" in given.named:
        update(settings, given.arguments[0], _document(given), schemas)
        return 0
    try:
        update(settings, given.arguments[0], _flags(settings, given), schemas)
    except Error as error:
        raise _by_flag(error) from None
    return 0


def _document(given: Given) -> Any:
    """What --resources names. Another flag beside it would contradict it, or be lost."""
    for name in (*_FLAGS, *_TEXTS, "kernel-memory", "kernel-memory-tcp"):
        if name in given.named:
            raise usage(f"--{name} and --resources exclude each other", "the file says it")
    path = given.texts["resources"]
    if path == "-":
        return document.parse(_stdin(), "stdin")
    return document.parse(document.read_file(path, "the resources"), path)


def _stdin() -> bytes:
    """All of stdin, be it a file, a pipe or a socket, which couldn't be opened by its name in /proc."""
    try:
        with open(0, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Error(f"can't read the resources from stdin: {reason}", errno=error.errno or 0) from None


def _flags(settings: Settings, given: Given) -> dict[str, Any]:
    """What the flags say, as linux.resources."""
    result: dict[str, Any] = {}
    for name, (section, key, least) in _FLAGS.items():
        text = given.texts[name]
        if text:
            value = size(text, f"--{name}") if least == _SIZE else integer(text, least, f"--{name}")
            result.setdefault(section, {})[key] = value
    for name, (section, key) in _TEXTS.items():
        if given.texts[name]:
            result.setdefault(section, {})[key] = given.texts[name]
    for flag, text in (
        ("--kernel-memory", given.texts["kernel-memory"]),
        ("--kernel-memory-tcp", given.texts["kernel-memory-tcp"]),
    ):
        if text:
            size(text, flag)
            settings.warn(f"{flag} is ignored, as kernels have no such limit any more: leave it out")
    return result


def _by_flag(error: Error) -> Error:
    """An error that names the flag where it would name a property of a document that there isn't."""
    flags = {
        f"/{section}/{key}": f"--{name}" for name, (section, key, *_) in (*_FLAGS.items(), *_TEXTS.items())
    }
    flags |= {f"/linux/{section}/{key}": f"--{name}" for name, (section, key) in _SCHEMAS.items()}
    message = f"{error.pointer}: {error.message}" if error.pointer in flags else error.message
    for pointer, flag in flags.items():
        message = message.replace(f"{pointer}: ", f"{flag}: ")
    hint = error.hint
    for pointer, flag in flags.items():
        hint = hint.replace(f"give {pointer.rpartition('/')[2]} too", f"give {flag} too")
    pointer = "" if error.pointer in flags else error.pointer
    return Error(
        message,
        code=error.code,
        pointer=pointer,
        errno=error.errno,
        hint=hint,
        status=error.status,
    )
