"""Loads a bundle: its configuration, read and checked, and where its root filesystem is."""

from __future__ import annotations

import os

from pyoci.bundle import document, rules, schema
from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Bundle:
    """A bundle whose configuration is valid.

    path      the bundle's directory, absolute
    config    config.json's content
    raw       config.json's bytes
    rootfs    the root filesystem's directory, absolute and without symbolic links
    warnings  sentences for the log
    """

    __slots__ = ("config", "path", "raw", "rootfs", "warnings")

    def __init__(
        self, path: str, config: dict[str, Any], raw: bytes, rootfs: str, warnings: list[str]
    ) -> None:
        self.path = path
        self.config = config
        self.raw = raw
        self.rootfs = rootfs
        self.warnings = warnings


def load(directory: str, config_name: str = "config.json") -> Bundle:
    """Read and check the bundle in a directory.

    Errors: not-found and permission for the files, invalid-config for what is in them.
    """
    path = os.path.abspath(directory)
    try:
        path.encode()
    except UnicodeEncodeError:  # neither the state's JSON nor what hooks read could hold it
        raise Error(f"the bundle's path {path!a} isn't UTF-8; one in UTF-8 would do", code="usage") from None
    raw = _read(path, config_name)
    config = document.parse(raw, config_name)
    warnings = schema.check(config)
    warnings += rules.check(config)
    return Bundle(path, config, raw, _rootfs(path, config["root"]["path"]), warnings)


def _read(path: str, config_name: str) -> bytes:
    try:
        descriptor = os.open(os.path.join(path, config_name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            parts = [os.read(descriptor, size + 1)]
            while parts[-1]:  # a pipe says no size, and any read may be short
                parts.append(os.read(descriptor, 65536))
            return b"".join(parts)
        finally:
            os.close(descriptor)
    except OSError as error:
        _refuse(path, config_name, error)


def _refuse(path: str, config_name: str, error: OSError) -> NoReturn:
    number = error.errno or 0
    if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
        raise Error(
            f"the bundle directory {path} doesn't exist: no such file or directory",
            code="not-found",
            errno=number,
        ) from None
    if isinstance(error, NotADirectoryError) or (
        isinstance(error, FileNotFoundError) and not os.path.isdir(path)
    ):
        raise Error(f"the bundle {path} is not a directory", code="not-found", errno=number) from None
    if isinstance(error, FileNotFoundError):
        raise Error(
            f"no {config_name} in {path}: no such file or directory",
            code="not-found",
            errno=number,
            hint="pyoci spec writes one",
        ) from None
    code = "permission" if isinstance(error, PermissionError) else "kernel"
    raise Error(
        f"{os.path.join(path, config_name)} can't be read: {os.strerror(number).lower()}",
        code=code,
        errno=number,
    ) from None


def _rootfs(path: str, root: str) -> str:
    """The directory that root.path leads to. Unlike runc, symbolic links are followed."""
    rootfs = os.path.realpath(os.path.join(path, root))
    try:
        descriptor = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        number = error.errno or 0
        raise Error(
            f"the root filesystem {rootfs} can't be opened: {os.strerror(number).lower()}",
            code="permission" if isinstance(error, PermissionError) else "not-found",
            pointer="/root/path",
            errno=number,
        ) from None
    os.close(descriptor)
    return rootfs
