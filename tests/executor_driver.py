"""Drives the executor in tests: builds it, encodes plans from native/steps.toml, talks its protocol.

It shares no code with pyoci, so that the two can't be wrong together.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "native/executor"
MUSL = Path(f"/usr/lib/{os.uname().machine}-linux-musl")

TABLE = tomllib.loads((ROOT / "native/steps.toml").read_text())
PROTOCOL = TABLE.pop("protocol")
OPERATIONS = {name: code for code, name in enumerate(TABLE)}

FAILED, WAITING, CLONED, DESCRIPTOR, READY, DONE, WARNING = range(1, 8)

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1, 0x4000, 1 << 18, 1 << 19, 1 << 20
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOATIME = 1, 2, 4, 8, 0x10

COMMON = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
HARDENED = ["-Os", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-s"]
SANITISED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def _command(flavour: str, output: Path) -> list[str]:
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    if flavour == "musl":
        include = [
            flag
            for path in ("/usr/include", f"/usr/include/{os.uname().machine}-linux-gnu")
            for flag in ("-idirafter", path)
        ]
        return [
            "musl-gcc",
            *COMMON,
            *HARDENED,
            *include,
            "-fPIE",
            "-static",
            "-nostartfiles",
            "-Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,-z,noexecstack,--gc-sections",
            f"{MUSL}/rcrt1.o",
            f"{MUSL}/crti.o",
            *sources,
            f"{MUSL}/crtn.o",
            "-o",
            str(output),
        ]
    if flavour == "glibc":
        return ["cc", *COMMON, *HARDENED, "-static-pie", *sources, "-o", str(output)]
    if flavour == "sanitised":
        return ["gcc", *COMMON, *SANITISED, *sources, "-o", str(output)]
    return [
        "gcc",
        *COMMON,
        *SANITISED,
        f"-I{SOURCES}",
        str(ROOT / "native/executor_fuzz.c"),
        str(SOURCES / "plan.c"),
        "-o",
        str(output),
    ]


@cache
def build(flavour: str = "") -> Path:
    """A binary of the present sources: "musl", "glibc", "sanitised" or "fuzz"; kept in build/."""
    flavour = flavour or ("musl" if shutil.which("musl-gcc") else "glibc")
    subprocess.run([sys.executable, str(ROOT / "native/generate.py")], check=True)
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted([*SOURCES.iterdir(), ROOT / "native/executor_fuzz.c"]):
        digest.update(path.read_bytes())
    directory = ROOT / "build/executor"
    output = directory / f"{flavour}-{digest.hexdigest()[:16]}"
    if not output.exists():
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob(f"{flavour}-*"):
            old.unlink(missing_ok=True)
        partial = output.with_suffix(f".{os.getpid()}")
        subprocess.run(_command(flavour, partial), check=True)
        partial.rename(output)
    return output


@dataclass(frozen=True)
class Step:
    """One step by name; arguments that aren't given are 0, "", -1 (descriptors) or empty."""

    name: str
    args: dict[str, object]


def step(operation: str, /, **args: object) -> Step:
    unknown = args.keys() - TABLE[operation]["args"].keys()
    assert not unknown, f"{operation} has no {unknown}"
    return Step(operation, args)


class Encoder:
    """The wire format: a header, the records, then texts and lists."""

    def __init__(self, steps: list[Step]) -> None:
        self.start = 24 + sum(8 + 8 * len(TABLE[step.name]["args"]) for step in steps)
        self.blob = bytearray()

    def text(self, value: str | bytes) -> bytes:
        data = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        offset = self.start + len(self.blob)
        self.blob += data + b"\0"
        return struct.pack("<II", offset, len(data))

    def list(self, items: list[bytes]) -> bytes:
        self.blob += b"\0" * (-(self.start + len(self.blob)) % 4)
        offset = self.start + len(self.blob)
        self.blob += b"".join(items)
        return struct.pack("<II", offset, len(items))

    def argument(self, kind: str, value: object) -> bytes:
        if kind == "int" or kind == "fd":
            return struct.pack("<q", (-1 if kind == "fd" else 0) if value is None else value)
        if kind == "str" or kind == "bytes":
            return self.text(value or "")  # type: ignore[arg-type]  # the table says its type
        if kind == "strs":
            return self.list([self.text(item) for item in value or ()])  # type: ignore[attr-defined]
        return self.list([struct.pack("<I", item) for item in value or ()])  # type: ignore[attr-defined]


def encode(steps: list[Step], trace: bool = False) -> bytes:
    encoder = Encoder(steps)
    records = b""
    for index, item in enumerate(steps):
        arguments = TABLE[item.name]["args"]
        records += struct.pack("<HHI", OPERATIONS[item.name], len(arguments), index)
        for name, kind in arguments.items():
            records += encoder.argument(kind, item.args.get(name))
    size = encoder.start + len(encoder.blob)
    header = struct.pack("<6I", PROTOCOL["magic"], PROTOCOL["version"], size, len(steps), int(trace), 0)
    return header + records + bytes(encoder.blob)


@dataclass
class Report:
    """One packet of the executor; `descriptor` is -1 without one."""

    kind: int
    step: int
    error: int
    value: int
    text: str
    descriptor: int = -1


@dataclass
class Run:
    """A started executor. `process` is the stage or, in a plan without `clone`, all there is."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    steps: list[Step]
    pidfds: list[int] = field(default_factory=list)

    def receive(self, timeout: float = 60) -> Report | None:
        """The next report; None at the end of file: the program was executed, or all is over."""
        return receive(self.control, timeout)

    def expect(self, kind: int) -> Report:
        report = self.receive()
        while report and report.kind == CLONED and kind != CLONED:
            self.pidfds.append(report.descriptor)
            report = self.receive()
        assert report, "the executor ended without a word"
        assert report.kind == kind, report
        return report

    def expect_end(self) -> None:
        report = self.receive()
        while report and report.kind == CLONED:
            self.pidfds.append(report.descriptor)
            report = self.receive()
        assert report is None, report

    def go(self) -> None:
        self.control.send(b"g")

    def wait(self) -> int:
        """The exit status of the program, as waitstatus_to_exitcode(); kills what doesn't end."""
        if not self.pidfds:
            return self.process.wait(20)
        result = os.waitid(os.P_PIDFD, self.pidfds[0], os.WEXITED)
        assert result
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()
        for pidfd in self.pidfds:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            except (ChildProcessError, ProcessLookupError):
                continue
            finally:
                os.close(pidfd)


def receive(control: socket.socket, timeout: float = 60) -> Report | None:
    control.settimeout(timeout)
    packet, descriptors, _, _ = socket.recv_fds(control, 4096, 4)
    if not packet:
        return None
    kind, index, error, length, value = struct.unpack_from("<IIiIq", packet)
    assert len(packet) == 24 + length
    return Report(
        kind,
        index,
        error,
        value,
        packet[24:].decode(errors="surrogateescape"),
        descriptors[0] if descriptors else -1,
    )


def read_terminal(master: int) -> bytes:
    """All that is written to a terminal until its last slave is closed, which is an EIO."""
    output = b""
    while True:
        try:
            output += os.read(master, 4096)
        except OSError:
            return output


def plan_descriptor(plan: bytes) -> int:
    descriptor = os.memfd_create("plan")
    os.write(descriptor, plan)
    return descriptor


@contextmanager
def running(
    steps: list[Step],
    *,
    binary: Path | None = None,
    trace: bool = False,
    plan: bytes | None = None,
    wrapper: tuple[str, ...] = (),
    pass_fds: tuple[int, ...] = (),
    **streams: object,
) -> Iterator[Run]:
    """Starts the executor on a plan, and ends whatever is left of it afterwards."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = plan_descriptor(encode(steps, trace) if plan is None else plan)
    command = [*wrapper, str(binary or build()), str(descriptor), str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=(descriptor, theirs.fileno(), *pass_fds), env={}, **streams)  # type: ignore[call-overload]
    theirs.close()
    os.close(descriptor)
    run = Run(process, ours, steps)
    try:
        yield run
    finally:
        run.close()


def output_of(steps: list[Step], **options: object) -> tuple[int, str]:
    """Runs a plan to its program's end: the exit status, and what it wrote to its standard output."""
    with running(steps, stdout=subprocess.PIPE, **options) as run:  # type: ignore[arg-type]
        run.expect_end()
        assert run.process.stdout
        output = run.process.stdout.read().decode(errors="surrogateescape")
        run.process.stdout.close()
        return run.wait(), output


def failure_of(steps: list[Step], **options: object) -> tuple[str, str, str]:
    """Runs a plan that is to fail: the name of the step, of the errno ("" without one), and the text."""
    with running(steps, **options) as run:  # type: ignore[arg-type]
        report = run.expect(FAILED)
        return steps[report.step].name, errno.errorcode.get(report.error, ""), report.text


DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp", "root")
APPLETS = (
    "awk",
    "cat",
    "env",
    "grep",
    "head",
    "id",
    "ls",
    "mkdir",
    "mount",
    "pwd",
    "readlink",
    "sh",
    "sleep",
    "stat",
    "touch",
    "tr",
    "true",
    "tty",
    "umask",
)
NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET


def make_rootfs(root: Path) -> Path:
    """A root filesystem of busybox and empty directories."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    return root


def begin(root: Path, flags: int = NAMESPACES) -> list[Step]:
    """A process in new namespaces, with `root` as its root to be."""
    return [
        step("clone", flags=flags),
        step("host_propagation", flags=MS_SLAVE | MS_REC),
        step("open_root", path=str(root)),
    ]


def proc() -> Step:
    return step("mount_filesystem", type="proc", source="proc", target="/proc")


def devices() -> list[Step]:
    """A /dev of its own with the null device and terminals."""
    return [
        step(
            "mount_filesystem",
            type="tmpfs",
            source="tmpfs",
            target="/dev",
            attrs=ATTR_NOSUID,
            options=["mode=755", "size=65536k"],
        ),
        step("make_device", path="/dev/null", mode=stat.S_IFCHR | 0o666, major=1, minor=3, uid=-1, gid=-1),
        step(
            "mount_filesystem",
            type="devpts",
            source="devpts",
            target="/dev/pts",
            attrs=ATTR_NOSUID | ATTR_NOEXEC,
            options=["newinstance", "ptmxmode=0666", "mode=0620"],
        ),
    ]


def finish(*argv: str, change: str = "pivot_root") -> list[Step]:
    """The change of root, and a program."""
    return [
        step(change),
        step("enter_directory", path="/", final=1),
        step("find_program", name=argv[0], search=["/bin"]),
        step("close_descriptors", first=3),
        step("execute", argv=argv, env=["PATH=/bin"], home_of=-1),
    ]


def shell(root: Path, script: str, *steps: Step, change: str = "pivot_root") -> str:
    """What a shell prints in a container with /proc and these further steps."""
    status, output = output_of([*begin(root), proc(), *steps, *finish("sh", "-c", script, change=change)])
    assert status == 0, output
    return output


def mounts(output: str) -> dict[str, tuple[set[str], str, str, set[str]]]:
    """mountinfo by mount point: its options, its propagation, the type, the superblock's options."""
    found = {}
    for line in output.splitlines():
        before, _, after = line.partition(" - ")
        fields, end = before.split(" "), after.split(" ")
        found[fields[4]] = set(fields[5].split(",")), " ".join(fields[6:]), end[0], set(end[2].split(","))
    return found


def mountinfo(root: Path, *steps: Step) -> dict[str, tuple[set[str], str, str, set[str]]]:
    return mounts(shell(root, "cat /proc/self/mountinfo", *steps))
