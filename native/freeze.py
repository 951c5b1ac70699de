"""Compiles Python modules into one file of code for the launcher, and a C table that says where each is.

A module from the launcher's own memory costs a tenth of one that is looked for, opened, read and checked.
"""

from __future__ import annotations

import marshal
import sysconfig
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
# What of the standard library every start needs, and the interpreter doesn't have inside.
STARTUP = ("encodings/__init__.py", "encodings/aliases.py", "encodings/utf_8.py", "__future__.py")


def modules(packages: Path) -> dict[str, tuple[Path, str]]:
    """Name of each module to freeze: its source, and the file name that its tracebacks show.

    packages  the directory that has the package pyoci, with all its generated modules
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = {module_name(Path(name)): (library / name, str(library / name)) for name in STARTUP}
    found["_pyoci_bootstrap"] = (NATIVE / "bootstrap.py", "bootstrap.py")
    for source in sorted(packages.glob("pyoci/**/*.py")):
        # Marked, so that Python's own finder of frozen modules, which would take them for parts of the
        # standard library, passes them by; native/bootstrap.py finds them, and makes the file absolute.
        name = source.relative_to(packages)
        found[f"@{module_name(name)}"] = (source, str(name))
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
