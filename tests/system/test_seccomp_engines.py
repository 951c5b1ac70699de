"""The profiles that podman and Docker hand over by default: what programs in their containers can call."""

from __future__ import annotations

import os
import shutil
from errno import EBADF, EFAULT, EINVAL, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest

from support import installed_filters
from support.bpf import check, simulate
from support.containers import Bundle, Runtime
from support.seccomp_profiles import (
    ALLOW,
    AUDIT,
    ENGINES,
    ERRNO,
    FAMILY,
    KILL,
    LIBRARY,
    NATIVE,
    TOKENS,
    expected,
    number,
)  # fmt: skip

# A call, its arguments, and what the kernel answers to it when it gets there.
PERMITTED: list[tuple[str, tuple[int, ...], int]] = [
    ("getpid", (), 0), ("getuid", (), 0), ("sched_yield", (), 0), ("brk", (), 0), ("umask", (0o22,), 0),
    ("getrandom", (), 0), ("epoll_create1", (), 0), ("eventfd2", (), 0), ("membarrier", (), 0),
    ("gettid", (), 0), ("sync", (), 0), ("timerfd_create", (1,), 0), ("prctl", (3,), 0),
    ("socket", (1, 1, 0), 0), ("personality", (0xFFFFFFFF,), 0), ("personality", (0,), 0),
    ("close", (-1,), EBADF), ("dup3", (-1, 99), EBADF), ("read", (-1,), EBADF), ("write", (-1,), EBADF),
    ("lseek", (-1,), EBADF), ("ioctl", (-1,), EBADF), ("fchmod", (-1,), EBADF), ("fsync", (-1,), EBADF),
    ("pwritev2", (-1,), EBADF), ("copy_file_range", (-1, 0, -1), EBADF), ("getdents64", (-1,), EBADF),
    ("openat", (-100,), EFAULT), ("pipe2", (), EFAULT), ("memfd_create", (), EFAULT),
    ("uname", (), EFAULT), ("nanosleep", (), EFAULT), ("sysinfo", (), EFAULT),
    ("clock_gettime", (), EFAULT), ("unlinkat", (-100,), EFAULT), ("chroot", (), EFAULT),
    ("openat2", (-100,), EINVAL), ("close_range", (9, 8), EINVAL), ("mmap", (), EINVAL),
]  # fmt: skip
# Calls that neither engine lets through to a container without privileges.
BLOCKED = (
    "bpf", "kexec_load", "init_module", "finit_module", "delete_module", "acct", "settimeofday", "iopl",
    "ioperm", "perf_event_open", "open_by_handle_at", "quotactl", "lookup_dcookie", "sethostname",
    "setdomainname", "vhangup", "clock_settime", "fanotify_init", "swapon", "swapoff", "userfaultfd",
    "nfsservctl", "kexec_file_load", "move_pages", "process_madvise", "kcmp",
)  # fmt: skip


def words(name: str, values: tuple[int, ...] = ()) -> str:
    return ",".join(map(str, (LIBRARY.number(name, TOKENS[NATIVE]), *values)))


def unsigned(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(value % (1 << 64) for value in values) + (0,) * (6 - len(values))


@pytest.fixture(params=sorted(ENGINES))
def section(request: pytest.FixtureRequest, bundle: Bundle, syscalls: Path) -> dict[str, Any]:
    """An engine's profile, and the bundle with it and with what else the engine says of the process."""
    shutil.copy(syscalls, bundle.rootfs / "bin/syscalls")
    config = ENGINES[request.param]
    for key in ("capabilities", "noNewPrivileges"):
        bundle.config["process"].pop(key, None)
        if key in config["process"]:
            bundle.config["process"][key] = config["process"][key]
    found: dict[str, Any] = config["linux"]["seccomp"]
    bundle.config["linux"]["seccomp"] = found
    return found


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the engines' profiles are those of x86_64")
def test_what_programs_can_call(runtime: Runtime, bundle: Bundle, section: dict[str, Any]) -> None:
    """Dozens of calls, each made in the container: through to the kernel, or answered by the profile."""
    calls: list[tuple[str, tuple[int, ...], int | None]] = [
        *PERMITTED,
        *((name, (), None) for name in BLOCKED if LIBRARY.number(name, TOKENS[NATIVE]) >= 0),
    ]
    bundle.args("syscalls", *(words(name, values) for name, values, _ in calls), "600", "i386:20", "i386:900")
    out = runtime.ok("run", "--bundle", str(bundle.save()), "box").split()
    told = dict(zip([(name, values) for name, values, _ in calls], map(int, out), strict=False))
    wanted = {}
    for name, values, own in calls:
        answer = expected(section, NATIVE, name, unsigned(values))
        assert (answer == ALLOW) == (own is not None), name
        wanted[name, values] = own if answer == ALLOW else answer & 0xFFFF
    assert told == wanted
    assert out[-3:] == [str(ENOSYS), "0", str(ENOSYS)]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the engines' profiles are those of x86_64")
def test_the_program_that_is_installed(runtime: Runtime, bundle: Bundle, section: dict[str, Any]) -> None:
    bundle.args("sleep", "300")
    runtime.detached("run", "--detach", "--bundle", str(bundle.save()), "box")
    (program,) = installed_filters.read(runtime.state("box")["pid"])
    runtime.ok("delete", "--force", "box")
    check(program)
    named = sorted({name for rule in section["syscalls"] for name in rule["names"]})
    for arch in FAMILY:
        for name in named:
            if LIBRARY.known(name) and number(name, arch) >= 0:
                for values in ((0,) * 6, (16, 3, 9), (0x20000,), (0x7E020000,), (5,)):
                    args = unsigned(values)
                    if arch == "SCMP_ARCH_X86" and name in ("ipc", "socketcall"):
                        continue  # which answer for the calls that they stand for, too
                    answer = simulate(program, AUDIT[arch], number(name, arch), args)
                    assert answer == expected(section, arch, name, args), (arch, name, args)
    assert simulate(program, 0xC00000B7, 1) == KILL
    clone3 = simulate(program, AUDIT[NATIVE], LIBRARY.number("clone3", TOKENS[NATIVE]))
    # Docker can't look at its flags, and makes the C library use clone; podman lets it through.
    assert clone3 == (ALLOW if section is ENGINES["podman"]["linux"]["seccomp"] else ERRNO | ENOSYS)
    assert simulate(program, AUDIT[NATIVE], LIBRARY.number("bpf", TOKENS[NATIVE])) == ERRNO | EPERM
    for newer in (600, 2000):
        assert simulate(program, AUDIT[NATIVE], newer) == ERRNO | ENOSYS


@pytest.mark.parametrize("user", [0, 1000])
def test_a_shell_s_work(runtime: Runtime, bundle: Bundle, section: dict[str, Any], user: int) -> None:
    bundle.config["process"]["user"] = {"uid": user, "gid": user}
    script = "cd /tmp && ls / | grep -c bin && (sleep 0; echo $((6 * 7))) | cat && cat < /proc/self/comm"
    assert runtime.ok("run", "--bundle", str(bundle.shell(script).save()), "box") == "1\n42\ncat\n"
