"""Booting the guest, handing on what its command writes, and waiting for its end."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from vm import initramfs
from vm.failure import Failure
from vm.prepare import QEMU, Kernel

SECONDS_TO_BOOT = 300.0
TIMED_OUT = 124
EMULATION = "tcg,thread=multi"
# Emulated, each feature that the guest's kernel would only use to protect itself costs time.
PROCESSOR = "max,la57=off,smap=off,smep=off,erms=off"
KERNEL_ARGUMENTS = (
    "console=ttyS0", "panic=-1", "quiet", "mitigations=off", "nokaslr", "init_on_alloc=0", "audit=0",
    "nowatchdog", "tsc=reliable", "no_timer_check", "random.trust_cpu=on",
    "security=apparmor", "systemd.show_status=0", "systemd.unit=vm.service",
)  # fmt: skip


class Guest(NamedTuple):
    """What is to be run, and on what.

    directory         where the command runs
    memory            as QEMU writes it: 2G
    kernel_arguments  further words for the kernel's command line
    """

    kernel: Kernel
    command: list[str]
    directory: Path
    memory: str
    kernel_arguments: list[str]


def run(guest: Guest, seconds: float, console: bool) -> int:
    """Boots the guest, runs its command there and returns the command's exit status.

    seconds  how long the command may run
    console  whether the guest's console is shown, on stderr, even if all goes well
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm.")))
        image = initramfs.build(work, guest.kernel, guest.command, guest.directory)
        output, output_end = map(stack.enter_context, socket.socketpair())
        status, status_end = map(stack.enter_context, socket.socketpair())
        errors = stack.enter_context(open(work / "errors", "wb"))
        qemu = subprocess.Popen(
            # The guest dies with this process, even if that is killed.
            ["setpriv", "--pdeathsig", "KILL", QEMU,
             *arguments(guest, image, work / "console", output_end.fileno(), status_end.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=(output_end.fileno(), status_end.fileno()),
        )  # fmt: skip
        stack.callback(qemu.wait)
        stack.callback(qemu.kill)
        output_end.close()
        status_end.close()
        try:
            return watch(output, status, seconds)
        except Failure:
            if not console:
                show(work / "errors", work / "console", lines=40)
            raise
        finally:
            if console:
                show(work / "errors", work / "console")


def arguments(guest: Guest, image: Path, console: Path, output: int, status: int) -> list[str]:
    """QEMU's, but its name. `output` and `status` are descriptors of connected sockets."""
    # Whether KVM really runs a guest is for the caller to say: where this machine is itself a guest,
    # /dev/kvm may open and then crawl or fail.
    accelerator = os.environ.get("VM_ACCEL") or EMULATION
    processor = "host" if accelerator.startswith("kvm") else PROCESSOR
    return [
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-accel", accelerator, "-cpu", processor, "-smp", str(os.cpu_count() or 1), "-m", guest.memory,
        "-kernel", str(guest.kernel.image), "-initrd", str(image),
        "-append", " ".join([*KERNEL_ARGUMENTS, *guest.kernel_arguments]),
        "-serial", f"file:{console}",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
        # A disk, for what limits and counts a disk's use: it reads as zeroes and keeps nothing.
        "-blockdev", "null-co,node-name=disk,size=67108864,read-zeroes=on",
        "-device", "virtio-blk-pci,drive=disk",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=output,fd={output}", "-device", "virtserialport,nr=1,chardev=output",
        "-chardev", f"socket,id=status,fd={status}", "-device", "virtserialport,nr=2,chardev=status",
    ]  # fmt: skip


def watch(output: socket.socket, status: socket.socket, seconds: float) -> int:
    """Hands the output on until the guest says how its command ended, or is gone."""
    told = b""
    deadline = monotonic() + SECONDS_TO_BOOT
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(status, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - monotonic(), 0))
            if not ready:
                if told:
                    raise Failure(f"the command ran longer than {seconds:.0f} s", TIMED_OUT)
                raise Failure(f"the guest did not boot within {SECONDS_TO_BOOT:.0f} s")
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is output:
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
                else:
                    if not told:
                        deadline = monotonic() + seconds
                    told += data
    # QEMU has ended, and all that the guest wrote has been read.
    for line in told.decode().splitlines():
        word, _, value = line.partition(" ")
        if word == "exited":
            return int(value)
    raise Failure("the guest died" if told else "the guest did not boot")


def show(*files: Path, lines: int = 0) -> None:
    """The files on stderr, or the last lines of each, up to where a kernel's trace begins."""
    for file in files:
        if file.exists():
            text = file.read_text(errors="replace").partition("Call Trace:")[0].splitlines()
            print(*text[-lines:], sep="\n", file=sys.stderr)
