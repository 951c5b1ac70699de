"""What is installed is what is in the tree, whole, and built as a thing that runs as root should be."""

from __future__ import annotations

import re
import struct
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

from support.containers import PYOCI, REPOSITORY

INSTALLED = Path(sysconfig.get_path("platlib"), "pyoci")
DOCUMENT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 3, 0x6474E551, 0x6474E552
ET_EXEC, ET_DYN = 2, 3


def elf(path: Path) -> tuple[int, dict[int, int]]:
    """An ELF64 file's type, and the flags of each kind of program header; see elf(5)."""
    image = path.read_bytes()
    assert image[:5] == b"\x7fELF\x02", f"{path} is not an ELF64 file"
    kind = struct.unpack_from("<H", image, 16)[0]
    offset, size, count = struct.unpack_from("<Q14xHH", image, 32)
    headers = [struct.unpack_from("<II", image, offset + number * size) for number in range(count)]
    return kind, dict(headers)


def test_tests_use_the_installed_package() -> None:
    import pyoci

    assert Path(pyoci.__file__).parent == INSTALLED


@pytest.mark.parametrize("suffix", [".py", ".json"])
def test_every_file_of_the_tree_is_installed(suffix: str) -> None:
    in_tree = {path.relative_to(REPOSITORY / "pyoci") for path in (REPOSITORY / "pyoci").rglob(f"*{suffix}")}
    installed = {path.relative_to(INSTALLED) for path in INSTALLED.rglob(f"*{suffix}")}
    assert in_tree - installed == set()
    assert {path.name for path in installed - in_tree} <= {"_libseccomp.py", "steps.py", "validator.py"}


def test_every_directory_is_a_package() -> None:
    """A namespace package would be looked for on the file system at every start."""
    bare = [path.parent for path in INSTALLED.rglob("*.py") if not (path.parent / "__init__.py").exists()]
    assert bare == []


def test_executor_is_static_and_hardened() -> None:
    kind, headers = elf(INSTALLED / "_executor")
    assert kind == ET_DYN, "not position-independent"
    assert PT_INTERP not in headers, "not static"
    assert headers[PT_GNU_STACK] & 1 == 0, "executable stack"
    assert PT_GNU_RELRO in headers
    assert (INSTALLED / "_executor").stat().st_size < 200 << 10


def test_shim_has_no_executable_stack() -> None:
    [shim] = INSTALLED.glob("_shim*.so")
    _, headers = elf(shim)
    assert headers[PT_GNU_STACK] & 1 == 0
    assert PT_GNU_RELRO in headers


def test_command_is_a_native_program() -> None:
    kind, headers = elf(Path(PYOCI))
    assert kind in (ET_EXEC, ET_DYN)
    assert headers[PT_GNU_STACK] & 1 == 0
    assert Path(PYOCI).stat().st_mode & 0o7777 == 0o755


def test_versions_agree() -> None:
    said = subprocess.run([PYOCI, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == f"pyoci version {DOCUMENT['project']['version']}"


def test_launcher_knows_every_global_flag_that_takes_a_value() -> None:
    """It has to step over the values to find the command."""
    from pyoci.cli.arguments import SWITCH
    from pyoci.cli.commands import GLOBAL_FLAGS

    source = (REPOSITORY / "native/launcher.c").read_text()
    [array] = re.findall(r"valued\[\] = \{(.*?)\}", source, re.DOTALL)
    in_launcher = set(re.findall(r'"--([a-z-]+)"', array))
    assert in_launcher == {name for name, _, kind, *_ in GLOBAL_FLAGS if kind != SWITCH}


def test_licence_is_apache() -> None:
    assert DOCUMENT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text()
