"""Control groups, v1, hybrid and v2, behind one interface: `manager.new` and `manager.load`."""

UNIFIED = ""
"""The name of the cgroup2 hierarchy beside v1's controllers, as in /proc/PID/cgroup."""
DELEGATE = "run.oci.delegate-cgroup"
"""crun's annotation: the container's process starts in this cgroup below its own, which is its to manage."""
