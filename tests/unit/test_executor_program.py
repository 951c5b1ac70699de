"""The executor without any privilege: its protocol, and everything about the program it becomes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import Step, failure_of, output_of, running, step


@pytest.fixture(params=["static", "sanitised"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with the executor as it's installed, and with one that checks itself."""
    flavour = "sanitised" if request.param == "sanitised" else ""
    built = driver.build(flavour)
    monkeypatch.setattr(driver, "build", lambda: built)


def program(*argv: str, env: list[str] | None = None, home_of: int = -1) -> list[Step]:
    return [
        step("find_program", name=argv[0], search=["/usr/bin", "/bin"]),
        step("execute", argv=argv, env=env or ["PATH=/bin"], home_of=home_of),
    ]


def shell(script: str, *before: Step) -> tuple[int, str]:
    return output_of([*before, *program("sh", "-c", script)])


def test_arguments_and_environment_arrive_as_given() -> None:
    argv = ("printenv", "--", "A", "EMPTY", "B")
    status, output = output_of(program(*argv, env=["A=1", "EMPTY=", "B=two words", "=x"]))
    assert (status, output) == (0, "1\n\ntwo words\n")


def test_the_exit_status_is_the_programs() -> None:
    assert shell("exit 7")[0] == 7
    assert shell("kill -9 $$")[0] == -9


def test_success_is_the_end_of_the_control_socket() -> None:
    with running(program("sleep", "60")) as run:
        run.expect_end()
        assert run.process.poll() is None


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (b"", "the plan has no size"),
        (b"x" * 100, "this isn't a plan"),
    ],
)
def test_a_wrong_plan_fails_before_anything_runs(plan: bytes, says: str) -> None:
    with running([], plan=plan) as run:
        report = run.expect(driver.FAILED)
        assert (report.error, report.text) == (errno.EINVAL, says)
        run.control.close()
        assert run.process.wait(10) == 1


def test_a_failure_names_its_step_and_waits_to_be_looked_at() -> None:
    steps = [step("umask", mask=0), step("enter_directory", path="/no/such", final=1)]
    with running(steps) as run:
        report = run.expect(driver.FAILED)
        assert (report.step, report.error, report.text) == (1, errno.ENOENT, "chdir /no/such")
        assert run.process.poll() is None
        run.go()
        assert run.process.wait(10) == 1


def test_a_descriptor_that_isnt_there_is_refused() -> None:
    with running([step("gate", listener=999)]) as run:
        report = run.expect(driver.FAILED)
        assert (report.error, report.text) == (errno.EBADF, "fcntl: descriptor 999")


# ------------------------------------------------------------------- waiting


def test_it_waits_for_the_runtime_and_says_why() -> None:
    with running([step("wait_runtime", reason="hooks"), *program("true")]) as run:
        assert run.expect(driver.WAITING).text == "hooks"
        run.go()
        run.expect_end()
        assert run.wait() == 0


@pytest.mark.parametrize("answer", [b"", b"x"])
def test_without_the_runtimes_go_it_ends(answer: bytes) -> None:
    """The end of the runtime, or an answer that isn't one, at each wait."""
    with running([step("wait_runtime", reason="x"), *program("true")]) as run:
        run.expect(driver.WAITING)
        if answer:
            run.control.send(answer)
        else:
            run.control.close()
        assert run.process.wait(10) == 1


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(tmp_path / "start"))
        server.listen()
        yield server


def connect(listener: socket.socket) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(listener.getsockname())
    return connection


def test_the_gate_opens_for_start_only(listener: socket.socket) -> None:
    steps = [step("gate", listener=listener.fileno()), *program("sh", "-c", "exit 3")]
    with running(steps, pass_fds=(listener.fileno(),)) as run:
        run.expect(driver.READY)
        run.go()
        run.expect_end()
        for word in (b"", b"stop", b"start!", b"s"):
            with connect(listener) as connection:
                if word:
                    connection.send(word)
        assert run.process.poll() is None
        with connect(listener) as connection:
            connection.send(b"start")
            assert driver.receive(connection) is None
        assert run.wait() == 3


def test_a_failure_after_the_gate_goes_to_start(listener: socket.socket) -> None:
    steps = [step("gate", listener=listener.fileno()), *program("/no/such")]
    with running(steps, pass_fds=(listener.fileno(),)) as run:
        run.expect(driver.READY)
        run.go()
        run.expect_end()
        with connect(listener) as connection:
            connection.send(b"start")
            report = driver.receive(connection)
            assert report and (report.kind, report.text) == (driver.FAILED, "stat /no/such")
        assert run.process.wait(10) == 1


def test_the_end_of_the_runtime_at_the_gate_ends_it(listener: socket.socket) -> None:
    with running([step("gate", listener=listener.fileno())], pass_fds=(listener.fileno(),)) as run:
        run.expect(driver.READY)
        run.control.close()
        assert run.process.wait(10) == 1


def test_a_runtime_that_died_before_it_was_watched_is_noticed(listener: socket.socket) -> None:
    """The plan's own end of the socket is the only trace: there is no signal for what has happened."""
    steps = [
        step("wait_runtime", reason=""),
        step("die_with_parent", signal=signal.SIGKILL),
        step("enter_directory", path="/no/such", final=1),
    ]
    with running(steps) as run:
        run.expect(driver.WAITING)
        run.control.send(b"g")
        run.control.close()
        assert run.process.wait(10) == 1


def test_trace_tells_the_time_of_each_step() -> None:
    steps = [step("umask", mask=0o22), step("wait_runtime", reason=""), *program("true")]
    with running(steps, trace=True) as run:
        first = run.expect(driver.DONE)
        run.expect(driver.WAITING)
        run.go()
        second, third = run.expect(driver.DONE), run.expect(driver.DONE)
        assert [first.step, second.step, third.step] == [0, 1, 2]
        assert 0 < first.value <= second.value <= third.value
        run.expect_end()


# ------------------------------------------------------------------- the program


def test_the_program_is_searched_in_order(tmp_path: Path) -> None:
    for name, mode in (("one", 0o644), ("two", 0o755), ("three", 0o755)):
        (tmp_path / name).mkdir()
        script = tmp_path / name / "tool"
        script.write_text(f"#!/bin/sh\necho {name} $0\n")
        script.chmod(mode)
    search = [str(tmp_path / name) for name in ("none", "one", "two", "three")]
    steps = [
        step("find_program", name="tool", search=search),
        step("execute", argv=["tool"], env=[], home_of=-1),
    ]
    assert output_of(steps) == (0, f"two {tmp_path}/two/tool\n")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("no-such", "ENOENT", 'exec: "no-such": executable file not found in $PATH'),
        ("", "ENOENT", 'exec: "": executable file not found in $PATH'),
        ("text", "EACCES", 'exec: "text": not an executable file'),
        ("{}/text", "EACCES", "stat {}/text isn't executable"),
        ("{}/no-such", "ENOENT", "stat {}/no-such"),
        ("{}/text/below", "ENOTDIR", "stat {}/text/below"),
        ("{}/", "EACCES", "stat {}/ is a directory"),
        ("{}/fifo", "EACCES", "stat {}/fifo isn't a regular file"),
    ],
)
def test_a_program_that_cant_be_executed(tmp_path: Path, name: str, error: str, says: str) -> None:
    (tmp_path / "text").write_text("text")
    os.mkfifo(tmp_path / "fifo")
    steps = [step("find_program", name=name.format(tmp_path), search=["/no/dir", str(tmp_path)])]
    assert failure_of(steps) == ("find_program", error, says.format(tmp_path))


def test_a_failing_execve_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert failure_of(program(str(script))) == ("execute", "ENOENT", f"exec {script}")
    script.write_bytes(b"\x7fELF nonsense")
    assert failure_of(program(str(script))) == ("execute", "ENOEXEC", f"exec {script}")


def test_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    enter = step("enter_directory", path=str(tmp_path / "link"), final=1)
    assert shell("pwd -P", enter) == (0, f"{tmp_path}\n")


@pytest.mark.parametrize("final", [0, 1])
def test_a_missing_working_directory_isnt_made(tmp_path: Path, final: int) -> None:
    path = tmp_path / "a/b"
    assert failure_of([step("enter_directory", path=str(path), final=final)])[1] == "ENOENT"
    assert not path.parent.exists()


def test_umask_and_limits() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = min(hard, 200) if hard != resource.RLIM_INFINITY else 200
    limit = step("rlimit", resource=resource.RLIMIT_NOFILE, soft=wanted - 1, hard=wanted)
    assert shell("umask; ulimit -Sn; ulimit -Hn", step("umask", mask=0o27), limit) == (
        0,
        f"0027\n{wanted - 1}\n{wanted}\n",
    )
    unlimited = step("rlimit", resource=resource.RLIMIT_FSIZE, soft=-1, hard=-1)
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY:
        assert shell("ulimit -f", unlimited) == (0, "unlimited\n")
    assert failure_of([step("rlimit", resource=999)]) == ("rlimit", "EINVAL", "prlimit")


def test_an_inherited_umask_stays() -> None:
    before = os.umask(0o135)
    try:
        assert shell("umask") == (0, "0135\n")
    finally:
        os.umask(before)


def test_signals_are_as_new() -> None:
    """Whatever the runtime or its caller ignored or blocked."""
    ignored = [signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGRTMIN + 3]
    kept = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    try:
        status, output = output_of(program("cat", "/proc/self/status"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in zip(ignored, kept, strict=True):
            signal.signal(number, handler)
    assert status == 0
    masks = [line.split() for line in output.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    assert [mask for _, mask in masks] == ["0" * 16] * 3


def test_closed_streams_stay_closed() -> None:
    """And are no trap for the descriptors of the executor's own."""
    closed = ("/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh")
    script = program(
        "bash", "-c", "[ ! -e /proc/$$/fd/0 ] && [ ! -e /proc/$$/fd/1 ] && [ ! -e /proc/$$/fd/2 ]"
    )
    with running([step("stdio_owner", uid=12345), *script], wrapper=closed) as run:
        run.expect_end()
        assert run.wait() == 0


def test_descriptors_are_closed_on_exec_only() -> None:
    read, write = os.pipe()
    listing = program("ls", "/proc/self/fd")
    try:
        kept = output_of([step("close_descriptors", first=write + 1), *listing], pass_fds=(read, write))[1]
        closed = output_of([step("close_descriptors", first=3), *listing], pass_fds=(read, write))[1]
        failed = failure_of(
            [step("close_descriptors", first=3), *program("/no/such")], pass_fds=(read, write)
        )
    finally:
        os.close(read)
        os.close(write)
    assert {str(read), str(write)} <= set(kept.split())
    assert len(closed.split()) == 4  # the streams, and ls's own
    assert failed[2] == "stat /no/such"


# ------------------------------------------------------------------- privileges it can give up


def test_no_new_privileges_and_dumpable() -> None:
    _, output = output_of([step("no_new_privileges"), *program("grep", "NoNewPrivs", "/proc/self/status")])
    assert output.split() == ["NoNewPrivs:", "1"]


def test_the_executor_cant_be_dumped() -> None:
    with running([step("wait_runtime", reason=""), *program("true")]) as run:
        run.expect(driver.WAITING)
        owner = os.stat(f"/proc/{run.process.pid}/environ").st_uid
        assert owner == 0
        run.go()
        run.expect_end()


def bpf(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


RET, LOAD, EQUAL = 0x06, 0x20, 0x15
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
NUMBERS = {
    "x86_64": {"execve": 59, "sync": 162, "write": 1},
    "aarch64": {"execve": 221, "sync": 81, "write": 64},
}
CALLS = NUMBERS[os.uname().machine]


def all_but(action: int, *calls: str) -> bytes:
    """A filter that allows everything but a few calls."""
    rest = len(calls)
    tests = [(EQUAL, rest - index, 0, CALLS[name]) for index, name in enumerate(calls)]
    return bpf((LOAD, 0, 0, 0), *tests, (RET, 0, 0, ALLOW), (RET, 0, 0, action))


def test_a_filter_is_loaded() -> None:
    steps = [
        step("no_new_privileges"),
        step("seccomp", filter=all_but(ERRNO | 1, "sync")),
        *program("sh", "-c", "sync; grep -w Seccomp /proc/self/status"),
    ]
    assert output_of(steps, stderr=subprocess.DEVNULL)[1].split() == ["Seccomp:", "2"]


@pytest.mark.parametrize("filter", [b"", b"1234567", bpf((RET, 0, 0, ALLOW)) * 4097, bpf((0xFF, 0, 0, 0))])
def test_a_wrong_filter_is_refused(filter: bytes) -> None:
    name, error, _ = failure_of([step("no_new_privileges"), step("seccomp", filter=filter)])
    assert (name, error) == ("seccomp", "EINVAL")


@pytest.mark.parametrize("binary", ["static"], indirect=True)  # sanitizers make calls of their own
def test_only_execve_follows_the_filter() -> None:
    """A filter that permits nothing else lets the executor go all the way."""
    filter = bpf((LOAD, 0, 0, 0), (EQUAL, 0, 1, CALLS["execve"]), (RET, 0, 0, ALLOW), (RET, 0, 0, 0x80000000))
    steps = [
        step("no_new_privileges"),
        step("find_program", name="true", search=["/bin"]),
        step("seccomp", filter=filter),
        step("execute", argv=["true"], env=[], home_of=0),
    ]
    with running(steps) as run:
        run.expect_end()
        assert run.wait() == -signal.SIGSYS  # of the program's first call, so it was executed


@pytest.mark.parametrize("notified", [(), ("sync",), ("write",)])
def test_the_listener_of_a_filter_goes_to_the_runtime(notified: tuple[str, ...]) -> None:
    """Even when the call is notified of that a report is made with."""
    steps = [
        step("no_new_privileges"),
        step("find_program", name="true", search=["/bin"]),
        step("seccomp", filter=all_but(NOTIFY, *notified), flags=1 << 3),
        step("execute", argv=["true"], env=[], home_of=-1),
    ]
    with running(steps) as run:
        report = run.expect(driver.DESCRIPTOR)
        assert report.value == 2
        assert os.readlink(f"/proc/self/fd/{report.descriptor}") == "anon_inode:seccomp notify"
        run.go()
        run.expect_end()
        assert run.wait() == 0
        os.close(report.descriptor)


def test_a_filter_with_a_listener_that_is_refused_is_reported() -> None:
    steps = [step("no_new_privileges"), step("seccomp", filter=bpf((0xFF, 0, 0, 0)), flags=1 << 3)]
    assert failure_of(steps)[:2] == ("seccomp", "EINVAL")


def test_without_an_answer_for_the_listener_it_ends() -> None:
    steps = [
        step("no_new_privileges"),
        step("seccomp", filter=all_but(NOTIFY), flags=1 << 3),
        *program("true"),
    ]
    with running(steps) as run:
        os.close(run.expect(driver.DESCRIPTOR).descriptor)
        run.control.close()
        assert run.process.wait(10) == 1


# ------------------------------------------------------------------- scheduling


def test_affinity_priority_and_personality() -> None:
    cpu = min(os.sched_getaffinity(0))
    mask = bytearray(cpu // 8 + 1)
    mask[cpu // 8] |= 1 << cpu % 8
    show = program("sh", "-c", "grep Cpus_allowed_list /proc/self/status; cat /proc/self/personality; ionice")
    steps = [
        step("affinity", mask=bytes(mask)),
        step("personality", persona=0x0008),
        step("io_priority", priority=2 << 13 | 6),
        *show,
    ]
    output = output_of(steps)[1].split()
    assert output == ["Cpus_allowed_list:", str(cpu), "00000008", "best-effort:", "prio", "6"]


def test_an_empty_affinity_is_every_cpu() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        output = output_of([step("affinity"), *program("nproc")])[1]
    finally:
        os.sched_setaffinity(0, allowed)
    assert int(output) >= len(allowed)


def test_scheduler_and_memory_policy() -> None:
    attributes = struct.pack("<IIQiIQQQ", 48, 3, 0, 5, 0, 0, 0, 0)  # SCHED_BATCH, nice 5
    show = program("sh", "-c", "chrt -p $$ | head -1; nice; head -1 /proc/self/numa_maps")
    steps = [step("scheduler", attributes=attributes), step("memory_policy", mode=2, nodes=b"\1"), *show]
    output = output_of(steps)[1].splitlines()
    assert output[0].endswith("SCHED_BATCH") and output[1] == "5"
    if Path("/proc/self/numa_maps").exists():
        assert " bind:0 " in output[2]
