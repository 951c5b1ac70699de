"""Compiling mounts of type `cgroup` and `cgroup2`: what they show depends on the host's hierarchies."""

from __future__ import annotations

from pyoci.errors import Error
from pyoci.plan import steps
from pyoci.plan.kernel import MOUNT_ATTR_RDONLY, MS_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.labels import MountLabel
    from pyoci.plan.mount_options import Options
    from pyoci.plan.situation import CgroupHierarchy, CgroupView
    from pyoci.plan.steps import Step


def compile_cgroup(
    pointer: str,
    kind: str,
    target: str,
    options: Options,
    view: CgroupView,
    namespace: bool,
    label: MountLabel | None = None,
) -> list[Step]:
    """A mount of the container's cgroups, and of no others: with a cgroup namespace it is the
    filesystem itself, whose root the namespace makes the container's cgroup; without one that
    cgroup's directory is bound, as the filesystem would show the whole host's (CVE-2023-25809).

    Error if there is nothing that could be shown, or an option that no hierarchy which is mounted
    already could take.
    """
    one = _Mounts(pointer, options, namespace, label, view.shared)
    if target == view.systemd_only:
        named = [hierarchy for hierarchy in view.hierarchies if hierarchy.controllers == ["name=systemd"]]
        if not named:
            raise Error(
                "the hierarchy name=systemd isn't mounted here",
                code="not-supported",
                pointer="/annotations/run.oci.systemd.force_cgroup_v1",
                hint="mount it on the host (mount -t cgroup -o none,name=systemd), or remove the annotation",
            )
        return one.tree(target, named)
    unified = [hierarchy for hierarchy in view.hierarchies if hierarchy.controllers == [""]]
    if kind == "cgroup" and not view.unified:
        return one.tree(target, view.hierarchies)
    if not unified and not namespace:
        raise Error(
            "cgroup2 isn't mounted here, so there is no cgroup of the container that could be shown",
            code="not-supported",
            pointer=f"{pointer}/type",
            hint='use the type cgroup, or add {"type": "cgroup"} to /linux/namespaces',
        )
    return one.show(target, unified[0] if unified else None)


class _Mounts:
    """Makes the mounts of one entry of `mounts`, all with the attributes and propagation it asks for."""

    def __init__(
        self, pointer: str, options: Options, namespace: bool, label: MountLabel | None, shared: bool
    ) -> None:
        self.pointer = pointer
        self.options = options
        self.namespace = namespace
        self.label = label
        self.shared = shared

    def _attributes(self, shared: bool) -> int:
        """A cgroup in which others live isn't the container's to change."""
        return self.options.set | (MOUNT_ATTR_RDONLY if shared else 0)

    def tree(self, target: str, hierarchies: list[CgroupHierarchy]) -> list[Step]:
        """v1's: a small tmpfs with a directory for each hierarchy, and links for those that share one."""
        self._refuse_data()
        attributes = self._attributes(self.shared)
        late = attributes & MOUNT_ATTR_RDONLY
        plan = self._filesystem("tmpfs", "tmpfs", target, ["mode=755"], 0, attributes & ~late)
        directories = {hierarchy.directory for hierarchy in hierarchies}
        for hierarchy in hierarchies:
            plan += self.show(f"{target}/{hierarchy.directory}", hierarchy)
            for controller in hierarchy.controllers if len(hierarchy.controllers) > 1 else ():
                if controller not in directories and "=" not in controller:
                    link, value = f"{target}/{controller}", hierarchy.directory
                    plan.append(steps.make_symlink(self.pointer, value=value, path=link, replace=0))
        if late:
            plan.append(
                steps.remount(self.pointer, target=target, superblock=0, set=late, clear=0, options=[])
            )
        return plan

    def show(self, target: str, hierarchy: CgroupHierarchy | None) -> list[Step]:
        """The container's cgroup in one hierarchy; None is a cgroup2 that is mounted nowhere."""
        attributes = self._attributes(hierarchy.shared if hierarchy else self.shared)
        if self.namespace:
            # `ro` is the mount's: all mounts in the cgroup namespace share one superblock.
            superblock = self.options.superblock & ~MS_RDONLY
            if hierarchy is None or hierarchy.controllers == [""]:
                data = self.options.data
                return self._filesystem("cgroup2", "cgroup2", target, data, superblock, attributes)
            names = hierarchy.controllers
            data = [*([] if any("=" not in name for name in names) else ["none"]), *names]
            return self._filesystem("cgroup", "cgroup", target, data, superblock, attributes)
        self._refuse_data()
        if hierarchy is None or not hierarchy.path:  # not to be reached from here: an empty directory
            return self._filesystem("tmpfs", "tmpfs", target, [], MS_RDONLY, attributes | MOUNT_ATTR_RDONLY)
        first, *rest = self.options.propagation or [0]
        clear = self.options.clear & ~attributes
        bind = steps.mount_bind(
            self.pointer, source=hierarchy.path, tree="", target=target, recursive=1, set=attributes,
            clear=clear, rset=0, rclear=0, propagation=first, flags=0,
        )  # fmt: skip
        return [bind, *self._propagation(target, rest)]

    def _filesystem(
        self, kind: str, source: str, target: str, data: list[str], superblock: int, attributes: int
    ) -> list[Step]:
        first, *rest = self.options.propagation or [0]
        labelled = [*data, *self.label.data(kind)] if self.label else data
        mount = steps.mount_filesystem(
            self.pointer, type=kind, source=source, target=target, options=labelled, superblock=superblock,
            attrs=attributes, propagation=first, mode=0o755, fallback="", flags=0,
        )  # fmt: skip
        return [mount, *self._propagation(target, rest)]

    def _propagation(self, target: str, rest: list[int]) -> list[Step]:
        return [steps.mount_propagation(self.pointer, target=target, flags=flags) for flags in rest]

    def _refuse_data(self) -> None:
        if self.options.data:
            raise Error(
                f"the hierarchies are mounted already, and can't take the option {self.options.data[0]!r}",
                code="invalid-config",
                pointer=f"{self.pointer}/options",
                hint="remove it",
            )
