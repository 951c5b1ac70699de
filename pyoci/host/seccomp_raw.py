"""A seccomp program that the configuration gives ready-made, as crun takes it in an annotation."""

from __future__ import annotations

from binascii import Error as NotBase64
from binascii import a2b_base64

from pyoci.errors import Error

_INSTRUCTION = 8  # bytes of struct sock_filter
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


def decode(text: str, pointer: str) -> bytes:
    """The program of base64 `text`. What its instructions say is for the kernel to judge.

    Raises Error with the pointer for what can't be a program.
    """
    try:
        program = a2b_base64(text.encode("ascii", "replace"), strict_mode=True)
    except NotBase64 as error:
        raise _wrong(pointer, f"it isn't base64: {str(error).lower()}") from None
    if not program or len(program) % _INSTRUCTION:
        raise _wrong(pointer, f"{len(program)} bytes were found, and an instruction has {_INSTRUCTION}")
    count = len(program) // _INSTRUCTION
    if count > _MAX_INSTRUCTIONS:
        raise _wrong(pointer, f"{count} instructions were found; the kernel takes {_MAX_INSTRUCTIONS}")
    return program


def _wrong(pointer: str, message: str) -> Error:
    return Error(
        message,
        code="invalid-config",
        pointer=pointer,
        hint="struct sock_filter after struct sock_filter in the machine's byte order, as base64",
    )
