"""A plan as it is handed around. Not with the compilers, as `start` reads one and needs none of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.idmap import Idmap
    from pyoci.plan.steps import Step


class Plan:
    """Steps, and what the runtime has to have open for them.

    staged       the first process only prepares, and clones the one that does the rest
    descriptors  name -> host path: namespaces to open, mount trees to open for a user namespace
    idmaps       name of a mount tree -> how the runtime is to map its owners
    """

    __slots__ = ("descriptors", "idmaps", "staged", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.staged = False
        self.descriptors: dict[str, str] = {}
        self.idmaps: dict[str, Idmap] = {}

    def pointer(self, index: int) -> str:
        return self.steps[index].pointer if 0 <= index < len(self.steps) else ""
