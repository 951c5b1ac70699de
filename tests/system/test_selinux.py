"""Labels where SELinux is: the container's process, its keyring, and what exec adds to it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import selinux
from support.containers import Bundle, Runtime, Sleeper, labels_of_exec

pytestmark = selinux.NEEDED
LABEL = "system_u:system_r:boxed_t:s0"


@pytest.fixture(autouse=True, scope="module")
def _policy(tmp_path_factory: pytest.TempPathFactory) -> None:
    selinux.load(tmp_path_factory.mktemp("policy"))


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_the_program_has_its_label(
    user: bool, no_new_privileges: bool, bundle: Bundle, runtime: Runtime
) -> None:
    if user:
        bundle.in_user_namespace()
    bundle.config["process"].update(selinuxLabel=LABEL, noNewPrivileges=no_new_privileges)
    bundle.args("cat", "/proc/self/attr/current")
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert (done.stdout.rstrip("\0\n"), done.stderr) == (LABEL, "")


@pytest.fixture
def labelled(sleeper: Sleeper) -> Iterator[int]:
    sleeper.process["selinuxLabel"] = LABEL
    yield sleeper.pid()


def test_its_session_keyring_has_it_too(labelled: int) -> None:
    (line,) = [line for line in Path("/proc/keys").read_text().splitlines() if "_ses.box" in line]
    label = ctypes.create_string_buffer(256)
    keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    assert ctypes.CDLL(None).syscall(keyctl, 17, int(line.split()[0], 16), label, 256) > 0  # GET_SECURITY
    assert label.value.decode() == LABEL
    assert Path(f"/proc/{labelled}/attr/keycreate").read_bytes() == b""  # later keys are as ever


@pytest.mark.usefixtures("labelled")
def test_exec_has_the_container_s_label_or_its_own(sleeper: Sleeper, tmp_path: Path) -> None:
    other = LABEL.replace("boxed", "kernel")
    found = labels_of_exec(sleeper, tmp_path, "--process-label", "selinuxLabel", other)
    assert found == [LABEL] * 2 + [other] * 2


def test_a_label_that_the_policy_does_not_know(sleeper: Sleeper) -> None:
    sleeper.process["selinuxLabel"] = LABEL.replace("boxed", "unknown")
    message = sleeper.refused()
    assert "/process/selinuxLabel: " in message
    assert "the policy must know this label" in message
