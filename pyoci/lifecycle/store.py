"""The state directory: one directory a container, its state file, and its lock.

    ROOT/ID/state.json   what pyoci knows; replaced as a whole, so that readers need no lock
    ROOT/ID/config.json  the configuration as it was at create, with what update has changed: later edits
                         of the bundle's have no effect
    ROOT/ID/update.undo  how to take back what an update has changed so far (interrupted.py)
    ROOT/ID/start        the socket at which a created container waits

The lock is flock(2) on the directory itself: it goes with the process that holds it.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EDQUOT, ENOENT, ENOSPC, ENOTDIR
from time import monotonic, sleep

from pyoci import SPEC_VERSION
from pyoci.bundle import document
from pyoci.errors import Error
from pyoci.host import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK_SECONDS = 30.0
_MAKE_ROOM = "make room there, or give another directory by --root"
MODE = 0o711  # of directories: whoever is in the container comes through
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def _try_lock(directory: int) -> bool:
    """Lock a directory unless somebody else has it locked. (Imported here: `state` needs no lock.)"""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(directory, LOCK_EX | LOCK_NB)
        return True
    except OSError as error:
        if error.errno != EAGAIN:
            raise
        return False


def check_id(container_id: str) -> None:
    """Refuse what can't be, or mustn't become, the name of a directory."""
    if not container_id or container_id in (".", "..") or not _ALLOWED.issuperset(container_id):
        raise Error(
            f"{_shortened(container_id)!r} is an invalid container ID",
            code="usage",
            hint="letters, digits, '_', '+', '-' and '.' make one; '.' and '..' are none",
        )
    if len(container_id) > 255:
        raise Error(
            f"the container ID {_shortened(container_id)!r} has {len(container_id)} characters",
            code="usage",
            hint="at most 255 make a file name",
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 64 else text[:61] + "..."


class Container:
    """One container's directory, open, and its state.

    state keys: version, id, bundle, rootfs, created (RFC 3339), owner, annotations, ociVersion,
    phase (creating, created, running), pid and start_time (clock ticks after boot, both 0 until
    the process is there), boot (boot id), cgroup (Manager.record()), hooks, keyring (whether it has a
    session keyring of its own), net_devices (net_devices.look()), notify (the caller's NOTIFY_SOCKET
    or ""), resctrl (resctrl.Group.record() or None)
    """

    __slots__ = ("descriptor", "id", "path", "state")

    def __init__(self, path: str, container_id: str, descriptor: int, state: dict[str, Any]) -> None:
        self.path = path
        self.id = container_id
        self.descriptor = descriptor
        self.state = state

    def close(self) -> None:
        """Close the directory, and with it give the lock back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def encoded(self) -> bytes:
        """The state as its file holds it."""
        return document.dump(self.state, 0).encode()

    def save(self) -> None:
        """Replace the state file; a reader sees the old one or the new one."""
        self.replace("state.json", self.encoded())

    def save_config(self, config: dict[str, Any]) -> None:
        """Replace the saved configuration in the same way."""
        self.replace("config.json", document.dump(config, 0).encode())

    def replace(self, name: str, data: bytes) -> None:
        """Replace any file in the same way, or make it. Error: it is as it was."""
        self.prepare(name, data)
        self.put_in_place(name)

    def prepare(self, name: str, data: bytes) -> None:
        """Write what put_in_place() makes the file; Error if there is no room for it."""
        try:
            self.write_new(f"{name}.new", data)
        except Error:
            self.discard(f"{name}.new")
            raise

    def put_in_place(self, name: str) -> None:
        """Replace a file by the one prepared, which takes no further room."""
        os.rename(f"{name}.new", name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def prepare_phase(self, phase: str) -> None:
        """Write the state with another phase; put_in_place("state.json") makes it the container's."""
        self.prepare("state.json", document.dump({**self.state, "phase": phase}, 0).encode())

    def discard(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return

    def write_new(self, name: str, data: bytes) -> None:
        """Write a file that nobody reads yet. Error, with a part of it left, if it can't be written."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=self.descriptor)
            try:
                # A file system that gets full takes what there is room for, and refuses the rest.
                while data:
                    data = data[os.write(descriptor, data) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritten(f"{self.path}/{name.removesuffix('.new')}", error) from None

    def read(self, name: str) -> bytes:
        return _read(name, self.descriptor)

    def config(self) -> dict[str, Any]:
        """The configuration as it was when the container was created."""
        parsed = document.parse(self.read("config.json"), self.path + "/config.json")
        assert isinstance(parsed, dict)
        return parsed

    def alive(self) -> bool:
        """Whether the first process is still the one that was started: same boot, same start time."""
        pid = self.state.get("pid") or 0
        if not pid or self.state.get("boot") != procfs.boot_id():
            return False
        return procfs.is_alive(pid, self.state["start_time"])

    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md#state), as things are now."""
        phase: str = self.state["phase"]
        if phase == "creating" and not self.state.get("pid"):
            return "creating" if is_locked(self.path) else "stopped"
        if not self.alive():
            return "stopped"
        if phase != "creating" and self._frozen():
            return "paused"
        return phase

    def _frozen(self) -> bool:
        from pyoci.cgroup import manager

        return manager.load(self.state["cgroup"]).frozen()

    def lock(self) -> None:
        """Keep every other operation that changes this container out, until close()."""
        deadline = monotonic() + LOCK_SECONDS
        while True:
            if _try_lock(self.descriptor):
                return
            if monotonic() > deadline:
                raise Error(
                    f"another operation has kept container {self.id} locked for {LOCK_SECONDS:.0f} s",
                    code="busy",
                    hint="look for a pyoci process that waits for a hook",
                )
            sleep(0.005)

    def remove(self) -> None:
        """Remove the directory and what pyoci put into it."""
        remove_files(self.descriptor)
        os.rmdir(self.path)


def is_locked(path: str) -> bool:
    """Whether somebody works on a container: a creation without a creator will never be finished."""
    probe = open_directory(path)
    try:
        return not _try_lock(probe)
    finally:
        os.close(probe)


def remove_files(directory: int) -> None:
    """Remove everything in a container's directory.

    The container may have got at a part of it, if it may mount: no link is followed, and what is further down
    is moved up first, however deep it was.
    """
    left, moved = os.listdir(directory), 0
    free = max(left, default="")  # whatever begins so and goes on is no name that is there
    while left:
        name = left.pop()
        try:
            os.unlink(name, dir_fd=directory)
            continue
        except IsADirectoryError:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            for below in os.listdir(inner):
                moved += 1
                left.append(f"{free}.{moved}")
                os.rename(below, left[-1], src_dir_fd=inner, dst_dir_fd=directory)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=directory)


def hook_state(state: dict[str, Any], status: str, pid: int) -> dict[str, Any]:
    """What a hook reads on stdin (runtime.md#state)."""
    result = {
        "ociVersion": SPEC_VERSION,
        "id": state["id"],
        "status": status,
        "bundle": state["bundle"],
        "annotations": state["annotations"],
    }
    if pid:
        result["pid"] = pid
    return result


def claim(root: str, container_id: str) -> Container:
    """Make and lock the directory of a new container; the ID is taken from here on."""
    check_id(container_id)
    path = f"{root}/{container_id}"
    try:
        try:
            os.mkdir(path, MODE)
        except FileNotFoundError:
            _make_root(root)
            os.mkdir(path, MODE)
    except FileExistsError:
        raise Error(
            f"container with id {container_id} already exists: its state is in {path}",
            code="exists",
            hint=f"choose another id, or pyoci delete {container_id}",
        ) from None
    except OSError as error:
        raise _no_access(root, error) from None
    container = Container(path, container_id, open_directory(path), {})
    container.lock()
    return container


def _make_root(root: str) -> None:
    os.makedirs(root, MODE, exist_ok=True)
    if _is_login_s(root):
        # There whoever cleans up spares what has this bit (XDG Base Directory Specification).
        os.chmod(root, 0o1711)


def _is_login_s(path: str) -> bool:
    """Whether a path is below the directory that a login gives its user."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime_dir) and path.startswith(f"{runtime_dir}/")


def load(root: str, container_id: str, *, lock: bool = False) -> Container:
    """An existing container; with `lock`, no other operation changes it meanwhile."""
    check_id(container_id)
    path = f"{root}/{container_id}"
    while True:
        try:
            container = Container(path, container_id, open_directory(path), {})
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR):
                raise _missing(root, container_id) from None
            raise _no_access(path, error) from None
        try:
            if lock:
                container.lock()
                if not is_at(path, container.descriptor):
                    # It was deleted while we waited, and perhaps made anew: look again.
                    container.close()
                    continue
            container.state = _parse(container)
            return container
        except BaseException:
            container.close()
            raise


def _parse(container: Container) -> dict[str, Any]:
    try:
        data = container.read("state.json")
    except FileNotFoundError:
        data = b""
    if not data:  # the first state isn't moved into its place: then there was nothing to lose yet
        raise Error(
            f"container {container.id} has no state: its creation was interrupted",
            code="not-found",
            hint=f"pyoci delete --force {container.id} removes what is left",
        )
    state = document.parse(data, container.path + "/state.json")
    assert isinstance(state, dict)
    return state


def identifiers(root: str) -> list[str]:
    """The names of all containers, sorted; none where the root doesn't exist."""
    try:
        return sorted(
            entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _no_access(root, error) from None


def open_directory(path: str) -> int:
    """A descriptor of a directory, of no link to one. OSError as the kernel gave it."""
    return os.open(path, _DIRECTORY)


def is_at(path: str, descriptor: int) -> bool:
    """Whether a path leads to what is open: it may have been removed since, and made anew."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(name: str, directory: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _missing(root: str, container_id: str) -> Error:
    return Error(
        f"container {_shortened(container_id)} does not exist in {root}",
        code="not-found",
        hint="pyoci list shows those that do",
    )


def unwritten(path: str, error: OSError) -> Error:
    """The Error for a path of the state directory that can't be written, with what would help."""
    return Error(
        f"can't write {path}: {os.strerror(error.errno or 0).lower()}",
        errno=error.errno or 0,
        hint=_MAKE_ROOM if error.errno in (ENOSPC, EDQUOT) else "",
    )


def _no_access(path: str, error: OSError) -> Error:
    full = error.errno in (ENOSPC, EDQUOT)
    return Error(
        f"can't use {path} for the state: {os.strerror(error.errno or 0).lower()}",
        code="kernel" if full else "permission",
        errno=error.errno or 0,
        hint=_MAKE_ROOM if full else _other_directory(path),
    )


def _other_directory(path: str) -> str:
    if _is_login_s(path):
        return "set XDG_RUNTIME_DIR to a directory that you may write to, or give one by --root"
    login = f"/run/user/{os.geteuid()}"
    there = f": {login} is there" if os.access(login, os.W_OK) else ""
    if os.geteuid() and not os.environ.get("XDG_RUNTIME_DIR"):
        return f"run as root, or set XDG_RUNTIME_DIR as a login does{there}, or give a directory by --root"
    return "run as root, or give a directory of your own by --root"
