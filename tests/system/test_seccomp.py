"""linux.seccomp as the kernel has it: the program installed in a container's process, and its answers."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from errno import EBADF, EINVAL, ENOSYS, EPERM
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from support import cgroups, installed_filters
from support.bpf import check, simulate
from support.containers import REPOSITORY, Bundle, Runtime
from support.seccomp_profiles import (
    ACTIONS,
    ALLOW,
    ALLOWED,
    AUDIT,
    EDGES,
    ERRNO,
    FAMILY,
    KILL,
    LIBRARY,
    NAMES,
    NATIVE,
    OPERATORS,
    TOKENS,
    consistent,
    expected,
    holds,
    number,
    sections,
    value_of,
)  # fmt: skip

SCHEMA = json.loads((REPOSITORY / "schemas/config-schema.json").read_text())["definitions"]
ARCHITECTURES = SCHEMA["seccompArchitecture"]["enum"]
FLAGS = SCHEMA["seccompFlag"]["enum"]
# A call that no program of these tests makes by itself, and that does nothing: dup3 of no descriptor.
CALL, NOTHING = "dup3", EBADF
NUMBER = LIBRARY.number(CALL, TOKENS[NATIVE])
MARK = 77  # an errno that the kernel itself doesn't give for it

# Every property and constant of the specification -> the test in which the kernel shows it.
SHOWN = {
    "defaultAction": "test_a_property_of_profiles",
    "defaultErrnoRet": "test_errnos",
    "architectures": "test_architectures",
    "flags": "test_flags",
    "listenerPath": "test_seccomp_notify.test_the_agent_answers",
    "listenerMetadata": "test_seccomp_notify.test_the_agent_answers",
    "syscalls": "test_a_property_of_profiles",
    "syscalls/names": "test_a_property_of_profiles",
    "syscalls/action": "test_a_property_of_profiles",
    "syscalls/errnoRet": "test_errnos",
    "syscalls/args": "test_a_property_of_profiles",
    "syscalls/args/index": "test_index",
    "syscalls/args/value": "test_operators",
    "syscalls/args/valueTwo": "test_operators",
    "syscalls/args/op": "test_operators",
    "SCMP_ACT_KILL": "test_actions",
    "SCMP_ACT_KILL_PROCESS": "test_actions",
    "SCMP_ACT_KILL_THREAD": "test_actions",
    "SCMP_ACT_TRAP": "test_actions",
    "SCMP_ACT_ERRNO": "test_actions",
    "SCMP_ACT_TRACE": "test_actions",
    "SCMP_ACT_ALLOW": "test_actions",
    "SCMP_ACT_LOG": "test_actions",
    "SCMP_ACT_NOTIFY": "test_seccomp_notify.test_the_agent_answers",
    **dict.fromkeys(OPERATORS, "test_operators"),
    **dict.fromkeys(ARCHITECTURES, "test_architectures"),
    "SECCOMP_FILTER_FLAG_TSYNC": "test_flags",
    "SECCOMP_FILTER_FLAG_LOG": "test_the_kernel_remembers_to_log",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": "test_flags",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": "test_seccomp_notify.test_a_notified_call_can_be_made_to_wait",
}


def properties(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of all properties of an object's schema."""
    for name, one in schema.get("properties", {}).items():
        yield prefix + name
        yield from properties(one.get("items", {}), f"{prefix}{name}/")


def test_the_table_names_everything_and_every_test_exists() -> None:
    constants = [
        name
        for kind in ("Action", "Architecture", "Flag", "Operator")
        for name in SCHEMA[f"seccomp{kind}"]["enum"]
    ]
    assert sorted(SHOWN) == sorted([*properties(SCHEMA["seccomp"]), *constants])
    for place in set(SHOWN.values()):
        module, _, name = place.rpartition(".")
        file = Path(__file__).with_name(f"{module or 'test_seccomp'}.py")
        assert f"\ndef {name}(" in file.read_text(), place
    assert {name for name, *_ in ANSWERS} == {name for name in SHOWN if SHOWN[name] == "test_actions"}


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(*names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def argument(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    given = {} if two is None else {"valueTwo": two}
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, **given}


@pytest.fixture
def prober(runtime: Runtime, bundle: Bundle, syscalls: Path) -> Prober:
    shutil.copy(syscalls, bundle.rootfs / "bin/syscalls")
    return Prober(runtime, bundle)


class Prober:
    """Makes system calls in containers with a profile, and reads what is installed there."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.numbers = count()

    def under(self, section: dict[str, Any] | None, **annotations: str) -> Prober:
        if section is not None:
            self.bundle.config["linux"]["seccomp"] = section
        self.bundle.config["annotations"] = annotations
        return self

    def run(self, *calls: str) -> subprocess.CompletedProcess[str]:
        bundle = self.bundle.args("syscalls", *calls)
        return self.runtime.call("run", "--bundle", str(bundle.save()), f"probe{next(self.numbers)}")

    def answers(self, *calls: str) -> list[str]:
        done = self.run(*calls)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def installed(self) -> bytes:
        """The one program of a container that sleeps."""
        container_id = f"probe{next(self.numbers)}"
        self.bundle.args("sleep", "300")
        self.runtime.detached("run", "--detach", "--bundle", str(self.bundle.save()), container_id)
        try:
            (program,) = installed_filters.read(self.runtime.state(container_id)["pid"])
        finally:
            self.runtime.ok("delete", "--force", container_id)
        check(program)
        return program


def call(*arguments: int, at: int = NUMBER) -> str:
    return ",".join(map(str, (at, *arguments)))


# ---------------------------------------------------------------- whole profiles


# What a shell in a container needs, and no profile of the tests may deny.
NEEDED = rule(*(name for name in ALLOWED if name not in NAMES), "read", "write", action="SCMP_ACT_ALLOW")
FREE = tuple(name for name in NAMES if name not in NEEDED["names"])


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # each example is a container
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    section=sections(),
    values=st.lists(st.tuples(*[st.sampled_from(EDGES)] * 6), min_size=4, max_size=4),
)
def test_a_property_of_profiles(
    prober: Prober, section: dict[str, Any], values: list[tuple[int, ...]]
) -> None:
    """For any profile, the installed program answers as the specification's words say."""
    for one in section["syscalls"]:
        one["names"] = [name for name in one["names"] if name in FREE] or ["personality"]
    assume(consistent(section))  # also with other names
    section["syscalls"].append(NEEDED)
    program = prober.under(section).installed()
    for arch in AUDIT:
        for name in (*NAMES, "execve", "mount", "bpf"):
            for one in values:
                if number(name, arch) >= 0:
                    wanted = expected(section, arch, name, one)
                    assert simulate(program, AUDIT[arch], number(name, arch), one) == wanted, (arch, name)


@pytest.mark.parametrize("other", ["runc", "crun"])
def test_other_runtimes_install_programs_that_answer_alike(
    prober: Prober, tmp_path: Path, other: str
) -> None:
    """But for calls newer than the profile, which with crun are like any other."""
    if not shutil.which(other):
        pytest.skip(f"{other} is not installed")
    one, two = argument(0, "EQ", 1), argument(1, "GE", 3)
    section = profile(
        rule("ioctl", args=[one, two], errnoRet=5),
        rule("ioctl", args=[argument(2, "LT", 8), argument(2, "EQ", 11)], errnoRet=6),
        rule("personality", args=[argument(0, "MASKED_EQ", 0x7E020000, 0x20000)], action="SCMP_ACT_TRACE"),
        rule("unshare", action="SCMP_ACT_LOG"),
        rule("shmget", "nosuchcall", "faccessat2"),
        rule(*(name for name in ALLOWED if name not in ("ioctl", "shmget", "faccessat2")), "clone", "clone3",
             "socket", action="SCMP_ACT_ALLOW"),
        default="SCMP_ACT_ERRNO",
        architectures=list(FAMILY),
    )  # fmt: skip
    prober.bundle.config["ociVersion"] = "1.0.2"
    prober.bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "network")]
    del prober.bundle.config["hostname"]
    ours = prober.under(section).installed()
    with cgroups.in_mode(cgroups.layouts()[-1]):  # Debian's crun refuses a hybrid layout
        theirs = Prober(Runtime(tmp_path / "other", other), prober.bundle).under(section).installed()
    for arch in FAMILY:
        for name in (*NAMES, "execve", "mount", "bpf", "getpid"):
            for values in ((0,) * 6, (1, 3, 9), (1, 0, 9), (0, 0, 7), (0x20000,), (0, 0, 11)):
                answers = [
                    simulate(program, AUDIT[arch], number(name, arch), values) for program in (ours, theirs)
                ]
                assert answers[0] == answers[1], (arch, name, values)
    assert simulate(ours, AUDIT[NATIVE], 2000) == ERRNO | ENOSYS
    assert simulate(theirs, AUDIT[NATIVE], 2000) == ERRNO | (ENOSYS if other == "runc" else EPERM)


def test_a_process_of_exec_has_the_same_program(prober: Prober, tmp_path: Path) -> None:
    section = profile(rule("unshare"), rule(CALL, errnoRet=MARK), flags=["SECCOMP_FILTER_FLAG_LOG"])
    prober.under(section).bundle.args("sleep", "300")
    prober.runtime.detached("run", "--detach", "--bundle", str(prober.bundle.save()), "box")
    file = tmp_path / "pid"
    prober.runtime.detached("exec", "--detach", "--pid-file", str(file), "box", "sleep", "300")
    first, second = prober.runtime.state("box")["pid"], int(file.read_text())
    assert first != second
    (program,) = installed_filters.read(first)
    assert installed_filters.read(second) == [program]
    assert installed_filters.flags(first) == installed_filters.flags(second) == 2
    assert prober.runtime.ok("exec", "box", "syscalls", call()) == f"{MARK}\n"
    prober.runtime.ok("delete", "--force", "box")


# ---------------------------------------------------------------- actions, errnos

# action -> the errnoRet to give, what a single thread sees, what a second thread sees
ANSWERS: list[tuple[str, int | None, str, str]] = [
    ("SCMP_ACT_KILL", None, "killed", "alive"),
    ("SCMP_ACT_KILL_THREAD", None, "killed", "alive"),
    ("SCMP_ACT_KILL_PROCESS", None, "killed", "killed"),
    ("SCMP_ACT_TRAP", None, "SIGSYS 0", "SIGSYS 0\nalive"),
    ("SCMP_ACT_ERRNO", MARK, f"{MARK}", f"{MARK}\nalive"),
    ("SCMP_ACT_TRACE", MARK, f"{ENOSYS}", f"{ENOSYS}\nalive"),  # without a tracer
    ("SCMP_ACT_ALLOW", None, f"{NOTHING}", f"{NOTHING}\nalive"),
    ("SCMP_ACT_LOG", None, f"{NOTHING}", f"{NOTHING}\nalive"),
]


@pytest.mark.parametrize(("action", "errno", "alone", "beside"), ANSWERS, ids=[name for name, *_ in ANSWERS])
def test_actions(prober: Prober, action: str, errno: int | None, alone: str, beside: str) -> None:
    given = {} if errno is None else {"errnoRet": errno}
    prober.under(profile(rule(CALL, action=action, **given), default="SCMP_ACT_LOG"))
    for wanted, words in ((alone, ()), (beside, ("--thread",))):
        done = prober.run(*words, call(-1, 5, 0))
        if wanted == "killed":
            assert (done.returncode, done.stdout) == (128 + signal.SIGSYS, "")
        else:
            assert (done.returncode, done.stdout) == (0, wanted + "\n")
    assert simulate(prober.installed(), AUDIT[NATIVE], NUMBER) == value_of(action, errno)


def test_a_tracer_is_told_the_number_of_trace(prober: Prober) -> None:
    program = prober.under(profile(rule(CALL, action="SCMP_ACT_TRACE", errnoRet=0xABC))).installed()
    assert simulate(program, AUDIT[NATIVE], NUMBER) == ACTIONS["SCMP_ACT_TRACE"] | 0xABC


def test_errnos(prober: Prober) -> None:
    """errnoRet and defaultErrnoRet as given, EPERM when they aren't, 0 as well as the largest."""
    for errno, wanted in ((None, EPERM), (MARK, MARK), (0, 0), (4095, 4095)):
        given = {} if errno is None else {"errnoRet": errno}
        assert prober.under(profile(rule(CALL, **given))).answers(call()) == [f"{wanted}"]
    allowed = rule(*ALLOWED, action="SCMP_ACT_ALLOW")
    allowed["names"] = [name for name in ALLOWED if name != CALL]
    for errno, wanted in ((None, EPERM), (MARK, MARK)):
        given = {} if errno is None else {"defaultErrnoRet": errno}
        section = profile(allowed, default="SCMP_ACT_ERRNO", **given)
        assert prober.under(section).answers(call(), "2000") == [f"{wanted}", f"{ENOSYS}"]


# ---------------------------------------------------------------- arguments

SAMPLES = (0, 1, 2, 3, 0xFFFFFFFF, 1 << 32, (1 << 32) + 2, 1 << 63, (1 << 64) - 1)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(prober: Prober, operator: str) -> None:
    """Compared by the kernel with 64 bits: on both sides of the value, of its halves, of the sign."""
    for value in (2, (1 << 32) + 2):
        arg = argument(1, operator.removeprefix("SCMP_CMP_"), value, 2 if "MASKED" in operator else None)
        prober.under(profile(rule(CALL, errnoRet=MARK, args=[arg])))
        answers = prober.answers(*(call((1 << 32) - 1, sample) for sample in SAMPLES))
        wanted = [holds(arg, (0, sample)) for sample in SAMPLES]
        assert [answer == f"{MARK}" for answer in answers] == wanted
        assert True in wanted and False in wanted


@pytest.mark.parametrize("index", range(6))
def test_index(prober: Prober, index: int) -> None:
    section = profile(rule(CALL, errnoRet=MARK, args=[argument(index, "EQ", 7)]))
    calls = [[7 if place == position else 0 for place in range(6)] for position in range(6)]
    answers = prober.under(section).answers(*(call(*arguments) for arguments in calls))
    assert [answer == f"{MARK}" for answer in answers] == [position == index for position in range(6)]


def test_conditions_of_a_rule_hold_together_and_of_one_argument_alternatively(prober: Prober) -> None:
    both = profile(rule(CALL, errnoRet=MARK, args=[argument(0, "EQ", 1), argument(1, "EQ", 1)]))
    answers = prober.under(both).answers(call(1, 1), call(1, 0), call(0, 1))
    assert [answer == f"{MARK}" for answer in answers] == [True, False, False]
    either = profile(rule(CALL, errnoRet=MARK, args=[argument(0, "EQ", 1), argument(0, "EQ", 2)]))
    answers = prober.under(either).answers(call(1), call(2), call(3))
    assert [answer == f"{MARK}" for answer in answers] == [True, True, False]


# ---------------------------------------------------------------- architectures


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(prober: Prober, name: str) -> None:
    """Its calls are answered; calls of architectures that weren't named kill, but for the machine's own.
    Of architectures that this machine hasn't, none can come."""
    program = prober.under(profile(rule("read"), architectures=[name])).installed()
    for arch in AUDIT:
        wanted = ERRNO | EPERM if arch in (name, NATIVE) and arch in FAMILY else KILL
        assert simulate(program, AUDIT[arch], number("read", arch)) == wanted, arch
    assert simulate(program, 0x80000016, 3) == KILL  # s390x


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a process of another architecture can't be had")
def test_calls_of_other_architectures(prober: Prober) -> None:
    """By int 0x80 and with x32's bit, from a process that has neither for its own."""
    i386, x32 = "i386:330", f"x32:{NUMBER}"
    section = profile(rule(CALL, errnoRet=MARK))
    alone = prober.under(section)
    for one in (i386, x32):
        done = alone.run(one)
        assert (done.returncode, done.stdout) == (128 + signal.SIGSYS, "")
    section["architectures"] = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert alone.answers(i386, x32, call(), "i386:20") == [f"{MARK}"] * 3 + ["0"]


# ---------------------------------------------------------------- newer calls


@pytest.mark.parametrize("default", ["ERRNO", "TRAP", "KILL", "KILL_PROCESS", "TRACE", "LOG", "ALLOW"])
def test_newer_calls(prober: Prober, default: str) -> None:
    """What no rule can have known doesn't exist, where the default denies: no EPERM, no signal."""
    lenient = default in ("TRACE", "LOG", "ALLOW")
    section = profile(NEEDED, default=f"SCMP_ACT_{default}")
    if default == "ALLOW":
        section["syscalls"] = [rule(CALL)]
    program = prober.under(section).installed()
    newest = max(LIBRARY.number(name, TOKENS[NATIVE]) for name in section["syscalls"][0]["names"])
    wanted = value_of(f"SCMP_ACT_{default}", None) if lenient else ERRNO | ENOSYS
    for nr in (newest + 1, 600, 2000):
        assert simulate(program, AUDIT[NATIVE], nr) == wanted
    assert prober.answers("600") == [f"{ENOSYS}"]


# ---------------------------------------------------------------- flags

ASKED = {
    "no flags property": (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    "an empty list": ([], "0"),
    "TSYNC": (["SECCOMP_FILTER_FLAG_TSYNC"], "SECCOMP_FILTER_FLAG_TSYNC"),
    "LOG": (["SECCOMP_FILTER_FLAG_LOG"], "SECCOMP_FILTER_FLAG_LOG"),
    "SPEC_ALLOW": (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    "WAIT_KILLABLE_RECV, where nobody listens": (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "0"),
}


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("case", ASKED)
def test_flags(prober: Prober, tmp_path: Path, case: str) -> None:
    """seccomp(2) as it is called."""
    names, wanted = ASKED[case]
    section = profile(rule(CALL)) if names is None else profile(rule(CALL), flags=names)
    bundle = prober.under(section).bundle.args("true")
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=seccomp", "-o", str(trace)]
    command = prober.runtime.command("run", "--bundle", str(bundle.save()), "box")
    subprocess.run([*strace, *command], check=True, stdin=subprocess.DEVNULL, timeout=60)
    (line,) = [one for one in trace.read_text().splitlines() if "seccomp(" in one]
    assert f"seccomp(SECCOMP_SET_MODE_FILTER, {wanted}, " in line
    assert line.endswith(" = 0")


def test_the_kernel_remembers_to_log(prober: Prober) -> None:
    for names, wanted in (([], 0), (["SECCOMP_FILTER_FLAG_LOG"], 2)):
        prober.under(profile(rule(CALL), flags=names)).bundle.args("sleep", "300")
        prober.runtime.detached("run", "--detach", "--bundle", str(prober.bundle.save()), "box")
        assert installed_filters.flags(prober.runtime.state("box")["pid"]) == wanted
        prober.runtime.ok("delete", "--force", "box")


def test_features_tell_the_flags_that_this_kernel_takes(runtime: Runtime) -> None:
    """Asked of the kernel directly: a null filter is EFAULT for a flag it knows, EINVAL for others."""
    told = json.loads(runtime.ok("features"))["linux"]["seccomp"]
    assert sorted(told["knownFlags"]) == sorted(FLAGS)
    assert sorted(told["actions"]) == sorted(SCHEMA["seccompAction"]["enum"])
    assert sorted(told["operators"]) == sorted(OPERATORS)
    assert sorted(told["archs"]) == sorted(ARCHITECTURES)
    script = (
        "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True);"
        "libc.syscall(int(sys.argv[1]), 1, int(sys.argv[2]), None); print(ctypes.get_errno())"
    )
    nr = str(LIBRARY.number("seccomp", TOKENS[NATIVE]))
    taken = [
        name
        for name, flag in zip(sorted(FLAGS), (2, 4, 1, 32 | 8), strict=True)
        if subprocess.check_output([sys.executable, "-c", script, nr, str(flag)]) == b"14\n"
    ]
    assert sorted(told["supportedFlags"]) == taken


# ---------------------------------------------------------------- before and after the capabilities


def test_with_no_new_privileges_the_filter_is_loaded_last(prober: Prober) -> None:
    """It may deny all that becoming the user takes."""
    denied = rule("capset", "setuid", "setgid", "setgroups", "prctl", "chdir", "umask", "setrlimit", "dup3",
                  "setresuid", "setresgid", errnoRet=MARK)  # fmt: skip
    prober.bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    assert prober.under(profile(denied)).answers(call()) == [f"{MARK}"]


def test_without_no_new_privileges_it_is_loaded_while_that_is_permitted(prober: Prober) -> None:
    """Before the capabilities go: a user without any has it all the same."""
    prober.bundle.config["process"].update(noNewPrivileges=False, user={"uid": 1000, "gid": 1000})
    prober.bundle.config["process"]["capabilities"] = {}
    assert prober.under(profile(rule(CALL, errnoRet=MARK))).answers(call()) == [f"{MARK}"]


# ---------------------------------------------------------------- annotations

FAIL_UNKNOWN, BPF_DATA = "run.oci.seccomp_fail_unknown_syscall", "run.oci.seccomp_bpf_data"


def test_unknown_names_are_left_out_with_a_warning_or_fail_where_asked(prober: Prober) -> None:
    section = profile(rule(CALL, "nosuchcall", errnoRet=MARK))
    done = prober.under(section).run(call())
    assert (done.returncode, done.stdout) == (0, f"{MARK}\n")
    assert "warning: /linux/seccomp/syscalls: unknown to libseccomp" in done.stderr
    assert "'nosuchcall'" in done.stderr
    done = prober.under(section, **{FAIL_UNKNOWN: "1"}).run(call())
    assert (done.returncode, done.stdout) == (1, "")
    assert "/linux/seccomp/syscalls/0/names/1: 'nosuchcall' is a system call" in done.stderr


def raw(*instructions: tuple[int, int, int, int]) -> str:
    return base64.b64encode(b"".join(struct.pack("=HBBI", *one) for one in instructions)).decode()


def test_a_program_given_in_an_annotation_is_installed_as_it_is(prober: Prober) -> None:
    text = raw((0x20, 0, 0, 0), (0x15, 0, 1, NUMBER), (0x06, 0, 0, ERRNO | MARK), (0x06, 0, 0, ALLOW))
    program = prober.under(None, **{BPF_DATA: text}).installed()
    assert program == base64.b64decode(text)
    assert prober.answers(call()) == [f"{MARK}"]
    done = prober.under(profile(rule(CALL, errnoRet=EINVAL)), **{BPF_DATA: text}).run(call())
    assert done.stdout == f"{MARK}\n"
    assert "in the place of /linux/seccomp" in done.stderr


@pytest.mark.parametrize("text", ["%", "BgAA", raw((0x06, 0, 0, ALLOW), (0xFF, 0, 0, 0))])
def test_an_annotation_that_is_no_program_is_an_error(prober: Prober, text: str) -> None:
    done = prober.under(None, **{BPF_DATA: text}).run(call())
    assert (done.returncode, done.stdout) == (1, "")
    assert f"/annotations/{BPF_DATA}: " in done.stderr


def test_features_call_the_annotation_unsafe_that_takes_protection_away(runtime: Runtime) -> None:
    told = json.loads(runtime.ok("features"))["potentiallyUnsafeConfigAnnotations"]
    assert BPF_DATA in told
    assert FAIL_UNKNOWN not in told  # it makes stricter
