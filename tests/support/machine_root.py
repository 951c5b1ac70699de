"""A container that has this machine's programs, and all the rights that root has here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pyoci.host import privileges
from pyoci.plan.capabilities import NAMES
from support.containers import PYOCI, Bundle

EMPTY = ("usr", "etc", "proc", "dev", "sys", "tmp", "run", "var", "root")
USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def bind(source: Path | str, *options: str, at: Path | str = "") -> dict[str, Any]:
    """An entry of `mounts`; at the same place unless another is given."""
    target = str(at or source)
    return {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def give_machine(bundle: Bundle) -> Bundle:
    """Let the bundle's container have the machine's /usr and /etc, this pyoci, and all that root may do;
    its cgroups to write to, in a namespace of their own."""
    shutil.rmtree(bundle.rootfs)
    for name in EMPTY:
        (bundle.rootfs / name).mkdir(parents=True)
    for name in USR:
        if Path("/" + name).is_symlink():
            (bundle.rootfs / name).symlink_to(f"usr/{name}")
    process, linux = bundle.config["process"], bundle.config["linux"]
    mask = privileges.bounding_set()
    mine = [name for number, name in enumerate(NAMES) if mask >> number & 1]
    process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), mine)
    process["noNewPrivileges"] = False
    process["env"] = ["PATH=/usr/sbin:/usr/bin"]
    process["args"] = ["sleep", "1000"]
    del linux["maskedPaths"], linux["readonlyPaths"]
    linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    prefix = Path(PYOCI).parents[1]
    kernel = ["nosuid", "noexec", "nodev"]
    bundle.config["mounts"] = [
        *(mount for mount in bundle.config["mounts"] if mount["destination"] != "/sys"),
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": kernel},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*kernel, "rw"]},
        *(
            {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
            for path in ("/run", "/tmp")
        ),
        bind("/usr", "ro"),
        bind("/etc", "ro"),
        *([] if prefix.is_relative_to("/usr") else [bind(prefix, "ro")]),
    ]
    return bundle
