"""What podman's security options mean inside: capabilities, seccomp, masks, devices, sysctls, privileged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.podman import Podman

CHOWN, KILL, NET_RAW, SYS_ADMIN = 0, 5, 13, 21


def status(podman: Podman, *flags: str) -> dict[str, str]:
    """The lines of /proc/self/status in a container."""
    lines = podman.ok("run", "--rm", "--network", "none", *flags, "box", "cat", "/proc/self/status")
    return dict(line.replace("\t", "").split(":", 1) for line in lines.splitlines())


def host_bounds() -> int:
    return int(Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0], 16)


def test_capabilities(podman: Podman) -> None:
    def bounds(*flags: str) -> int:
        return int(status(podman, *flags)["CapBnd"], 16)

    usual = bounds()
    assert usual >> CHOWN & 1 and not usual >> SYS_ADMIN & 1
    assert bounds("--cap-drop", "all") == 0
    assert bounds("--cap-drop", "all", "--cap-add", "chown,kill") == 1 << CHOWN | 1 << KILL
    assert bounds("--cap-add", "sys_admin", "--cap-drop", "chown") == usual & ~(1 << CHOWN) | 1 << SYS_ADMIN


def test_capabilities_are_effective(podman: Podman) -> None:
    script = "touch /tmp/f; chown 1000 /tmp/f; stat -c %u /tmp/f"
    assert podman.sh(script) == "1000\n"
    done = podman.run("--cap-drop", "chown", "box", "sh", "-c", script)
    assert done.stdout == "0\n" and "Operation not permitted" in done.stderr


def test_a_user_who_is_not_root_has_none(podman: Podman) -> None:
    found = status(podman, "--user", "1000")
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0 and int(found["CapBnd"], 16)
    assert found["Uid"].split() == ["1000"] * 4 or found["Uid"].startswith("1000")


def test_no_new_privileges(podman: Podman) -> None:
    assert status(podman)["NoNewPrivs"] == "0"
    assert status(podman, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"


def test_seccomp(podman: Podman, tmp_path: Path) -> None:
    assert status(podman)["Seccomp"] == "2"
    assert status(podman, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["fchownat", "chown"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    script = "mkdir /tmp/new; touch /tmp/file; chown 1 /tmp/file; echo $?"
    done = podman.run("--security-opt", f"seccomp={tmp_path}/profile.json", "box", "sh", "-c", script)
    assert "Not supported" in done.stderr or "not supported" in done.stderr, done  # EOPNOTSUPP
    assert done.stdout == "159\n"  # SIGSYS


def test_podmans_own_filter_holds(podman: Podman) -> None:
    """unshare(2) of namespaces takes a capability in its profile, and its default is an error."""
    assert podman.run("box", "unshare", "--mount", "true").returncode != 0
    assert podman.run("--cap-add", "sys_admin", "box", "unshare", "--mount", "true").returncode == 0


def test_masked_and_read_only_paths(podman: Podman) -> None:
    script = "cat /proc/kcore | head -c 1 | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -vc :;"
    script += " echo 1 > /proc/sys/kernel/domainname; touch /sys/x"
    done = podman.run("box", "sh", "-c", script)
    assert done.stdout.split()[0] == "0", done
    assert done.stderr.count("Read-only file system") == 2, done
    unmasked = podman.run("--security-opt", "unmask=ALL", "box", "sh", "-c", "mount | grep -c ' on /proc/'")
    assert unmasked.stdout == "0\n"
    masked = podman.run("--security-opt", "mask=/etc/passwd", "box", "cat", "/etc/passwd")
    assert masked.stdout == ""


def test_a_read_only_root(podman: Podman) -> None:
    """podman covers /tmp, /run and /var/tmp with what one may write, if not told otherwise."""
    script = "touch /tmp/new /run/new /var/tmp/new && touch /new; stat -c %a /tmp"
    done = podman.run("--read-only", "box", "sh", "-c", script)
    assert "touch: /new: Read-only file system" in done.stderr
    assert done.stdout == "755\n" or podman.runtime == "crun", done  # as in the image; crun says 1777
    done = podman.run("--read-only", "--read-only-tmpfs=false", "box", "touch", "/tmp/new")
    assert "/tmp/new: Read-only file system" in done.stderr


def test_sysctls(podman: Podman) -> None:
    flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"]
    before = Path("/proc/sys/kernel/msgmax").read_text()
    assert podman.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", *flags) == "1\n4096\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


# One that isn't among those that every container has.
DEVICE = "/dev/loop-control"
needs_device = pytest.mark.skipif(not Path(DEVICE).exists(), reason=f"this machine has no {DEVICE}")


@needs_device
def test_devices(podman: Podman) -> None:
    """Only those that were named can be had, and as they were named, whatever nodes a container makes."""
    number = os.stat(DEVICE).st_rdev
    major, minor = os.major(number), os.minor(number)
    script = "stat -c '%F %t:%T' /dev/here; true < /dev/here; echo $?; true > /dev/here;"
    script += f" mknod /tmp/b c {major} {minor}; true < /tmp/b; echo $?; true > /tmp/b;"
    script += " mknod /tmp/t c 4 64; true < /tmp/t"
    done = podman.run("--device", f"{DEVICE}:/dev/here:r", "--cap-add", "mknod", "box", "sh", "-c", script)
    assert done.stdout.splitlines() == [f"character special file {major:x}:{minor:x}", "0", "0"], done
    for words in ("create /dev/here", "create /tmp/b", "open /tmp/t"):
        assert f"can't {words}: Operation not permitted" in done.stderr


def test_the_devices_that_every_container_has(podman: Podman) -> None:
    listed = set(podman.sh("ls /dev").split()) - {"console", "core"}
    links = {"fd", "ptmx", "stderr", "stdin", "stdout"}
    assert listed == {"full", "mqueue", "null", "pts", "random", "shm", "tty", "urandom", "zero"} | links
    assert podman.sh("cat /dev/null; head -c 2 /dev/zero | od -An -tx1; ls -l /dev/ptmx").split()[:2] == [
        "00",
        "00",
    ]


@needs_device
def test_a_rule_without_a_node(podman: Podman) -> None:
    number = os.stat(DEVICE).st_rdev
    device = f"{os.major(number)} {os.minor(number)}"
    script = f"mknod /tmp/n c {device}; true < /tmp/n; echo $?"
    assert podman.run("--cap-add", "mknod", "box", "sh", "-c", script).stdout == "1\n"
    flags = ["--device-cgroup-rule", f"c {device.replace(' ', ':')} rwm", "--cap-add", "mknod"]
    assert podman.run(*flags, "box", "sh", "-c", script).stdout == "0\n"


def test_privileged(podman: Podman) -> None:
    """Every capability that the machine has, no filter, no masks, the host's devices, writable sysctls."""
    found = status(podman, "--privileged")
    assert int(found["CapEff"], 16) == host_bounds() and found["Seccomp"] == "0"
    script = "ls /dev; mount | grep -c 'on /proc/'; mount -t tmpfs none /tmp && echo mounted;"
    script += " grep ' /sys ' /proc/mounts"
    lines = podman.sh(script, "--privileged").splitlines()
    assert set(lines) >= {"0", "mounted"}
    assert {name for name in os.listdir("/dev") if name.startswith("loop")} <= set(lines)
    assert lines[-1].split()[3].startswith("rw")


def test_labels_where_no_lsm_could_enforce_them(podman: Podman) -> None:
    """podman leaves them out then, whatever it is asked for."""
    if Path("/sys/module/apparmor/parameters/enabled").exists() or Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("this machine has an LSM")
    assert (
        podman.sh("echo ran", "--security-opt", "label=disable", "--security-opt", "apparmor=unconfined")
        == "ran\n"
    )


def test_a_working_set_of_options_at_once(podman: Podman) -> None:
    flags = [
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        "--read-only",
        "--cap-drop",
        "all",
        "--cap-add",
        "chown",
    ]
    flags += ["--user", "1000:1000", "--hostname", "pod", "--security-opt", "no-new-privileges", "--init"]
    assert podman.sh("hostname; id -u; head -n 1 /proc/1/status", *flags).split() == [
        "pod",
        "1000",
        "Name:",
        "podman-init",
    ]
