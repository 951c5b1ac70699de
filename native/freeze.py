"""Compiles Python modules into one file of code for the launcher, and a C table that says where each is.

A module from the launcher's own memory costs a tenth of one that is looked for, opened, read and checked.
"""

from __future__ import annotations

import encodings
import marshal
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
# What every interpreter imports when it starts, site or not, and doesn't have inside.
STARTUP = ("__init__.py", "aliases.py", "utf_8.py")


def modules(packages: Path) -> dict[str, tuple[Path, str]]:
    """Name of each module to freeze: its source, and the file name that its tracebacks show.

    packages  the directory that has the package pyoci, with all its generated modules
    """
    directory = Path(encodings.__file__).parent
    found = {
        module_name(Path("encodings", name)): (directory / name, str(directory / name)) for name in STARTUP
    }
    found["_pyoci_bootstrap"] = (NATIVE / "bootstrap.py", "bootstrap.py")
    for source in sorted(packages.glob("pyoci/**/*.py")):
        # Relative: native/bootstrap.py replaces it by the installed file's name.
        name = source.relative_to(packages)
        found[module_name(name)] = (source, str(name))
    return found


def module_name(file: Path) -> str:
    """The dotted name of a module in a file relative to its entry of sys.path."""
    words = file.with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def freeze(packages: Path, blob: Path, table: Path) -> None:
    """Writes the code of all modules to blob, and to table the C source of the list that names them."""
    code = bytearray()
    rows = []
    for name, (source, shown) in modules(packages).items():
        piece = marshal.dumps(compile(source.read_text(), shown, "exec", dont_inherit=True))
        package = int(source.name == "__init__.py")
        rows.append(f'    {{"{name}", frozen_code + {len(code)}, {len(piece)}, .is_package = {package}}},')
        code += piece
    blob.write_bytes(code)
    table.write_text(
        "\n".join(
            [
                "/* Made by native/freeze.py. */",
                f'__asm__(".section .rodata\\n.balign 16\\nfrozen_code: .incbin \\"{blob}\\"\\n.previous");',
                "extern const unsigned char frozen_code[];",
                "static const struct _frozen frozen_modules[] = {",
                *rows,
                "    {0},",
                "};",
                "",
            ]
        )
    )
