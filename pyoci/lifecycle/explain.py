"""The plan of a bundle, compiled without touching anything."""

from __future__ import annotations

from pyoci.lifecycle.create import Making, prepare
from pyoci.lifecycle.options import CreateOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.lifecycle.settings import Settings
    from pyoci.plan.plan import Plan


def plan(settings: Settings, bundle: str, config: str) -> Plan:
    """What `create` would do for this bundle on this host."""
    from pyoci.bundle.load import load

    options = CreateOptions(bundle=bundle, config=config)
    making = Making(settings, options, load(bundle, config))
    for warning in making.bundle.warnings:
        settings.warn(warning)
    prepare(making, "explained", gated=True)
    return making.plan
