"""systemd as the init of the machine: what it says, and a runtime that has it make cgroups."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.containers import Runtime

SYSTEMD = Path("/run/systemd/system").exists()  # sd_booted(3)
NOT_HERE = "the init of this machine isn't systemd"


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", "--no-pager", *words], capture_output=True, text=True, check=True)
    return done.stdout


def shown(unit: str, *names: str) -> list[str]:
    """The values of a unit's properties."""
    return [systemctl("show", "--value", "--property", name, "--", unit).strip() for name in names]


def scopes() -> set[str]:
    """The scopes that there are, be it that they have failed."""
    listed = systemctl("list-units", "--all", "--type=scope", "--plain", "--no-legend")
    return {line.split()[0] for line in listed.splitlines()}


class WithSystemd(Runtime):
    """pyoci that has systemd make its cgroups."""

    def command(self, *args: str) -> list[str]:
        return super().command("--systemd-cgroup", *args)
