"""A simulator for classic BPF, as seccomp(2) uses it."""

from __future__ import annotations

import struct


def check(program: bytes) -> None:
    """What the kernel's checker demands: known instructions, jumps that stay inside, a return at the end."""
    code = list(struct.iter_unpack("=HBBI", program))
    assert 0 < len(code) <= 4096
    for place, (op, true, false, k) in enumerate(code):
        left = len(code) - place - 1
        if op == 0x20:
            assert k % 4 == 0 and k < 64
        elif op == 0x05:
            assert k < left
        elif op in (0x15, 0x25, 0x35, 0x45):
            assert true < left and false < left
        else:
            assert op in (0x06, 0x54)
    assert code[-1][0] == 0x06


def simulate(program: bytes, audit: int, number: int, args: tuple[int, ...] = ()) -> int:
    """What the kernel would be answered to a system call, SECCOMP_RET_*.

    audit   AUDIT_ARCH_* of the caller
    number  of the system call; args: its arguments, 0 where there are fewer than six
    """
    number = number if number < 1 << 31 else number - (1 << 32)
    data = struct.pack("=iIQ6Q", number, audit, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = counter = 0
    while True:
        op, true, false, k = code[counter]
        counter += 1
        if op == 0x06:  # RET|K
            return int(k)
        if op == 0x20:  # LD|W|ABS
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:  # ALU|AND|K
            accumulator &= k
        elif op == 0x05:  # JMP|JA
            counter += k
        else:  # JEQ, JGT, JGE, JSET
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[op]
            counter += true if holds else false
