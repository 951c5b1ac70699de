"""The first Python code of the launcher: finds pyoci's modules inside it, and runs the command.

Only what the interpreter has loaded anyway is used. sys.path is as native/launcher.c made it: the standard
library, its extension modules, then the directory of the packages.
"""

import gc
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import _fix_co_filename, extension_suffixes, get_frozen_object, is_frozen, is_frozen_package

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
            posix.stat(file)
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


class LightOs(type(sys)):
    """The os module, as far as it is the posix module's and a few lines: all that a usual command needs.

    Importing the whole takes a tenth of a start, most of it for the abstract classes of collections. Who asks
    for more gets it: then the real one is loaded, and takes this one's place.
    """

    def __init__(self):
        super().__init__("os")
        for name in dir(posix):
            if name[0] != "_" and name != "environ":
                setattr(self, name, getattr(posix, name))
        self._exit = posix._exit
        self.fsencode = lambda path: path if type(path) is bytes else path.encode("utf-8", "surrogateescape")
        self.fsdecode = lambda path: path if type(path) is str else path.decode("utf-8", "surrogateescape")

    def __getattr__(self, name):
        if name[:2] == "__":
            raise AttributeError(name)
        if name == "path":
            import posixpath

            sys.modules["os.path"] = self.path = posixpath
            return posixpath
        if name == "environ":  # to read; who sets a variable asks for putenv's, and gets the real one
            self.environ = {self.fsdecode(key): self.fsdecode(posix.environ[key]) for key in posix.environ}
            return self.environ
        if sys.modules.get("os") is self:
            del sys.modules["os"]
        import os

        self.__dict__.update(os.__dict__)
        return getattr(os, name)


def execute(names):
    """Import modules of pyoci that are in the launcher, each after those it needs, without searching."""
    for name in names:
        if name not in sys.modules:
            spec = frozen(name)
            module = type(sys)(name)
            module.__spec__, module.__loader__, module.__file__ = spec, Finder, spec.origin
            module.__package__ = spec.parent
            if spec.submodule_search_locations is not None:
                module.__path__ = spec.submodule_search_locations
            sys.modules[name] = module
            Finder.exec_module(module)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)


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
    sys.modules.setdefault("os", LightOs())
    from _pyoci_orders import ORDERS

    for word in sys.argv[1:]:
        if word in ORDERS:
            execute(ORDERS[word])
            break
    from pyoci.__main__ import main

    status = main(sys.argv[1:])
    if sys.stdout is not None:
        sys.stdout.flush()
    return status
