"""A whole Debian (debootstrap, minbase) as root filesystem: apt, a shell, a multi-process workload."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.containers import CONFIG, Bundle, Runtime

pytestmark = pytest.mark.skipif(not shutil.which("debootstrap"), reason="debootstrap isn't installed")

# Kept between runs, of other clones as well: it takes a minute to make, and nothing writes to it.
DEBIAN = Path.home() / ".cache/pyoci-debian"


@pytest.fixture(scope="session")
def debian() -> Path:
    if not (DEBIAN / "complete").exists():
        shutil.rmtree(DEBIAN, ignore_errors=True)
        DEBIAN.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", DEBIAN],
            check=True, stdout=subprocess.DEVNULL, timeout=290,
        )  # fmt: skip
        (DEBIAN / "complete").touch()
    return DEBIAN


@pytest.fixture
def machine(debian: Path, tmp_path: Path) -> Bundle:
    """A read-only Debian with a writable /tmp."""
    bundle = Bundle.__new__(Bundle)
    bundle.path = tmp_path / "machine"
    bundle.path.mkdir()
    bundle.rootfs = debian
    bundle.config = json.loads(json.dumps(CONFIG))
    bundle.config["root"] = {"path": str(debian), "readonly": True}
    bundle.config["process"]["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    return bundle


def test_apt_get_version(runtime: Runtime, machine: Bundle) -> None:
    out = runtime.ok("run", "--bundle", str(machine.args("apt-get", "--version").save()), "one")
    assert out.startswith("apt 2.")


def test_a_login_shell(runtime: Runtime, machine: Bundle) -> None:
    script = ". /etc/os-release; echo $ID $BASH_VERSION; dpkg-query -W -f '${Status}\\n' bash; echo ~"
    out = runtime.ok("run", "--bundle", str(machine.args("bash", "-lc", script).save()), "one")
    assert out.splitlines()[0].startswith("debian 5.")
    assert out.splitlines()[1:] == ["install ok installed", "/root"]


def test_a_multi_process_workload(runtime: Runtime, machine: Bundle) -> None:
    script = """
        for n in $(seq 20); do
            (head -c 200000 /dev/urandom | sort | gzip | gunzip | sha256sum > /tmp/$n; exit $n) &
            started="$started $!"
        done
        total=0
        for job in $started; do wait $job; total=$((total + $?)); done
        ls /tmp | wc -l; echo $total; perl -e 'print fork() ? "parent\n" : "child\n"; wait'
    """
    out = runtime.ok("run", "--bundle", str(machine.args("bash", "-c", script).save()), "one")
    assert sorted(out.split()) == ["20", "210", "child", "parent"]


def test_orphans_are_gone_with_the_container(runtime: Runtime, machine: Bundle) -> None:
    machine.args("bash", "-c", "for n in 1 2 3; do setsid sleep 300 & done; sleep 0.2; exit 3")
    done = runtime.call("run", "--bundle", str(machine.save()), "one")
    assert done.returncode == 3
    assert os.listdir(runtime.root) in ([], [".cache"])
