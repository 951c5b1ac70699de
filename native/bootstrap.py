"""The first Python code of the launcher: finds pyoci's modules inside it, and runs the command.

Only what the interpreter has loaded anyway is used. sys.path is as native/launcher.c made it: the standard
library, its extension modules, then the directory of the packages.
"""

import gc
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import _fix_co_filename, extension_suffixes, get_frozen_object, is_frozen, is_frozen_package
from posix import stat

EXTENSIONS, PACKAGES = sys.path[1:3]
SUFFIX = extension_suffixes()[0]
# Only these come before the standard library: a package must not stand in for one of its modules.
KNOWN = {
    "_cffi_backend": f"{PACKAGES}/_cffi_backend{SUFFIX}",
    "pyoci._shim": f"{PACKAGES}/pyoci/_shim.abi3.so",
}


class Finder:
    """Says where a module is without reading directories; the rest is left to Python's own finders.

    A module from inside the launcher is, in all that can be seen of it, the one in the installed .py file.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        if is_frozen(f"@{name}"):
            return frozen(name)
        file = KNOWN.get(name)
        if file is None:
            if path is not None:
                return None
            file = f"{EXTENSIONS}/{name}{SUFFIX}"
        try:
            stat(file)
        except OSError:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
        spec.has_location = True
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        code = get_frozen_object(f"@{module.__name__}")
        _fix_co_filename(code, module.__file__)
        exec(code, module.__dict__)


def frozen(name):
    """The spec of a module that is in the launcher."""
    file = f"{PACKAGES}/{name.replace('.', '/')}"
    if not is_frozen_package(f"@{name}"):
        spec = ModuleSpec(name, Finder, origin=f"{file}.py")
    else:
        spec = ModuleSpec(name, Finder, origin=f"{file}/__init__.py", is_package=True)
        spec.submodule_search_locations.append(file)
    spec.has_location = True
    return spec


def run():
    """Runs the command. Returns its exit status, all output written."""
    # A command makes some ten thousand objects and ends; looking through them for cycles took 2 ms of it.
    gc.set_threshold(100_000)
    sys.meta_path.insert(2, Finder)  # behind those for built-in and frozen modules
    from pyoci.__main__ import main

    status = main(sys.argv[1:])
    if sys.stdout is not None:
        sys.stdout.flush()
    return status
