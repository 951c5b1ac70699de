"""The features document (features.md, features-linux.md), made from the tables that the code uses."""

from __future__ import annotations

import os
from errno import EFAULT

from pyoci import SPEC_VERSION, VERSION
from pyoci.bundle.rules import HOOKS
from pyoci.cgroup.systemd.annotations import PREFIX as SYSTEMD_PROPERTY
from pyoci.errors import Error
from pyoci.host import seccomp
from pyoci.host.seccomp_profile import ACTIONS, ARCHITECTURES, OPERATORS
from pyoci.plan import labels, mount_options
from pyoci.plan.capabilities import NAMES
from pyoci.plan.kernel import NAMESPACES
from pyoci.plan.scheduling import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST_SPEC_VERSION = "1.0.0"

# Annotations of config.json that change what is done or take protection away: not everybody may give them.
# A final dot stands for all that begin so.
UNSAFE_ANNOTATIONS = (labels.ANNOTATION, seccomp.RAW, SYSTEMD_PROPERTY)

_SET_MODE_FILTER = 1  # seccomp(2)


def document() -> dict[str, Any]:
    """What this runtime recognises. Only seccomp.enabled and supportedFlags depend on the machine."""
    library = _libseccomp_version()
    annotations = {"io.github.pyoci.version": VERSION}
    if library:
        annotations["io.github.seccomp.libseccomp.version"] = library
    return {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": mount_options.known(),
        "linux": _linux(bool(library)),
        "annotations": annotations,
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _linux(seccomp_enabled: bool) -> dict[str, Any]:
    return {
        "namespaces": sorted(NAMESPACES),
        "capabilities": list(NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": {
            "enabled": seccomp_enabled,
            "actions": sorted(ACTIONS),
            "operators": sorted(OPERATORS),
            "archs": sorted(ARCHITECTURES),
            "knownFlags": sorted(seccomp.FLAGS),
            "supportedFlags": supported_flags() if seccomp_enabled else [],
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def supported_flags() -> list[str]:
    """The seccomp flags that this kernel takes.

    Asked for together with a filter at address 0, a flag that is known leads to EFAULT and one that
    isn't to EINVAL (seccomp(2)). WAIT_KILLABLE_RECV is known together with NEW_LISTENER only.
    """
    from pyoci._libseccomp import ffi

    libc: Any = ffi.dlopen(None)
    supported = []
    for name, flag in sorted(seccomp.FLAGS.items()):
        if name == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            flag |= seccomp.NEW_LISTENER
        number = ffi.cast("long", _seccomp_number())
        arguments = (ffi.cast("long", _SET_MODE_FILTER), ffi.cast("long", flag), ffi.cast("long", 0))
        if libc.syscall(number, *arguments) == -1 and ffi.errno == EFAULT:
            supported.append(name)
    return supported


def _seccomp_number() -> int:
    return {"x86_64": 317, "aarch64": 277}[os.uname().machine]


def _libseccomp_version() -> str:
    """The version of the library, "" where there is none."""
    from pyoci.host.libseccomp import Library

    try:
        return Library(seccomp.find_library()[0]).version()
    except Error:
        return ""
