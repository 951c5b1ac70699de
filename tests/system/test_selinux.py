"""SELinux for real, with a policy of the test's own that names two types and forbids nothing.

On kernels that have it on and have no policy yet, as in the VM with `--kernel-arg security=selinux`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime, Sleeper

CURRENT = Path("/proc/self/attr/current")
MOUNT = Path("/sys/fs/selinux")
LABEL = "user_u:role_r:boxed_t"
POLICY = """
class security
class process
class file
class key
sid kernel
sid security
sid unlabeled
class security { load_policy }
class process { fork transition dyntransition setexec setkeycreate nosuid_transition }
class file { entrypoint }
class key { view }
policycap nnp_nosuid_transition;
type base_t;
type boxed_t;
role role_r;
role role_r types { base_t boxed_t };
allow base_t boxed_t:process transition;
user user_u roles { role_r };
sid kernel user_u:role_r:base_t
sid security user_u:role_r:base_t
sid unlabeled user_u:role_r:base_t
"""

pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(
        "selinuxfs" not in Path("/proc/filesystems").read_text(), reason="SELinux isn't on here"
    ),
    pytest.mark.skipif(shutil.which("checkpolicy") is None, reason="checkpolicy is not installed"),
]


@pytest.fixture(scope="module", autouse=True)
def policy(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Loaded for good: a kernel takes no policy back."""
    if not (MOUNT / "load").exists():
        subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", MOUNT], check=True)
    if ":" in CURRENT.read_text() and "base_t" not in CURRENT.read_text():
        pytest.skip("SELinux has a policy already")
    directory = tmp_path_factory.mktemp("policy")
    (directory / "policy.conf").write_text(POLICY)
    command = ["checkpolicy", "-U", "allow", "-o", "policy", "policy.conf"]
    subprocess.run(command, cwd=directory, check=True)
    (MOUNT / "enforce").write_text("0")
    load = os.open(MOUNT / "load", os.O_WRONLY)
    data = (directory / "policy").read_bytes()
    assert os.write(load, data) == len(data)
    os.close(load)


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


def test_exec_has_the_container_s_label_or_its_own(labelled: int, sleeper: Sleeper) -> None:
    label = ("cat", "/proc/self/attr/current")
    assert sleeper.runtime.ok("exec", "box", *label).rstrip("\0\n") == LABEL
    other = LABEL.replace("boxed", "base")
    assert sleeper.runtime.ok("exec", "--process-label", other, "box", *label).rstrip("\0\n") == other


def test_a_label_that_the_policy_does_not_know(sleeper: Sleeper) -> None:
    sleeper.process["selinuxLabel"] = "user_u:role_r:unknown_t"
    message = sleeper.refused()
    assert "/process/selinuxLabel: " in message
    assert "the policy must know this label" in message
