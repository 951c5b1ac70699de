"""Builds what isn't plain Python: generated modules, the executor, the launcher; for setup.py.

Usage: python native/build.py [DIRECTORY]   (`executor` and `launcher` go there; build/native by default)
"""

from __future__ import annotations

import os
import platform
import shutil
import site
import subprocess
import sys
import sysconfig
from distutils.command.build_scripts import build_scripts
from pathlib import Path

from freeze import freeze
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = (ROOT / "native/generate.py", ROOT / "schemas/generate.py")

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
OF_THE_C_LIBRARY = ["-lm", "-ldl", "-lpthread", "-lutil"]
HARDENING = ["-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now,-z,noexecstack"]


def run(*command: str | Path) -> None:
    """Runs a command in the root of the tree. Raises subprocess.CalledProcessError when it fails."""
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


def generate() -> None:
    """Makes the modules and headers that are generated from the step table and the schemas."""
    for generator in GENERATORS:
        run(sys.executable, generator)


def is_older(target: Path, sources: list[Path]) -> bool:
    """Whether target is missing or older than one of its sources (or than this file, which has the flags)."""
    if not target.exists():
        return True
    made = target.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > made for source in [*sources, Path(__file__)])


def musl_command(sources: list[Path]) -> list[str | Path] | None:
    """How musl compiles and links a static, position-independent program; None where there is no musl."""
    compiler = shutil.which("musl-gcc")
    libraries = Path(f"/usr/lib/{platform.machine()}-linux-musl")
    if not compiler or not (libraries / "rcrt1.o").exists():
        return None
    # Debian has the kernel's headers among those of glibc, and musl-gcc by itself knows no static PIE.
    headers = ["/usr/include", f"/usr/include/{platform.machine()}-linux-gnu"]
    seen = [word for directory in headers for word in ("-idirafter", directory)]
    link = ["-static", "-nostartfiles", "-Wl,-pie,--no-dynamic-linker,-z,text"]
    return [
        compiler,
        *seen,
        *link,
        libraries / "rcrt1.o",
        libraries / "crti.o",
        *sources,
        libraries / "crtn.o",
    ]


def build_executor(target: Path) -> None:
    """Compiles the static executor: with musl where it is, which makes it smaller, else with glibc."""
    sources = sorted((ROOT / "native/executor").glob("*.c"))
    if not is_older(target, [*sources, *(ROOT / "native/executor").glob("*.h")]):
        return
    command = musl_command(sources) or [os.environ.get("CC", "cc"), "-static-pie", *sources]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Os", "-fPIE", "-s", "-Wl,--gc-sections", *WARNINGS, *HARDENING]
    run(*command, *flags, "-o", target)


def c_text(text: str) -> str:
    """A text as a C string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def launcher_config() -> str:
    """The header that tells the launcher where the interpreter that builds it lives."""
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    stdlib = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})
    executable = os.path.realpath(sys.executable)
    packages = dict.fromkeys(site.getsitepackages([sys.base_prefix, *base.values()]))
    return "\n".join(
        [
            "/* Made by native/build.py for the Python it ran under. */",
            f"#define PYTHON_VERSION {c_text(sysconfig.get_python_version())}",
            f"#define EXECUTABLE {c_text(executable)}",
            f"#define PYTHON_PREFIX {c_text(sys.base_prefix)}",
            f"#define PYTHON_EXEC_PREFIX {c_text(sys.base_exec_prefix)}",
            f"#define STDLIB {c_text(stdlib)}",
            f"#define DYNAMIC_LIBRARIES {c_text(sysconfig.get_config_var('DESTSHARED'))}",
            f"#define SYSTEM_PACKAGES {', '.join([*map(c_text, packages), '(void *)0'])}",
            "",
        ]
    )


def ways_to_python() -> dict[str, list[str]]:
    """The ways for the launcher to have this interpreter, best first, each with its compiler options."""
    include = ["-DEMBED", f"-I{sysconfig.get_path('include')}"]
    # Not position-independent: relocating the interpreter's tables would cost a page fault each.
    program = ["-no-pie", "-Wl,--export-dynamic", "-s"]
    version = sysconfig.get_config_var("LDVERSION")
    archive = Path(sysconfig.get_config_var("LIBPL"), f"libpython{version}.a")
    names = " ".join(str(sysconfig.get_config_var(name) or "") for name in ("LIBS", "SYSLIBS", "MODLIBS"))
    libraries = list(dict.fromkeys(word for word in names.split() if word.startswith("-l")))
    ours = [word for word in libraries if word not in OF_THE_C_LIBRARY]
    directory = sysconfig.get_config_var("LIBDIR")
    ways = {}
    if archive.exists():
        whole = [*include, *program, str(archive)]
        # Each shared library that the dynamic linker doesn't have to find is a tenth of a millisecond.
        ways["linked in"] = [*whole, "-Wl,-Bstatic", *ours, "-Wl,-Bdynamic", *OF_THE_C_LIBRARY]
        ways["linked in with shared libraries"] = [*whole, *ours, *OF_THE_C_LIBRARY]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        ways["shared"] = [
            *include,
            *program,
            f"-L{directory}",
            f"-Wl,-rpath,{directory}",
            f"-lpython{version}",
        ]
    return {**ways, "executed": []}


def build_launcher(target: Path, packages: Path, ways: dict[str, list[str]]) -> None:
    """Compiles the launcher, with the modules in packages, in the first of the ways that links here."""
    (target.parent / "launcher_config.h").write_text(launcher_config())
    freeze(packages, target.parent / "frozen_modules.bin", target.parent / "frozen_modules.h")
    for way, options in ways.items():
        compiler = [
            os.environ.get("CC", "cc"),
            "-std=gnu11",
            "-O2",
            *WARNINGS,
            *HARDENING,
            f"-I{target.parent}",
        ]
        command = [*compiler, str(ROOT / "native/launcher.c"), *options, "-o", str(target)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode == 0:
            print(f"launcher: Python {sysconfig.get_python_version()} is {way}")
            return
        print(f"launcher: Python can't be {way}:\n{result.stderr}", file=sys.stderr)
    raise SystemExit("native/build.py: the launcher does not compile")


class BuildModules(build_py):
    """Python modules, those generated too, and the executor beside them."""

    def run(self) -> None:
        generate()
        # A module that is gone from the tree must not live on in a wheel.
        shutil.rmtree(Path(self.build_lib, "pyoci"), ignore_errors=True)
        super().run()
        work = native_directory(self)
        build_executor(work / "executor")
        shutil.copy2(work / "executor", Path(self.build_lib, "pyoci", "_executor"))


class BuildLauncher(build_scripts):
    """bin/pyoci, a program rather than a script."""

    def get_source_files(self) -> list[str]:
        return ["native/launcher.c"]

    def run(self) -> None:
        launcher = native_directory(self) / "launcher"
        packages = Path(self.get_finalized_command("build").build_lib).resolve()
        build_launcher(launcher, packages, ways_to_python())
        self.mkpath(self.build_dir)
        shutil.copy2(launcher, Path(self.build_dir, "pyoci"))


def native_directory(command: build_py | build_scripts) -> Path:
    """Where compiled programs are kept from one build to the next."""
    directory = Path(command.get_finalized_command("build").build_temp).resolve() / "native"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


COMMANDS = {"build_py": BuildModules, "build_scripts": BuildLauncher}

if __name__ == "__main__":
    destination = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/native").resolve()
    destination.mkdir(parents=True, exist_ok=True)
    generate()
    build_executor(destination / "executor")
    build_launcher(destination / "launcher", ROOT, ways_to_python())
