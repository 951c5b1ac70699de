"""Compiling linux.mountLabel: which mounts get SELinux's context, and by which of its options (mount(8))."""

from __future__ import annotations

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.plan.mount_options import Options

ANNOTATION = "run.oci.mount_context_type"  # crun's; one of:
CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")

# The policy labels what is in these file by file, or they take no option for it.
UNLABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")


class MountLabel:
    """The label of the container's filesystems, and the mount option that says it."""

    __slots__ = ("context", "value")

    def __init__(self, config: dict[str, Any]) -> None:
        self.value: str = config["linux"]["mountLabel"]
        self.context: str = (config.get("annotations") or {}).get(ANNOTATION) or "context"
        if self.context not in CONTEXTS:
            raise Error(
                f"{self.context!r} is no option by which SELinux labels a mount",
                code="invalid-config",
                pointer=f"/annotations/{ANNOTATION}",
                hint=f"these are: {', '.join(CONTEXTS)}",
            )
        if '"' in self.value:
            raise Error(
                f"{self.value!r} can't be a label: it has a quotation mark",
                code="invalid-config",
                pointer="/linux/mountLabel",
                hint="it is like system_u:object_r:container_file_t:s0:c1,c2",
            )

    def add(self, kind: str, options: Options) -> None:
        """Label a new filesystem, unless its own options do."""
        if not any(option.partition("=")[0] in CONTEXTS for option in options.data):
            options.data += self.data(kind)

    def data(self, kind: str) -> list[str]:
        """The options that label a new filesystem."""
        # In quotation marks, as a label's categories have commas between them.
        return [] if kind in UNLABELLED else [f'{self.context}="{self.value}"']
