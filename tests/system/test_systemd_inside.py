"""systemd as a container's first process: it boots, starts services, and keeps to the container's cgroup."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cgroup import UNIFIED, layout
from support.cgroups import eventually, membership
from support.containers import Bundle, Runtime
from support.machine_root import give_machine

SYSTEMD = Path("/lib/systemd/systemd")
HERE = layout.detect()
pytestmark = [
    pytest.mark.layout,
    pytest.mark.skipif(not SYSTEMD.exists(), reason=f"there is no {SYSTEMD} on this machine"),
]
# What isn't about containers, and takes long in an emulated machine.
MASKED = (
    "systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
    "systemd-journald-audit.socket", "systemd-journal-flush.service", "systemd-logind.service",
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service", "getty.target",
    "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "systemd-sysusers.service",
    "systemd-update-utmp.service", "systemd-user-sessions.service", "ldconfig.service", "timers.target",
    "dev-mqueue.mount", "dev-hugepages.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "systemd-remount-fs.service", "systemd-sysctl.service",
    "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount",
    "systemd-update-utmp-runlevel.service", "e2scrub_reap.service",
    "dbus.service", "dbus.socket", "apparmor.service", "kmod-static-nodes.service",
)  # fmt: skip
PROBE = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cat /proc/self/cgroup > /run/probe; sleep 1000 & exit 0'
MemoryMax=48M
[Install]
WantedBy=multi-user.target
"""


def boot(bundle: Bundle) -> Bundle:
    """A container that starts the machine's systemd, with a /etc of its own and one service enabled."""
    give_machine(bundle)
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["destination"] != "/etc"]
    for mount in bundle.config["mounts"]:
        if mount["destination"] == "/sys":
            mount["options"].append("ro")  # so that systemd leaves devices alone
    bundle.config["process"]["env"].append("container=oci")
    bundle.args(str(SYSTEMD), "--unit=multi-user.target", "--log-target=null")
    etc, units = bundle.rootfs / "etc", bundle.rootfs / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")  # without one it would enable all there is
    for name in ("passwd", "group", "ld.so.cache", "os-release"):
        shutil.copy(f"/etc/{name}", etc / name)
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    (units / "probe.service").write_text(PROBE)
    (units / "multi-user.target.wants/probe.service").symlink_to("../probe.service")
    (bundle.rootfs / "var/lib").mkdir()
    return bundle


@pytest.fixture(params=["root", "user namespace"])
def booted(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Iterator[Runtime]:
    """The container `box`, whose systemd has reached its target; v2 gives it to a user namespace, too."""
    boot(bundle)
    if request.param != "root":
        if HERE.mode != "v2":
            pytest.skip("only cgroup v2 can be given to a user namespace")
        bundle.in_user_namespace()
        for each in (bundle.rootfs, *bundle.rootfs.rglob("*")):
            os.chown(each, 100000, 100000, follow_symlinks=False)
    runtime.create(bundle, "box")
    runtime.ok("start", "box")
    private = Path(f"/proc/{runtime.state('box')['pid']}/root/run/systemd/private")
    eventually(private.exists)  # the socket that systemctl speaks to
    yield runtime
    runtime.call("delete", "--force", "box")


def test_it_boots_and_keeps_to_its_cgroup(booted: Runtime) -> None:
    state = booted.call("exec", "box", "systemctl", "is-system-running", "--wait")
    failed = booted.call("exec", "box", "systemctl", "--failed", "--no-legend").stdout
    assert state.stdout == "running\n", f"{state.stderr}{failed}"
    assert booted.ok("exec", "box", "systemctl", "is-active", "multi-user.target") == "active\n"
    own = booted.ok("exec", "box", "cat", "/run/probe")
    assert "/system.slice/probe.service" in own
    assert (
        booted.ok("exec", "box", "systemctl", "show", "--value", "-p", "MemoryMax", "probe") == "50331648\n"
    )
    pid = booted.state("box")["pid"]
    names = UNIFIED if HERE.mode == "v2" else "name=systemd"
    mount = next(each.mount for each in HERE.hierarchies if each.controllers == [names])
    first = membership(pid)[names]
    assert first.endswith("/init.scope")
    container = Path(mount + first.removesuffix("/init.scope"))
    assert (container / "system.slice/probe.service/cgroup.procs").read_text()
    if HERE.mode == "v2":
        assert (container / "system.slice/probe.service/memory.max").read_text() == "50331648\n"
    booted.ok("exec", "box", "systemctl", "stop", "probe")
    eventually(lambda: not (container / "system.slice/probe.service").exists())
    booted.ok("delete", "--force", "box")
    assert not container.exists()


def test_it_shuts_down_when_told(booted: Runtime) -> None:
    """SIGRTMIN+3 is what it takes for halt, systemd(1); engines send it as the stop signal."""
    booted.call("exec", "box", "systemctl", "is-system-running", "--wait")
    booted.ok("kill", "box", "37")
    eventually(lambda: booted.state("box")["status"] == "stopped")
    booted.ok("delete", "box")
