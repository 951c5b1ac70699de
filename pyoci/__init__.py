"""pyoci, an OCI container runtime for Linux.

The public API is `pyoci.lifecycle` (what can be done with a container), `pyoci.bundle.load` (reading and
validating a bundle) and `pyoci.errors.Error` (the one exception). Nothing is imported here: every command
pays for it.
"""

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"
