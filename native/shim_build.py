"""How cffi builds pyoci._shim from native/shim.h and native/shim.c."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

ffibuilder = FFI()
ffibuilder.cdef(re.sub(r"/\*.*?\*/", "", (HERE / "shim.h").read_text(), flags=re.DOTALL))
ffibuilder.set_source(
    "pyoci._shim",
    '#include <stddef.h>\n#include <stdint.h>\n#include "shim.h"',
    sources=["native/shim.c", "native/shim_socket.c", "native/device_filter.c"],
    include_dirs=[str(HERE)],
    extra_compile_args=[
        "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
        "-Wno-missing-field-initializers", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2",
    ],
    extra_link_args=["-Wl,-z,relro,-z,now,-z,noexecstack"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
