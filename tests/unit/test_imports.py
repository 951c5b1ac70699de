"""What each hot command loads. An interpreter's start is half of a whole `run`, so every module is weighed.

A module that is missing here was never measured: find out what it costs (python -X importtime) before
it is added, and whether it can be imported by the few configurations that need it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import _cffi_backend
import pytest

import pyoci

# What Python has loaded before pyoci (with -I -S) differs between its versions, and does not count.
LOADED = """
import sys
sys.path[:0] = sys.argv[2:]
before = set(sys.modules)
import pyoci.__main__
__import__("pyoci.cli." + sys.argv[1])
print(*sorted(set(sys.modules) - before))
"""

# Built in, frozen, or small and of C.
PYTHON = {
    *("__future__", "_json", "_stat", "errno", "stat"),
    *("os", "os.path", "posixpath", "genericpath", "_collections_abc"),
}
COMMON = {
    "pyoci",
    "pyoci.__main__",
    "pyoci.bundle",
    "pyoci.bundle.document",
    "pyoci.cli",
    "pyoci.cli.arguments",
    "pyoci.cli.commands",
    "pyoci.cli.log",
    "pyoci.cli.output",
    "pyoci.errors",
    "pyoci.host",
    "pyoci.host.privileges",
    "pyoci.host.procfs",
    "pyoci.lifecycle",
    "pyoci.lifecycle.settings",
    "pyoci.lifecycle.store",
}
CGROUP = {"pyoci.cgroup", "pyoci.cgroup.files", "pyoci.cgroup.manager", "pyoci.cgroup.v1", "pyoci.cgroup.v2"}
CONVERSATION = {
    "_cffi_backend",
    "pyoci._shim",
    "pyoci._shim.lib",
    "pyoci.lifecycle.channel",
    "pyoci.lifecycle.init",
    "pyoci.plan",
    "pyoci.plan.plan",
    "pyoci.plan.steps",
}
CREATION = {
    *CGROUP,
    *CONVERSATION,
    "pyoci.bundle.load",
    "pyoci.bundle.rules",
    "pyoci.bundle.schema",
    "pyoci.bundle.validator",
    "pyoci.cgroup.layout",
    "pyoci.host.mountinfo",
    "pyoci.lifecycle.create",
    "pyoci.lifecycle.facts",
    "pyoci.lifecycle.handover",
    "pyoci.lifecycle.options",
    "pyoci.plan.capabilities",
    "pyoci.plan.compile",
    "pyoci.plan.devices",
    "pyoci.plan.identity",
    "pyoci.plan.kernel",
    "pyoci.plan.mount_options",
    "pyoci.plan.mounts",
    "pyoci.plan.namespaces",
    "pyoci.plan.rootfs",
    "pyoci.plan.situation",
}
ALLOWED = {
    "state": {*CGROUP, "pyoci.cli.state", "pyoci.lifecycle.report"},
    "kill": {*CGROUP, "pyoci.cli.kill", "pyoci.cli.signal_names", "pyoci.lifecycle.signals"},
    "delete": {*CGROUP, "pyoci.cli.delete", "pyoci.lifecycle.delete"},
    "start": {*CONVERSATION, "pyoci.cli.start", "pyoci.lifecycle.start"},
    "create": {*CREATION, "pyoci.cli.create"},
    "run": {
        *CREATION,
        "_cffi_backend",
        "pyoci._shim",
        "pyoci._shim.lib",
        "pyoci.cli.create",
        "pyoci.cli.run",
        "pyoci.lifecycle.delete",
        "pyoci.lifecycle.run",
        "pyoci.lifecycle.start",
    },
}


def loaded(command: str) -> set[str]:
    places = [str(Path(pyoci.__file__).parents[1]), str(Path(_cffi_backend.__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADED, command, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("command", ALLOWED)
def test_nothing_else_is_loaded(command):
    assert loaded(command) - PYTHON - COMMON - ALLOWED[command] == set()


def test_the_list_names_only_what_is_loaded():
    """So that the list tells the truth, and a module that went away is noticed."""
    everything = set().union(*(loaded(command) for command in ALLOWED))
    assert COMMON.union(*ALLOWED.values()) - everything == set()
