"""Makes both sides of the step table: native/executor/steps.h and pyoci/plan/steps.py.

Usage: python native/generate.py [--check]. Its only input is native/steps.toml.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
C_TYPES = {"int": "int64_t", "fd": "int64_t", "str": "struct text", "bytes": "struct text",
           "strs": "struct list", "ids": "struct list"}
PYTHON_TYPES = {"int": "int", "fd": "str", "str": "str", "bytes": "bytes",
                "strs": "Sequence[str]", "ids": "Sequence[int]"}


def render_c(protocol: dict[str, int], steps: dict[str, Any]) -> str:
    """The opcodes, one struct of arguments a step, and the table the decoder checks plans by."""
    lines = [
        "/* Generated from native/steps.toml by native/generate.py: do not edit. */",
        "#pragma once",
        "#include <stdint.h>",
        "",
        f"#define PLAN_MAGIC {protocol['magic']:#x}u",
        f"#define PLAN_VERSION {protocol['version']}u",
        "",
        "/* Offsets are from the start of the plan; a text ends in NUL, which length leaves out. */",
        "struct text { uint32_t offset, length; };",
        "/* strs: `count` struct text at `offset`; ids: `count` uint32_t at `offset`. */",
        "struct list { uint32_t offset, count; };",
        "",
        "enum operation {",
        *(f"    STEP_{name.upper()}," for name in steps),
        "    STEP_COUNT",
        "};",
    ]
    for name, step in steps.items():
        fields = " ".join(f"{C_TYPES[kind]} {field};" for field, kind in step["args"].items())
        lines.append(f"struct step_{name} {{ {fields or 'char none[0];'} }};")
    codes = {"int": "i", "fd": "f", "str": "s", "bytes": "b", "strs": "S", "ids": "I"}
    lines += ["", "/* One letter an argument: i(nt) f(d) s(tr) b(ytes) S(trs) I(ds). */",
              "#define STEP_SIGNATURES { \\"]
    for name, step in steps.items():
        lines.append(f'    [STEP_{name.upper()}] = "{"".join(codes[k] for k in step["args"].values())}", \\')
    lines += ["}", "", "/* The handlers, and the cases of a switch that calls them with `arguments`. */"]
    lines += [f"int run_{name}(const struct step_{name} *args);" for name in steps]
    lines += ["#define STEP_CASES \\"]
    lines += [f"    case STEP_{name.upper()}: return run_{name}(arguments); \\" for name in steps]
    return "\n".join(lines) + "\n\n"


def render_python(protocol: dict[str, int], steps: dict[str, Any]) -> str:
    """A constructor a step, and the table `encode` and `explain` go by."""
    lines = [
        '"""The step vocabulary, generated from native/steps.toml by native/generate.py: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "TYPE_CHECKING = False",
        "if TYPE_CHECKING:",
        "    from collections.abc import Sequence",
        "",
        f"MAGIC = {protocol['magic']:#x}",
        f"VERSION = {protocol['version']}",
        "",
        "",
        "class Step:",
        '    """One thing the executor is asked to do, and the JSON pointer that asked for it."""',
        "",
        '    __slots__ = ("args", "op", "pointer")',
        "",
        "    def __init__(self, op: str, pointer: str, args: tuple[object, ...]) -> None:",
        "        self.op = op",
        "        self.pointer = pointer",
        "        self.args = args",
        "",
        "    def __repr__(self) -> str:",
        '        return f"{self.op}({self.pointer!r}, {self.args!r})"',
        "",
        "",
        "# name -> (opcode, what it says, the names of its arguments, their types)",
        "TABLE: dict[str, tuple[int, str, tuple[str, ...], tuple[str, ...]]] = {",
    ]
    for code, (name, step) in enumerate(steps.items()):
        lines.append(f'    "{name}": ({code}, "{step["says"]}", {tuple(step["args"])!r}, '
                     f'{tuple(step["args"].values())!r}),')
    lines.append("}")
    for name, step in steps.items():
        fields = "".join(f", {field}: {PYTHON_TYPES[kind]}" for field, kind in step["args"].items())
        star = ", *" if fields else ""
        values = "".join(f"{field}, " for field in step["args"])
        says = step["says"][0].upper() + step["says"][1:]
        values = values.rstrip() if len(step["args"]) < 2 else values[:-2]
        lines += ["", "", f"def {name}(pointer: str{star}{fields}) -> Step:", f'    """{says}."""',
                  f'    return Step("{name}", pointer, ({values}))']
    return "\n".join(lines) + "\n"


def main() -> int:
    table = tomllib.loads((ROOT / "native/steps.toml").read_text())
    protocol = table.pop("protocol")
    outputs = {
        ROOT / "native/executor/steps.h": render_c(protocol, table),
        ROOT / "pyoci/plan/steps.py": render_python(protocol, table),
    }
    stale = [path for path, text in outputs.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        return 1 if stale else 0
    for path in stale:
        path.write_text(outputs[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
