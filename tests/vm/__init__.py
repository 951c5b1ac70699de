"""A throw-away virtual machine for tests: cgroup v2 alone, systemd as its first process, AppArmor.

The guest's root is this machine's own, read-only over 9p, below an overlay in memory. So the tree, its .venv,
the interpreter behind that and every tool are at the very same paths in the guest, with nothing to build or
to keep in step; only the kernel comes from elsewhere. What the guest writes ends with it, and it has no
network device.

    PYTHONPATH=tests python3 -m vm -- COMMAND...
"""
