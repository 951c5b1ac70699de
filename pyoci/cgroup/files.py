"""Reading, writing, making and removing below a cgroup mount, with errors that say what was refused."""

from __future__ import annotations

import os
from errno import EACCES, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS
from stat import S_IRWXU

from pyoci.errors import Error
from pyoci.host import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/linux/cgroupsPath"


def failure(error: OSError, what: str, pointer: str = PATH) -> Error:
    """An Error for a refusal: `what` says what was tried, in words that end before the reason."""
    code = "permission" if error.errno in (EACCES, EPERM, EROFS) else "kernel"
    reason = (error.strerror or "").lower()
    return Error(f"{what}: {reason}", code=code, pointer=pointer, errno=error.errno or 0)


def write(path: str, value: str, within: int | None = None) -> None:
    """One write(2), which is what makes it one request to the kernel. OSError as the kernel gave it.

    within  the directory that the path begins at, open
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=within)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    """A file's text without the newline at its end. OSError as the kernel gave it, but for a cgroup that
    is removed meanwhile, as systemd does: for that file it says ENODEV, and here it is not found."""
    try:
        return procfs.read(path).decode(errors="surrogateescape").rstrip("\n")
    except OSError as error:
        if error.errno == ENODEV:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path) from None
        raise


def read_or_nothing(path: str) -> str:
    """A file's text, "" where it doesn't exist or the kernel doesn't fill it (as without PSI)."""
    try:
        return read(path)
    except OSError as error:
        if error.errno in (ENOENT, EOPNOTSUPP):
            return ""
        raise failure(error, f"reading {path}") from None


def huge_page_sizes() -> list[str]:
    """The sizes of huge pages that this machine has, as the names of hugetlb's files have them: 2MB."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except FileNotFoundError:
        return []
    sizes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return [
        f"{size >> 20}GB" if size >= 1 << 20 else f"{size >> 10}MB" if size >= 1 << 10 else f"{size}KB"
        for size in sizes
    ]


def exists(path: str, within: int | None = None) -> bool:
    return os.access(path, os.F_OK, dir_fd=within)


def children(directory: str) -> list[str]:
    """The cgroups directly below one, by path; none when it is gone."""
    entered = _enter(directory, None)
    if entered is None:
        return []
    os.close(entered[0])
    return [f"{directory}/{name}" for name in entered[1]]


def tree(directory: str, ours: bool = False) -> Iterator[tuple[str, int | None]]:
    """A cgroup and all below it, each after those below it: its name, and a descriptor of the directory
    that the name begins at (None: as any path), open until the next is asked for.

    Containers nest cgroups deeper than Python recurses, than a path may be long and than files may be open.
    So there is one directory open at a time; up again leads "..", as no cgroup is ever moved elsewhere.

    ours  whether to open those up that somebody without rights has closed to himself, as a container may
    """
    entered = _enter(directory, None, ours)
    if entered is None:
        yield directory, None
        return
    here, names = entered
    way, unseen = [directory], [names]  # down to `here`; the names in each on it that are still to be seen
    try:
        while True:
            if unseen[-1]:
                name = unseen[-1].pop()
                entered = _enter(name, here, ours)
                if entered is None:
                    yield name, here
                    continue
                os.close(here)
                here, names = entered
                way.append(name)
                unseen.append(names)
            elif len(way) > 1:
                above = os.open("..", _DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                unseen.pop()
                yield way.pop(), here
            else:
                break
    finally:
        os.close(here)
    yield directory, None


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def _enter(name: str, within: int | None, ours: bool = False) -> tuple[int, list[str]] | None:
    """Opens a cgroup, for the names of those directly below it; None if there are none, or none are shown."""
    try:
        found = os.stat(name, dir_fd=within)
        if ours and found.st_mode & S_IRWXU != S_IRWXU and found.st_uid == os.geteuid() != 0:
            os.chmod(name, 0o755, dir_fd=within)
        # kernfs counts subdirectories exactly, and reading a cgroup's many file names takes long.
        if found.st_nlink == 2:
            return None
        descriptor = os.open(name, _DIRECTORY, dir_fd=within)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        with os.scandir(descriptor) as entries:
            return descriptor, [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except BaseException:
        os.close(descriptor)
        raise


def own_processes(directory: str, within: int | None = None) -> list[int]:
    """The processes that are in this very cgroup, which tree() has named; none when it is gone."""
    try:
        return [int(word) for word in procfs.read(f"{directory}/cgroup.procs", within).split()]
    except OSError as error:
        # A threaded cgroup's processes are listed by the domain above it. ENODEV: removed while it was read,
        # though its directory may be there for a moment longer.
        if error.errno in (EOPNOTSUPP, ENODEV) or not exists(directory, within):
            return []
        if error.errno == EACCES and within is not None:
            return []  # another user's, to whom the container's root has given it
        raise failure(error, f"reading {directory}/cgroup.procs") from None


def processes(directory: str) -> list[int]:
    """The processes in a cgroup and in all below it, ascending."""
    found: set[int] = set()
    for name, within in tree(directory, ours=True):
        found.update(own_processes(name, within))
    found.discard(0)
    return sorted(found)
