"""Running hooks: in the right namespaces, with the state on stdin, their output kept for the error.

config.md#posix-platform-hooks says what each kind sees; runtime.md#lifecycle says when it runs.
"""

from __future__ import annotations

import os

from pyoci._shim import lib
from pyoci.bundle import document
from pyoci.errors import Error
from pyoci.lifecycle import init as executor
from pyoci.lifecycle.channel import checked, wait_readable
from pyoci.plan.compile import compile_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.lifecycle.joining import Joined

OUTPUT_BYTES = 4096  # how much of a hook's output an error quotes: the end of it


def run(
    hooks: dict[str, Any],
    kind: str,
    state: dict[str, Any],
    *,
    directory: str,
    warn: Callable[[str], None],
    joined: Joined | None = None,
    environment: list[str] | None = None,
) -> None:
    """Run every hook of a kind in order; the first that fails raises and ends it.

    state        what each gets on stdin, as JSON (runtime.md#state)
    directory    the working directory of hooks in the runtime's namespaces: the bundle
    joined       the process whose namespaces they run in, else the runtime's own
    environment  for a hook that gives none; None: empty
    """
    entries = hooks.get(kind) or ()
    if not entries:
        return
    text = document.dump(state, 0).encode()
    for index, hook in enumerate(entries):
        _run_one(hook, f"/hooks/{kind}/{index}", text, directory, warn, joined, environment or [])


def _run_one(
    hook: dict[str, Any],
    pointer: str,
    state: bytes,
    directory: str,
    warn: Callable[[str], None],
    joined: Joined | None,
    environment: list[str],
) -> None:
    plan = compile_hook(
        hook,
        pointer,
        kinds=joined.kinds if joined else 0,
        user=joined.maps_root if joined else False,
        environment=hook["env"] if hook.get("env") is not None else environment,
    )
    # Memory files rather than pipes: neither side can block the other, or be killed by SIGPIPE.
    given = checked(lib.shim_sealed_data(state, len(state), b"state"), "make the memfd with the state")
    output = os.memfd_create("hook-output", os.MFD_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.lseek(given, 0, os.SEEK_SET)
        os.set_inheritable(output, False)
        os.chdir(directory)
        try:
            process = executor.spawn(
                plan,
                descriptors={"process": joined.pidfd} if joined else {},
                standard=(given, output, output),
                warn=warn,
            )
        finally:
            os.fchdir(here)
        try:
            _finish(process, hook, pointer, output)
        finally:
            process.destroy()
    finally:
        for descriptor in (given, output, here):
            os.close(descriptor)


def _finish(process: executor.Init, hook: dict[str, Any], pointer: str, output: int) -> None:
    process.until_program()
    seconds = hook.get("timeout")
    if not wait_readable(process.pidfd, seconds if seconds else 1e6):
        raise _failed(hook, pointer, f"was still running after {seconds} s and was killed", output)
    _, status = os.waitpid(process.pid, 0)
    process.pid = 0
    code = os.waitstatus_to_exitcode(status)
    if code:
        how = f"exited with status {code}" if code > 0 else f"was killed by signal {-code}"
        raise _failed(hook, pointer, how, output)


def _failed(hook: dict[str, Any], pointer: str, how: str, output: int) -> Error:
    size = os.fstat(output).st_size
    text = os.pread(output, OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode("utf-8", "replace").strip()
    said = f"; its output ends: {text}" if text else "; it printed nothing"
    return Error(f"hook {hook['path']} {how}{said}", code="hook", pointer=pointer)
