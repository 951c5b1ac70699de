"""The parts of the build that pyproject.toml can't say; native/build.py does them."""

import logging
import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "native"))

from build import COMMANDS

# What is copied where would hide what a compiler says.
logging.disable(logging.INFO)
setup(
    cmdclass=COMMANDS,
    cffi_modules=["native/shim_build.py:ffibuilder", "native/seccomp_build.py:ffibuilder"],
    scripts=["native/launcher.c"],
)
