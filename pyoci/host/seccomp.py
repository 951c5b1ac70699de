"""The container's seccomp filter: taken from the cache, or compiled and put there.

On the way of every start with a profile: the compiler (seccomp_profile, libseccomp, cffi) is
imported on a miss only.
"""

from __future__ import annotations

import os
from _blake2 import blake2b
from stat import S_ISREG

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# SECCOMP_FILTER_FLAG_* of linux/seccomp.h
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
NEW_LISTENER = 8

# crun's annotations: unknown names are an error; a program in base64 stands for the whole section.
STRICT = "run.oci.seccomp_fail_unknown_syscall"
RAW = "run.oci.seccomp_bpf_data"

_SCHEME = b"pyoci seccomp 3\n"  # changes with the format of a cache file and with what compiling means
_DIGEST = 32
_MAX_PROGRAM = 4096 * 8  # BPF_MAXINSNS instructions
_MAX_FILE = _MAX_PROGRAM + (64 << 10)
_MAX_FILES = 64
_WRITABLE_BY_OTHERS = 0o022


class Filter:
    """What seccomp(2) is to be given.

    program   instructions (struct sock_filter), native byte order, a multiple of 8 bytes
    flags     SECCOMP_FILTER_FLAG_*
    listener  the filter notifies: seccomp(2) will return a listener's descriptor
    warnings  what of the profile had to be left out, each with its JSON pointer
    pointer   JSON pointer of the property that asked for it
    """

    __slots__ = ("flags", "listener", "pointer", "program", "warnings")

    def __init__(
        self, program: bytes, flags: int, listener: bool, warnings: list[str], pointer: str = "/linux/seccomp"
    ) -> None:
        self.program = program
        self.flags = flags
        self.listener = listener
        self.warnings = warnings
        self.pointer = pointer


def of_config(config: Mapping[str, Any], cache_dir: str) -> Filter | None:
    """The filter that a container's configuration asks for, by linux.seccomp or by annotation, or None."""
    section = (config.get("linux") or {}).get("seccomp")
    annotations = config.get("annotations") or {}
    if RAW in annotations:
        from pyoci.host.seccomp_raw import decode

        pointer = f"/annotations/{RAW}"
        replaced = [f"{pointer}: its program is loaded in the place of /linux/seccomp"] if section else []
        return Filter(decode(annotations[RAW], pointer), _flags(None, False), False, replaced, pointer)
    return compile(section, cache_dir, strict=STRICT in annotations) if section else None


def compile(section: Mapping[str, Any], cache_dir: str | None, *, strict: bool = False) -> Filter:
    """The filter of linux.seccomp, valid against the schema; cached below `cache_dir` unless None.

    strict  the name of a system call that libseccomp doesn't know is an error, and not left out

    Raises Error, whose pointer names the property that is wrong or can't be done here.
    """
    listener = any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in section.get("syscalls") or ())
    if listener and not section.get("listenerPath"):
        raise Error(
            "SCMP_ACT_NOTIFY needs a listenerPath, someone to notify",
            code="invalid-config",
            pointer="/linux/seccomp/listenerPath",
        )
    flags = _flags(section.get("flags"), listener)
    library, identity = find_library()
    directory = _open_cache(cache_dir) if cache_dir and identity else -1
    try:
        key = _key(section, identity, strict)
        cached = _load(directory, key) if directory >= 0 else None
        if cached is None:
            cached = _compile(section, library, strict)
            if directory >= 0:
                _store(directory, key, *cached)
    finally:
        if directory >= 0:
            os.close(directory)
    return Filter(cached[0], flags, listener, cached[1])


def find_library() -> tuple[str, str]:
    """The path of libseccomp.so.2 and what tells this build of it from any other.

    Found by looking where distributions put it: loading the library to ask for its version would
    cost more than the cache saves. Elsewhere the dynamic linker may find it: then the second is
    empty, and nothing is cached.
    """
    machine = os.uname().machine
    for directory in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib"):
        path = f"{directory}/libseccomp.so.2"
        try:
            status = os.stat(path)
        except OSError:
            continue
        return path, f"{path} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return "libseccomp.so.2", ""


def _flags(names: list[str] | None, listener: bool) -> int:
    """The flags for seccomp(2). SPEC_ALLOW when config.json says nothing: what runc and crun do.

    An empty list means none. The kernel refuses WAIT_KILLABLE_RECV without a listener, where it has
    no meaning. TSYNC has one thread to reach, and with a listener it must not reach the second,
    which hands the listener over.
    """
    flags = 0
    for index, name in enumerate(("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if names is None else names):
        if name not in FLAGS:
            raise Error(
                f"{name!r} is not a seccomp flag",
                code="invalid-config",
                pointer=f"/linux/seccomp/flags/{index}",
            )
        flags |= FLAGS[name]
    if listener:
        return flags & ~FLAGS["SECCOMP_FILTER_FLAG_TSYNC"] | NEW_LISTENER
    return flags & ~FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]


def _compile(section: Mapping[str, Any], library: str, strict: bool) -> tuple[bytes, list[str]]:
    from pyoci.host.libseccomp import Library
    from pyoci.host.seccomp_profile import translate

    return translate(section, Library(library), strict)


def _key(section: Mapping[str, Any], identity: str, strict: bool) -> bytes:
    """A name for all that the program depends on: the profile, the library, the kernel, this code."""
    system = os.uname()
    canonical = repr((
        system.machine, system.release, identity, strict,
        section["defaultAction"], section.get("defaultErrnoRet"), section.get("architectures") or [],
        [(rule["names"], rule["action"], rule.get("errnoRet"),
          [(arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)) for arg in rule.get("args") or ()])
         for rule in section.get("syscalls") or ()],
    ))  # fmt: skip
    return blake2b(_SCHEME + canonical.encode(), digest_size=_DIGEST).digest()


def _trusted(status: os.stat_result) -> bool:
    """Whether nobody but us can have written it. A forged filter would be no filter at all."""
    return status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS


def _open_cache(path: str) -> int:
    """The cache's directory, made when missing; -1 when it can't be had or isn't ours alone."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            directory = os.open(path, flags)
        except FileNotFoundError:
            _make_directories(path)
            directory = os.open(path, flags)
    except OSError:
        return -1
    if _trusted(os.fstat(directory)):
        return directory
    os.close(directory)
    return -1


def _make_directories(path: str) -> None:
    """As os.makedirs, but with parents that are private too."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        _make_directories(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        return  # another pyoci was faster


def _checksum(key: bytes, body: bytes) -> bytes:
    return blake2b(body, key=key, digest_size=_DIGEST).digest()


def _load(directory: int, key: bytes) -> tuple[bytes, list[str]] | None:
    """The program and the warnings kept under `key`, or None when there is nothing that can be trusted.

    A file is the scheme, a checksum, the program's length in 4 bytes, the program, the warnings.
    """
    try:
        fd = os.open(key.hex(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode) or not _trusted(status) or status.st_size > _MAX_FILE:
            return None
        content = os.read(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)
    body = content[len(_SCHEME) + _DIGEST :]
    if content[: len(_SCHEME) + _DIGEST] != _SCHEME + _checksum(key, body):
        return None
    length = int.from_bytes(body[:4], "little")
    program, warnings = body[4 : 4 + length], body[4 + length :]
    if length % 8 or not 0 < length <= _MAX_PROGRAM or len(program) != length:
        return None
    return program, warnings.decode().split("\0") if warnings else []


def _store(directory: int, key: bytes, program: bytes, warnings: list[str]) -> None:
    """Keep a compiled filter, replacing whatever has its name; in vain where that isn't possible."""
    body = len(program).to_bytes(4, "little") + program + "\0".join(warnings).encode(errors="replace")
    content = _SCHEME + _checksum(key, body) + body
    if len(content) > _MAX_FILE:
        return
    temporary = f".{key.hex()}.{os.getpid()}"
    try:
        _make_room(directory)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            complete = os.write(fd, content) == len(content)
        finally:
            os.close(fd)
        if complete:
            os.rename(temporary, key.hex(), src_dir_fd=directory, dst_dir_fd=directory)
        else:
            os.unlink(temporary, dir_fd=directory)
    except OSError:
        return


def _make_room(directory: int) -> None:
    """Remove the oldest files, and what killed writers left, once there are as many as we keep."""
    names = os.listdir(directory)
    if len(names) < _MAX_FILES:
        return
    aged = sorted((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime, name) for name in names)
    for _, name in aged[: len(aged) - _MAX_FILES + 1]:
        os.unlink(name, dir_fd=directory)
