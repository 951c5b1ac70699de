"""Control groups, v1, hybrid and v2, behind one interface: `manager.new` and `manager.load`."""

UNIFIED = ""
"""The name of the cgroup2 hierarchy beside v1's controllers, as in /proc/PID/cgroup."""
