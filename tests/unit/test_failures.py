"""Telling of failed steps: which part of a property, in which words, with which remedy."""

from __future__ import annotations

import errno
import os
import signal
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from pyoci.cgroup import layout
from pyoci.lifecycle import failures
from pyoci.lifecycle.init import FAILED, Report
from pyoci.plan import steps
from pyoci.plan.plan import Plan
from pyoci.plan.steps import TABLE, Step


def plan_of(*entries: Step) -> Plan:
    plan = Plan()
    plan.steps = list(entries)
    return plan


def report(index: int, error: int, text: str) -> Report:
    said = text.encode()
    return Report(struct.pack("<IIiIq", FAILED, index, error, len(said), 0) + said, -1)


def filesystem(kind: str = "tmpfs", target: str = "/x") -> Step:
    return steps.mount_filesystem(
        "/mounts/3", type=kind, source=kind, target=target, options=[], superblock=0, attrs=0, propagation=0,
        mode=0o755, fallback="", flags=0,
    )  # fmt: skip


def bind(target: str = "/x") -> Step:
    return steps.mount_bind(
        "/mounts/3", source="/src", tree="", target=target, recursive=0, set=0, clear=0, rset=0, rclear=0,
        propagation=0, flags=0,
    )  # fmt: skip


def test_remedies_are_for_steps_that_there_are() -> None:
    for (operation, number), hint in failures._HINTS.items():
        assert operation in TABLE
        assert number in errno.errorcode
        assert callable(hint) or (hint and not hint.endswith("."))


@pytest.mark.parametrize(
    ("step", "said", "part"),
    [
        (filesystem(), "fsopen tmpfs", "/type"),
        (filesystem(), "fsconfig source x", "/source"),
        (filesystem(), "fsconfig size=q: tmpfs: Bad value for 'size'", "/options"),
        (filesystem(), "fsconfig create: tmpfs: No space", ""),
        (filesystem(), "open /x: component x", "/destination"),
        (filesystem(), "openat2 /x", "/destination"),
        (filesystem(), "move_mount /x", ""),
        (bind(), "open_tree /src", "/source"),
        (bind(), "open /x/y: component x", "/destination"),
        (bind(), "the source is a directory, /x is a file", "/destination"),
        (bind(), "mount_setattr set 0x1, clear 0", "/options"),
    ],
)
def test_the_pointer_names_the_part_of_a_mount(step: Step, said: str, part: str) -> None:
    error = failures.failed_step(plan_of(step), report(0, errno.EIO, said), 0)
    assert error.pointer == f"/mounts/3{part}"
    assert error.message.endswith(f"{said}: input/output error")


def test_parts_are_of_mounts_only() -> None:
    """The tmpfs of a mount that stands for several, or of no property, has no parts."""
    step = Step("mount_filesystem", "/linux", filesystem().args)
    assert failures.failed_step(plan_of(step), report(0, errno.EIO, "fsopen tmpfs"), 0).pointer == "/linux"


def test_a_message_is_one_short_line() -> None:
    step = filesystem(target="/" + "x" * 3000)
    error = failures.failed_step(plan_of(step), report(0, errno.EINVAL, "one\ntwo\n" + "y" * 3000), 0)
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    assert ": one two yyy" in error.message


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EPERM, "permission"),
        (errno.ENOENT, "not-found"),
        (errno.ENODEV, "not-supported"),
        (errno.EIO, "kernel"),
        (0, "kernel"),
    ],
)
def test_the_code_is_the_errno_s(number: int, code: str) -> None:
    error = failures.failed_step(plan_of(bind()), report(0, number, "open_tree"), 0)
    assert (error.code, error.errno) == (code, number)


def test_what_changes_while_it_is_mounted_on_has_somebody_who_changes_it() -> None:
    for step in (filesystem(), bind(), steps.mask_path("/linux/maskedPaths/0", path="/x")):
        error = failures.failed_step(
            plan_of(step), report(0, errno.EBUSY, "move_mount: /x changed meanwhile"), 0
        )
        assert error.hint.startswith("somebody else renames")
    assert failures.failed_step(plan_of(filesystem()), report(0, errno.EBUSY, "fsmount"), 0).hint.startswith(
        "it is mounted elsewhere"
    )
    assert not failures.failed_step(plan_of(bind()), report(0, errno.EBUSY, "move_mount"), 0).hint


IN_USER_NAMESPACE = [
    steps.wait_runtime("/linux/uidMappings", reason="join"),
    steps.join_namespace("/linux/namespaces/0/path", fd="namespace:user", kind=0x10000000),
    steps.user("/linux/namespaces", uid=0, gid=0),
]


@pytest.mark.parametrize("before", IN_USER_NAMESPACE, ids=lambda step: step.op)
def test_mappings_are_to_blame_only_where_there_are_any(before: Step) -> None:
    become = steps.user("/process/user", uid=5, gid=5)
    with_mappings = failures.failed_step(plan_of(before, become), report(1, errno.EINVAL, "setresuid"), 0)
    assert "mappings" in with_mappings.hint
    assert not failures.failed_step(plan_of(become), report(0, errno.EINVAL, "setresuid"), 0).hint


def test_what_a_namespace_is_instead() -> None:
    step = steps.join_namespace("/linux/namespaces/0/path", fd="namespace:ipc", kind=0x08000000)
    plan = plan_of(step)
    plan.descriptors["namespace:ipc"] = "/proc/self/ns/uts"
    error = failures.failed_step(plan, report(0, errno.EINVAL, "setns"), 0)
    assert error.message == "can't join the ipc namespace: setns: invalid argument"
    assert (
        error.hint == f"/proc/self/ns/uts is {os.readlink('/proc/self/ns/uts')}, not a namespace of type ipc"
    )


def test_numbers_have_their_names() -> None:
    error = failures.refused_limit("/process/rlimits/0", 7, 5, -1, errno.EPERM)
    assert error.message == "can't set RLIMIT_NOFILE to 5, at most infinity: operation not permitted"
    assert "fs.nr_open" in error.hint
    assert "CAP_SYS_RESOURCE" in failures.refused_limit("/process/rlimits/0", 1, 5, 5, errno.EPERM).hint


def dead(number: int) -> int:
    """A process that was ended by a signal and isn't reaped."""
    pid = os.fork()
    if not pid:
        signal.pause()
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def container(tmp_path: Any, killed: int, limit: int = 0) -> Any:
    """A stand-in with a memory cgroup in which the kernel has killed so many processes."""
    (tmp_path / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {killed}\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("3072\n")
    memory = {"driver": "cgroupfs", "mode": "v1", "groups": [
        {"controllers": ["memory"], "mount": str(tmp_path.parent), "path": str(tmp_path)}]}  # fmt: skip
    config = {"linux": {"resources": {"memory": {"limit": limit}}}}
    return SimpleNamespace(state={"cgroup": memory}, config=lambda: config)


FILTER = steps.seccomp("/linux/seccomp", filter=b"", flags=0)


@pytest.mark.parametrize(
    ("number", "killed", "limit", "plan", "pointer", "words"),
    [
        (
            9,
            1,
            4096,
            plan_of(),
            "/linux/resources/memory/limit",
            "a limit of 4096 bytes, a peak of 3072 bytes",
        ),
        (9, 1, 4096, plan_of(FILTER), "/linux/resources/memory/limit", "a limit of 4096 bytes"),
        (9, 1, 0, plan_of(), "/linux/cgroupsPath", "its memory was used up, a peak of 3072 bytes"),
        (9, 0, 4096, plan_of(), "/process", "was killed by signal 9"),
        (31, 0, 0, plan_of(FILTER), "/linux/seccomp", "was killed by signal 31"),
        (31, 1, 4096, plan_of(FILTER), "/linux/seccomp", "the seccomp filter"),
    ],
)
def test_a_death_without_a_word(
    tmp_path: Any, number: int, killed: int, limit: int, plan: Plan, pointer: str, words: str
) -> None:
    pid = dead(number)
    try:
        error = failures.died_silently(plan, pid, container(tmp_path, killed, limit))
    finally:
        os.waitpid(pid, 0)
    assert error.pointer == pointer
    assert words in error.message


def test_a_death_that_left_nothing(tmp_path: Any) -> None:
    error = failures.died_silently(plan_of(), 0, container(tmp_path, 0))
    assert error.message == "the process ended before its program ran"


@pytest.mark.parametrize(
    ("number", "op", "peak", "words"),
    [
        (errno.ENOMEM, "mount", 60000, "a limit of 65536 bytes, a peak of 60000 bytes"),
        (errno.ENOMEM, "mount", 20000, "cannot allocate memory"),
        (errno.E2BIG, "execute", 60000, "can't execute the program: its memory was used up"),
        (errno.E2BIG, "execute", 20000, "argument list too long"),
        (errno.E2BIG, "much", 60000, "argument list too long"),
    ],
)
def test_a_step_for_which_there_was_no_memory(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, number: int, op: str, peak: int, words: str
) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text("65536\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text(f"{peak}\n")
    group = layout.Hierarchy(["memory"], str(tmp_path), "")
    monkeypatch.setattr(layout, "detect", lambda pid: layout.Layout([group]))
    long = ["/bin/sh", "x" * 70000]
    step = {
        "mount": steps.pivot_root("/root/path"),
        "execute": steps.execute("/process/args", argv=["/bin/sh"], env=["A=b"], home_of=-1, listening=-1),
        "much": steps.execute("/process/args", argv=long, env=[], home_of=-1, listening=-1),
    }[op]
    assert words in str(failures.failed_step(plan_of(step), report(0, number, ""), os.getpid()))
