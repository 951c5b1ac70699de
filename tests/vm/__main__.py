"""`python3 -m vm`: runs one command as root in the VM, from the present directory, and ends as it ended."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from vm import machine, prepare
from vm.failure import Failure

DESCRIPTION = """\
Run COMMAND as root in a throw-away VM (cgroup v2, systemd, AppArmor) that has this machine's files.
What it writes to stdout and stderr comes to stdout. The exit status is COMMAND's own; 124 if it ran out of
time, 125 if the VM didn't boot or died. The VM is emulated unless VM_ACCEL=kvm is in the environment; what it
is made of is kept in VM_CACHE (~/.cache/pyoci-vm)."""


def main() -> int:
    parser = argparse.ArgumentParser(
        "vm", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prepare", action="store_true", help="only fetch what the VM is made of")
    parser.add_argument(
        "--console", action="store_true", help="copy the guest's console to stderr at the end"
    )
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="seconds for COMMAND (1800)")
    parser.add_argument("--memory", default="2G", metavar="SIZE", help="the guest's memory (2G)")
    parser.add_argument(
        "--kernel-arg", action="append", default=[], metavar="WORD", help="one more, e.g. apparmor=0"
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    wanted = parser.parse_args()
    if not wanted.command and not wanted.prepare:
        parser.error("no command")
    if os.geteuid() != 0:
        raise Failure("the VM takes root: it reads this machine's whole root for the guest")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    kernel = prepare.kernel()
    if wanted.prepare:
        return 0
    return machine.run(
        machine.Guest(
            kernel=kernel,
            command=wanted.command,
            directory=Path.cwd(),
            memory=wanted.memory,
            kernel_arguments=wanted.kernel_arg,
        ),
        wanted.timeout,
        wanted.console,
    )


try:
    sys.exit(main())
except Failure as failure:
    print(f"vm: {failure}", file=sys.stderr)
    sys.exit(failure.status)
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
