"""A suite that holds any OCI runtime's command to the runtime specification, requirement by requirement.

It runs the runtime as an engine would (create, start, state, kill, delete) and imports nothing of it.
The specification is opencontainers/runtime-spec 1.3: runtime.md, config.md, config-linux.md.
"""
