"""The calls that engines make, replayed without them in seconds; tests/engines records the engines' own."""

from __future__ import annotations

import array
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import layout
from support.cgroups import eventually, in_mode, layouts
from support.containers import PYOCI, SECONDS, Bundle
from support.engine_replay import Engine, Pipe

SERVICE = "trap 'exit 5' TERM; echo out; echo err >&2; while :; do sleep 0.02; done"


@pytest.fixture(params=["pyoci", "runc", "crun"])
def program(request: pytest.FixtureRequest) -> Iterator[str]:
    found = PYOCI if request.param == "pyoci" else shutil.which(request.param)
    if not found:
        pytest.skip(f"{request.param} isn't installed")
    # Debian's crun refuses a hybrid layout in which cgroup2 has a controller.
    with in_mode(layouts()[-1] if request.param == "crun" else layouts()[0]):
        yield found


@pytest.fixture
def engine(bundle: Bundle, program: str) -> Iterator[Callable[[str], Engine]]:
    """Makes the engine of a name; what its container has left when a test fails is deleted."""
    made: list[Engine] = []
    bundle.config["ociVersion"] = "1.0.2-dev"  # as these engines write

    def make(name: str) -> Engine:
        made.append(Engine(name, program, bundle))
        return made[-1]

    yield make
    for engine in made:
        flags = ["--root", str(engine.values["root"])] if engine.name == "containerd" else []
        subprocess.run([program, *flags, "delete", "--force", engine.id], capture_output=True, check=False)


def descriptors(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def is_frozen(pid: int) -> bool:
    """As the freezer says, in whichever hierarchy it is."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if names == "freezer":
            return Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text().strip() == "FROZEN"
        v2 = Path(f"/sys/fs/cgroup{path}/cgroup.freeze")
        if number == "0" and v2.exists():
            return v2.read_text().strip() == "1"
    raise AssertionError("no freezer")


def write_process(engine: Engine, *args: str, **changes: Any) -> None:
    """What an engine writes for exec: a whole process, not only its arguments."""
    given = {**engine.bundle.config["process"], "args": list(args), **changes}
    Path(str(engine.values["process"])).write_text(json.dumps(given))


class Listener:
    """A socket where the runtime sends a terminal to, which is then held to the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.terminal = -1
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(SECONDS)

    def seen(self, text: str) -> None:
        """Receives the terminal and waits until this has been written to it."""
        connection, _ = self.socket.accept()
        numbers = array.array("i")
        _, ((_, _, data),), _, _ = connection.recvmsg(4096, socket.CMSG_LEN(numbers.itemsize))
        numbers.frombytes(data)
        connection.close()
        (self.terminal,) = numbers
        got = b""
        while text.encode() not in got:
            assert select.select([self.terminal], [], [], SECONDS)[0], got
            got += os.read(self.terminal, 4096)

    def close(self) -> None:
        self.socket.close()
        if self.terminal >= 0:
            os.close(self.terminal)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "terminal")
    yield made
    made.close()


def test_podman_from_create_to_delete(engine: Callable[[str], Engine], tmp_path: Path) -> None:
    podman = engine("podman")
    podman.bundle.shell(SERVICE).save()
    out, error = Pipe(), Pipe()
    assert podman.call("create", stdout=out.write, stderr=error.write, log=tmp_path / "log") == 0
    pid = podman.pid()
    podman.ok("start")
    out.until("out\n")
    error.until("err\n")
    assert descriptors(pid) == {0, 1, 2}
    assert b"_OCI_" not in Path(f"/proc/{pid}/environ").read_bytes()
    podman.ok("pause")
    eventually(lambda: is_frozen(pid))  # crun doesn't wait for it
    podman.ok("resume")
    assert not is_frozen(pid)
    podman.ok("kill", signal=int(signal.SIGTERM))
    assert podman.ended(pid) == 5
    assert (out.rest(), error.rest()) == ("", "")  # nobody else holds the container's output
    podman.ok("delete")
    podman.ok("delete")  # podman's cleanup process does so beside its stop


def test_podman_kills_every_process(engine: Callable[[str], Engine]) -> None:
    """As it does where the container shares the host's pid namespace."""
    podman = engine("podman")
    linux = podman.bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
    linux["cgroupsPath"] = f"/libpod_parent-{podman.id}/libpod-{podman.id}"
    out = Pipe()
    podman.bundle.shell("sleep 1000 & echo $!; wait").save()
    assert podman.call("create", stdout=out.write) == 0
    pid = podman.pid()
    podman.ok("start")
    podman.ok("kill all")
    assert podman.ended(pid) == 128 + signal.SIGKILL
    podman.ok("delete")
    for hierarchy in layout.detect().hierarchies:  # what is above is the engine's
        above = Path(f"{hierarchy.mount}/libpod_parent-{podman.id}")
        if above.is_dir():
            above.rmdir()
    assert not Path(f"/proc/{out.rest().strip()}").exists()


@pytest.fixture
def service(engine: Callable[[str], Engine], request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A container that runs, under the engine that is asked for."""
    made = engine(request.param)
    made.bundle.args("sleep", "1000").save()
    assert made.call("create") == 0
    pid = made.pid()
    made.ok("start")
    yield made
    made.ok("kill", signal=9)
    made.ended(pid)
    made.ok("delete")


BOTH = pytest.mark.parametrize("service", ["podman", "containerd"], indirect=True)


@BOTH
def test_exec(service: Engine, tmp_path: Path) -> None:
    write_process(service, "sh", "-c", "cat; echo $A; exit 7", env=["A=b", "PATH=/bin"])
    given, out = Pipe(), Pipe()
    os.write(given.write, b"in\n")
    given.give_up()
    options: dict[str, Any] = {"log": tmp_path / "log"} if service.name == "podman" else {}
    file = tmp_path / "exec.pid"
    assert service.call("exec", stdin=given.read, stdout=out.write, pid_file=file, **options) == 0
    assert service.ended(service.pid(file)) == 7
    assert out.rest() == "in\nb\n"
    os.close(given.read)


@BOTH
def test_exec_with_a_terminal(service: Engine, listener: Listener, tmp_path: Path) -> None:
    """The shim leaves out --tty: the process says so by itself."""
    (service.bundle.rootfs / "bin/tty").symlink_to("busybox")
    write_process(service, "sh", "-c", "tty; exit 3", terminal=True)
    file = tmp_path / "exec.pid"
    assert service.call("exec", pid_file=file, socket=listener.path) == 0
    pid = service.pid(file)
    listener.seen("/dev/pts/")
    assert service.ended(pid) == 3


@pytest.mark.parametrize("name", ["podman", "buildah", "containerd"])
def test_create_with_a_terminal(engine: Callable[[str], Engine], listener: Listener, name: str) -> None:
    made = engine(name)
    (made.bundle.rootfs / "bin/tty").symlink_to("busybox")
    made.bundle.config["process"]["terminal"] = True
    made.bundle.shell("tty; exit 3").save()
    assert made.call("create", socket=listener.path) == 0
    pid = made.pid()
    made.ok("start")
    listener.seen("/dev/pts/0")
    assert made.ended(pid) == 3
    made.ok("delete")


def test_preserved_descriptors(engine: Callable[[str], Engine], tmp_path: Path) -> None:
    """_OCI_SYNCPIPE is 4 then, and closed: whoever writes to what it names hits something else."""
    podman = engine("podman")
    (tmp_path / "file").write_text("content\n")
    opened = os.open(tmp_path / "file", os.O_RDONLY)
    high = os.dup2(opened, 200, inheritable=False)
    os.close(opened)
    podman.bundle.shell("cat <&3; ls /proc/self/fd | grep -vx '[0-3]'").save()
    out = Pipe()
    assert podman.call("create", stdout=out.write, count=1, preserved={3: high}) == 0
    pid = podman.pid()
    podman.ok("start")
    podman.ended(pid)
    (line, *others) = out.rest().splitlines()
    assert line == "content"
    assert len(others) == 1  # ls has its own open
    podman.ok("delete")
    os.close(high)


@BOTH
def test_update(service: Engine) -> None:
    """podman's by a file, Docker's on stdin: there 0 is what nobody has set."""
    pid = service.pid()
    resources: dict[str, Any] = {"memory": {"limit": 64 << 20, "swap": 128 << 20}}
    if service.name == "containerd":
        resources["memory"].update(reservation=0, kernel=0)
        resources.update(cpu={"shares": 0, "quota": 0, "period": 0}, blockIO={"weight": 0})
    text = json.dumps(resources)
    Path(str(service.values["resources"])).write_text(text)
    given = Pipe()
    os.write(given.write, text.encode())
    given.give_up()
    service.ok("update", stdin=given.read)
    os.close(given.read)
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    paths = {names: path for _, names, path in lines}
    if "memory" in paths:
        file = Path(f"/sys/fs/cgroup/memory{paths['memory']}/memory.limit_in_bytes")
    else:
        file = Path(f"/sys/fs/cgroup{paths['']}/memory.max")
    assert int(file.read_text()) == 64 << 20


def test_containerd_from_create_to_delete(engine: Callable[[str], Engine]) -> None:
    shim = engine("containerd")
    shim.bundle.shell(SERVICE).save()
    out = Pipe()
    assert shim.call("create", stdout=out.write) == 0
    pid = shim.pid()
    shim.ok("start")
    out.until("out\n")
    assert descriptors(pid) == {0, 1, 2}
    assert pid in json.loads(shim.ok("ps"))
    shim.ok("pause")
    eventually(lambda: is_frozen(pid))
    shim.ok("resume")
    shim.ok("kill", signal=int(signal.SIGTERM))
    assert shim.ended(pid) == 5
    assert out.rest() == ""
    # Whatever the shim doesn't take for "it has ended already" reaches the user as an error.
    told = shim.fails("kill", signal=9)
    assert re.search("process already finished|container not running|(?i:no such process)", told), told
    shim.ok("delete")
    shim.ok("delete again")
    assert not (Path(str(shim.values["root"])) / shim.id).exists()


def test_containerd_kills_every_process(engine: Callable[[str], Engine]) -> None:
    shim = engine("containerd")
    shim.bundle.shell("sleep 1000 & wait").save()
    assert shim.call("create") == 0
    pid = shim.pid()
    shim.ok("start")
    shim.ok("kill all")
    assert shim.ended(pid) == 128 + signal.SIGKILL
    shim.ok("delete")


def test_buildah_polls_the_state(engine: Callable[[str], Engine]) -> None:
    """It has many pipes open, the container's own among them, and hands all of them on."""
    buildah = engine("buildah")
    buildah.bundle.shell("echo out; read line; exit 7").save()
    given, out = Pipe(), Pipe()
    assert buildah.call("create", stdin=given.read, stdout=out.write, rootless="") == 0
    pid = buildah.pid()
    state = json.loads(buildah.ok("state"))
    assert (state["status"], state["pid"]) == ("created", pid)
    buildah.ok("start")
    out.until("out\n")
    assert json.loads(buildah.ok("state"))["status"] == "running"
    assert descriptors(pid) == {0, 1, 2}
    given.give_up()
    os.close(given.read)
    assert buildah.ended(pid) == 7
    eventually(lambda: json.loads(buildah.ok("state"))["status"] == "stopped")
    buildah.ok("delete")
    assert out.rest() == ""


def test_buildkit_runs_in_the_foreground(engine: Callable[[str], Engine]) -> None:
    buildkit = engine("buildkit")
    buildkit.bundle.shell("echo out; echo err >&2; exit 42").save()
    out, error = Pipe(), Pipe()
    assert buildkit.call("run", stdout=out.write, stderr=error.write) == 42
    assert (out.rest(), error.rest()) == ("out\n", "err\n")


def dockers_status(message: str) -> int:
    """How Docker's command turns an error into its exit status."""
    if "executable file not found" in message or "no such file or directory" in message:
        return 127
    return 126 if "permission denied" in message else 125


def podmans_status(message: str) -> int:
    """How podman does."""
    if re.search("permission denied|operation not permitted", message, re.IGNORECASE):
        return 126
    if re.search("executable file not found in|no such file or directory", message, re.IGNORECASE):
        return 127
    return 125


PROGRAMS = [("nothing", 127), ("/bin/nothing", 127), ("/etc/passwd", 126)]


@pytest.mark.parametrize(("wanted", "status"), PROGRAMS)
@pytest.mark.parametrize("name", ["podman", "containerd"])
def test_why_a_program_cannot_be_created(
    engine: Callable[[str], Engine], tmp_path: Path, name: str, wanted: str, status: int
) -> None:
    made = engine(name)
    made.bundle.args(wanted).save()
    options = {"log": tmp_path / "log"} if name == "podman" else {}
    told = made.fails("create", **options)
    judge(made, told, wanted, status)
    made.ok("delete" if name == "podman" else "delete again")


@pytest.mark.parametrize(("wanted", "status"), PROGRAMS)
@BOTH
def test_why_a_program_cannot_be_executed(service: Engine, tmp_path: Path, wanted: str, status: int) -> None:
    write_process(service, wanted)
    options: dict[str, Any] = {"log": tmp_path / "log"} if service.name == "podman" else {}
    told = service.fails("exec", pid_file=tmp_path / "exec.pid", **options)
    judge(service, told, wanted, status)


def judge(engine: Engine, told: str, wanted: str, status: int) -> None:
    assert podmans_status(told) == status, told
    if not engine.program.endswith("crun"):  # capital letters, which mean nothing to Docker
        assert dockers_status(told) == status, told
        assert wanted in told
    log = engine.values.get("log")
    if log:
        datetime.fromisoformat(json.loads(Path(str(log)).read_text())["time"])


def test_without_the_flags_of_the_log(engine: Callable[[str], Engine]) -> None:
    """podman doesn't give them to a runtime whose name it doesn't know: the reason is on stderr then."""
    podman = engine("podman")
    podman.bundle.args("/bin/nothing").save()
    told = podman.fails("create")
    assert podmans_status(told) == 127, told
    podman.ok("delete")


def test_the_version_as_docker_reads_it(program: str, engine: Callable[[str], Engine]) -> None:
    lines = engine("containerd").ok("version").splitlines()
    ((runtime, version),) = (line.split(" version ") for line in lines if "version" in line)
    assert runtime == Path(program).name
    assert re.match(r"\d+\.\d+", version)
    assert any(re.match(r"spec: 1\.\d+\.\d+", line) for line in lines)


def test_podman_without_cgroups(engine: Callable[[str], Engine], program: str) -> None:
    """--cgroups=disabled: the container stays where it was called."""
    if program.endswith("runc"):
        pytest.skip("runc has no --cgroup-manager, and containers.conf doesn't name it for that")
    podman = engine("podman")
    podman.bundle.args("sleep", "1000").save()
    assert podman.call("create", manager="disabled") == 0
    pid = podman.pid()
    podman.ok("start")
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    podman.ok("kill", signal=9)
    podman.ended(pid)
    podman.ok("delete")
