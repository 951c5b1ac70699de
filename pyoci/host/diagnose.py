"""Why a program could not be executed: looked up in the container's root after the kernel has said no."""

from __future__ import annotations

import os
from errno import E2BIG, EACCES, ELOOP, ENOENT, ENOEXEC, ENOTDIR
from posixpath import dirname, join
from stat import S_ISDIR, S_ISLNK, S_ISREG

from pyoci._shim import lib
from pyoci.host import executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_IN_ROOT = 0x10 | 0x02  # RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, openat2(2)
_LONGEST = 200  # characters of a name in a message
_DEEPEST_CHAIN = 5  # scripts run by scripts; then the kernel says ELOOP

# The words of runc, by which engines tell a command that isn't there (127) from one that can't be run (126).
NOT_FOUND = "executable file not found in $PATH"


def explain(root: int, name: str, *, cwd: str, error: int, search: Sequence[str] = ()) -> tuple[str, str]:
    """(message, hint) about the program `name`, that the kernel refused with errno `error`.

    root    a descriptor of the container's root directory, as the host sees it
    cwd     the working directory, in the container
    search  the directories of PATH, for a name without a slash

    Only regular files beneath the root are read, a bounded part of each.
    """
    view = _View(root, cwd)
    path = name if "/" in name else _search(view, name, search)
    if not path:
        return _not_found(view, name, search)
    cause, hint = _cause(view, path, error)
    where = f"{_shortened(path)}: " if path != name else ""
    words = os.strerror(error).lower() if error else "it can't be executed"
    return f'exec: "{_shortened(name)}": {where}{words}' + (f": {cause}" if cause else ""), hint


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."


class _View:
    """The container's files, by paths of its own."""

    __slots__ = ("_cwd", "_root")

    def __init__(self, root: int, cwd: str) -> None:
        self._root = root
        self._cwd = cwd

    def open(self, path: str, flags: int = 0) -> int:
        """An O_PATH descriptor. OSError when there is nothing, or the path leads nowhere."""
        where = os.fsencode(join("/", self._cwd, path))
        fd = int(lib.shim_open_beneath(self._root, where, os.O_PATH | os.O_CLOEXEC | flags, 0, _IN_ROOT))
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd), path)
        return fd

    def stat(self, path: str, flags: int = 0) -> os.stat_result | None:
        """The file's status, None when it can't be reached. O_NOFOLLOW: of a link itself."""
        try:
            fd = self.open(path, flags)
        except (OSError, ValueError):
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def link(self, path: str) -> str:
        """Where a symbolic link points, "" for anything else."""
        try:
            fd = self.open(path, os.O_NOFOLLOW)
        except (OSError, ValueError):
            return ""
        try:
            return os.readlink("", dir_fd=fd) if S_ISLNK(os.fstat(fd).st_mode) else ""
        finally:
            os.close(fd)

    def on_noexec(self, path: str) -> bool:
        """Whether the file is on a mount with the option noexec."""
        fd = self.open(path)
        try:
            return bool(os.fstatvfs(fd).f_flag & os.ST_NOEXEC)
        finally:
            os.close(fd)

    def inspect(self, path: str) -> tuple[bytes, executable.Elf | None]:
        """The beginning of a regular file, and its ELF header if it has one."""
        handle = self.open(path)
        try:
            if not S_ISREG(os.fstat(handle).st_mode):
                raise OSError(EACCES, "not a regular file", path)
            fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(handle)
        try:
            head = os.pread(fd, executable.HEAD, 0)
            return head, executable.parse_elf(head, lambda length, offset: os.pread(fd, length, offset))
        finally:
            os.close(fd)


def _search(view: _View, name: str, search: Sequence[str]) -> str:
    """The path at which PATH has the program, or else something of its name; "" if nothing."""
    candidates = [join(directory or ".", name) for directory in search] if name else []
    found = ""
    for path in candidates:
        status = view.stat(path)
        if status and S_ISREG(status.st_mode) and status.st_mode & 0o111:
            return path
        found = found or (path if status else "")
    return found


def _not_found(view: _View, name: str, search: Sequence[str]) -> tuple[str, str]:
    message = f'exec: "{_shortened(name)}": {NOT_FOUND}'
    if not name:
        return message, "args has an empty name"
    for path in (join(directory or ".", name) for directory in search):
        target = view.link(path)
        if target:
            return message, f"{path} is a symbolic link to {target}, which is missing"
    if not search:
        return message, "PATH is empty"
    if not any(view.stat(directory) for directory in search):
        return message, f"none of {':'.join(search)} exists"
    return message, f"looked in {':'.join(search)}"


def _cause(view: _View, path: str, error: int) -> tuple[str, str]:
    """(what is wrong, what would help) with a path; both may be empty."""
    if error == E2BIG:
        return "", "args and env together are too long, or one of them has more than 128 KiB"
    status = view.stat(path)
    if status is None:
        return _missing(view, path, error)
    if S_ISDIR(status.st_mode):
        return "it is a directory", ""
    if not S_ISREG(status.st_mode):
        return "it isn't a regular file", ""
    if error == EACCES:
        return _denied(view, path, status)
    if error in (ENOENT, ENOEXEC, ENOTDIR, ELOOP):
        return _unrunnable(view, path, error)
    return "", ""


def _missing(view: _View, path: str, error: int) -> tuple[str, str]:
    target = view.link(path)
    if target:
        return "", f"it is a symbolic link to {target}, which is missing"
    if error in (ENOENT, ENOTDIR):
        parent = dirname(path)
        while parent not in ("", "/"):
            status = view.stat(parent)
            if status and not S_ISDIR(status.st_mode):
                return "", f"{parent} isn't a directory"
            if status:
                return "", ""
            path, parent = parent, dirname(parent)
        if path.strip("/"):
            return "", f"{_shortened(path)} is missing"
    return "", ""


def _denied(view: _View, path: str, status: os.stat_result) -> tuple[str, str]:
    if not status.st_mode & 0o111:
        return "it isn't executable", f"chmod +x {path}"
    if view.on_noexec(path):
        return "it is on a mount with the option noexec", ""
    try:
        head, elf = view.inspect(path)
    except OSError:
        return "", ""
    interpreter = elf.interpreter if elf else executable.script_interpreter(head)
    if interpreter:
        name = os.fsdecode(interpreter)
        inner = view.stat(name)
        if inner and (not S_ISREG(inner.st_mode) or not inner.st_mode & 0o111):
            return f"its interpreter {name} isn't an executable file", ""
        if inner and view.on_noexec(name):
            return f"its interpreter {name} is on a mount with the option noexec", ""
    return "", "the user may not execute it, or not search a directory on the way to it"


def _unrunnable(view: _View, path: str, error: int) -> tuple[str, str]:
    """Follow the chain of interpreters from a file that exists to what breaks it."""
    subject = "it"
    for _ in range(_DEEPEST_CHAIN + 1):
        try:
            head, elf = view.inspect(path)
        except OSError:
            return "", ""
        if elf:
            return _broken_elf(view, elf, subject)
        interpreter = executable.script_interpreter(head)
        if interpreter is None:
            return _no_program(head, subject) if error == ENOEXEC else ("", "")
        if not interpreter:
            return f"{subject} has a #! line that names no interpreter", ""
        name = os.fsdecode(interpreter)
        if not view.stat(name):
            return _no_interpreter(view, name, subject)
        path, subject = name, f"the interpreter {name}"
    return "its #! lines lead from script to script without an end", ""


def _no_interpreter(view: _View, name: str, subject: str) -> tuple[str, str]:
    shown = name.replace("\r", "^M")
    cause = f"the #! line of {'the file' if subject == 'it' else subject} names {shown}, which is missing"
    if name.endswith("\r"):
        return f"bad interpreter: {cause}", "save it with Unix line ends: its lines end in CR LF"
    target = view.link(name)
    if target:
        return f"bad interpreter: {cause}", f"{name} is a symbolic link to {target}, which is missing"
    return f"bad interpreter: {cause}", ""


def _broken_elf(view: _View, elf: executable.Elf, subject: str) -> tuple[str, str]:
    machine = os.uname().machine
    if elf.foreign:
        return f"{subject} is a program for {elf.name()}, this machine is {machine}", (
            "use an image for this machine, or register an emulator with binfmt_misc"
        )
    if elf.interpreter:
        name = os.fsdecode(elf.interpreter)
        if not view.stat(name):
            return f"{subject} needs the ELF interpreter {name}, which is missing", (
                "add the C library it was linked with, or link it statically"
            )
    if not elf.native:
        return f"{subject} is a program for {elf.name()}, which this kernel may not run", ""
    return "", ""


def _no_program(head: bytes, subject: str) -> tuple[str, str]:
    if not head:
        return f"{subject} is empty", ""
    if head[:4] == b"\x7fELF":
        return f"{subject} is a damaged ELF file", ""
    if b"\0" not in head:
        return (
            f"{subject} is a text file without a #! line",
            "begin it with #! and the path of its interpreter",
        )
    return f"{subject} is in no format that the kernel can execute", ""
