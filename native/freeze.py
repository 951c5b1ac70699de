"""Compiles Python modules into one file of code for the launcher, and a C table that says where each is.

A module from the launcher's own memory costs a tenth of one that is looked for, opened, read and checked.
"""

from __future__ import annotations

import ast
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


# The commands that engines call for every container: their modules are executed without a search for each.
HOT = ("create", "delete", "exec", "kill", "run", "start", "state")
# What these import inside of functions, but do so nearly every time.
CREATION = ["pyoci.plan.encode", "pyoci.cgroup.limits", "pyoci.cgroup.devices"]
LATE = {"create": CREATION, "run": [*CREATION, "pyoci.lifecycle.foreground"], "exec": ["pyoci.plan.encode"]}


def imported(tree: ast.Module, name: str, known: set[str]) -> list[str]:
    """The modules among `known` that a module imports when it is executed, packages before their contents."""
    found = [name.rpartition(".")[0]] if "." in name else []
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found += [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
    return [entry for entry in found if entry in known and entry != name]


def order(packages: Path, roots: list[str]) -> list[str]:
    """The modules of pyoci that importing `roots` executes, each after those it needs."""
    sources = {module_name(path.relative_to(packages)): path for path in packages.glob("pyoci/**/*.py")}
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name not in done and name not in above:
            for needed in imported(ast.parse(sources[name].read_text()), name, set(sources)):
                visit(needed, (*above, name))
            done[name] = None

    for root in roots:
        visit(root, ())
    return list(done)


def freeze(packages: Path, blob: Path, table: Path) -> None:
    """Writes the code of all modules to blob, and to table the C source of the list that names them."""
    code = bytearray()
    rows = []
    pieces = {
        name: (compile(source.read_text(), shown, "exec", dont_inherit=True), source.name == "__init__.py")
        for name, (source, shown) in modules(packages).items()
    }
    orders = {
        word: order(packages, ["pyoci.__main__", f"pyoci.cli.{word}", *LATE.get(word, ())]) for word in HOT
    }
    pieces["_pyoci_orders"] = (compile(f"ORDERS = {orders!r}", "_pyoci_orders", "exec"), False)
    for name, (compiled, is_package) in pieces.items():
        piece = marshal.dumps(compiled)
        package = int(is_package)
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
