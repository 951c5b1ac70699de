"""How hypothesis runs here: no test may fail because the machine is busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("pyoci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pyoci")
