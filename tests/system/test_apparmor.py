"""AppArmor for real, with profiles of the test's own: on kernels that have it on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers import Bundle, Runtime, Sleeper, labels_of_exec

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
FILESYSTEM = Path("/sys/kernel/security/apparmor")

pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(
        not ENABLED.exists() or not ENABLED.read_text().startswith("Y"),
        reason="AppArmor isn't on in this kernel",
    ),
    pytest.mark.skipif(shutil.which("apparmor_parser") is None, reason="apparmor_parser is not installed"),
]

PROFILES = """
profile pyoci-test flags=(attach_disconnected, mediate_deleted) {
  file, capability, network, mount, umount, signal, unix, ptrace,
  deny /secret r,
}
profile pyoci-other flags=(attach_disconnected, mediate_deleted) { file, }
"""


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path) -> Iterator[None]:
    if not FILESYSTEM.exists():
        pytest.skip("securityfs is not mounted")
    path = tmp_path / "profiles"
    path.write_text(PROFILES)
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", path], check=True)
    yield
    subprocess.run(["apparmor_parser", "--remove", path], check=True)


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_the_program_is_confined_by_its_profile(
    user: bool, no_new_privileges: bool, bundle: Bundle, runtime: Runtime
) -> None:
    if user:
        bundle.in_user_namespace()
    bundle.config["process"].update(apparmorProfile="pyoci-test", noNewPrivileges=no_new_privileges)
    (bundle.rootfs / "secret").write_text("secret\n")
    bundle.shell("cat /proc/self/attr/current; cat /secret")
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.stdout == "pyoci-test (enforce)\n"
    assert done.stderr == "cat: can't open '/secret': Permission denied\n"


def test_without_a_profile_it_is_unconfined(bundle: Bundle, runtime: Runtime) -> None:
    bundle.args("cat", "/proc/self/attr/current")
    assert runtime.ok("run", "--bundle", str(bundle.save()), "box") == "unconfined\n"


def test_exec_has_the_container_s_profile_or_its_own(sleeper: Sleeper, tmp_path: Path) -> None:
    sleeper.process["apparmorProfile"] = "pyoci-test"
    sleeper.pid()
    found = labels_of_exec(sleeper, tmp_path, "--apparmor", "apparmorProfile", "pyoci-other")
    assert found == ["pyoci-test (enforce)"] * 2 + ["pyoci-other (enforce)"] * 2


def test_a_profile_that_is_not_loaded(bundle: Bundle, runtime: Runtime) -> None:
    bundle.config["process"]["apparmorProfile"] = "pyoci-missing"
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert "/process/apparmorProfile: " in done.stderr
    assert "load a profile named pyoci-missing" in done.stderr


def test_a_label_of_selinux_goes_to_no_file_of_apparmor_s(bundle: Bundle, runtime: Runtime) -> None:
    """Which would take this one for a profile to change to."""
    bundle.config["process"]["selinuxLabel"] = "exec pyoci-test"
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.returncode == 1
    assert "/process/selinuxLabel: SELinux is off" in done.stderr


def test_a_volume_over_proc_catches_no_label(bundle: Bundle, runtime: Runtime) -> None:
    """CVE-2019-16884: files that an image brings swallowed what was meant for the kernel."""
    for name in ("attr", "attr/apparmor"):
        (bundle.rootfs / "fake/self" / name).mkdir(parents=True)
        (bundle.rootfs / "fake/self" / name / "exec").touch()
    bundle.config["mounts"][0] = {
        "destination": "/proc", "type": "bind", "source": str(bundle.rootfs / "fake"), "options": ["bind"],
    }  # fmt: skip
    bundle.config["mounts"].append({"destination": "/real", "type": "proc", "source": "proc"})
    bundle.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    bundle.config["process"]["apparmorProfile"] = "pyoci-test"
    bundle.args("cat", "/real/self/attr/current")
    done = runtime.call("run", "--bundle", str(bundle.save()), "box")
    assert done.stdout == "pyoci-test (enforce)\n" or done.returncode == 1
    assert (bundle.rootfs / "fake/self/attr/apparmor/exec").read_text() == ""
