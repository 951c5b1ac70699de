"""What Docker's overview promises of containers, each shown with the runtime as Docker's own.

Isolated, lightweight, portable, interchangeable, scalable, stackable.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import docker as programs
from support.cgroups import eventually, membership
from support.daemon import adopted
from support.docker import Docker

pytestmark = pytest.mark.skipif(bool(programs.missing()), reason=f"there is no {programs.missing()}")

REPLICAS = 8
# What would reach the host, though it would do no harm, and why it doesn't.
FORBIDDEN = {
    f"busybox kill -0 {os.getpid()}": "no such process",
    ": >>/proc/sys/kernel/panic": "read-only file system",
    ": >>/proc/irq/default_smp_affinity": "read-only file system",
    ": >>/sys/fs/cgroup/pids/cgroup.procs": "read-only file system",
    "mount -t tmpfs t /tmp": "permission denied",
    "hostname other": "operation not permitted",
    "busybox mknod /tmp/disk b 1 0 && cat /tmp/disk": "operation not permitted",
    "busybox nsenter -t 1 -m true": "operation not permitted",
}


def pid_of(docker: Docker, container: str) -> int:
    return int(docker.inspect(container, "{{.State.Pid}}"))


def test_isolated(docker: Docker) -> None:
    """Neither sees the other's or the host's processes, files, hostname, network; nor can it reach the host's
    kernel parameters and devices; what one uses up the other still has."""
    with docker.service("--name", "one", "--pids-limit", "20") as one, docker.service("--name", "two") as two:
        for kind in ("pid", "mnt", "net", "ipc", "uts"):
            seen = {
                os.readlink(f"/proc/{pid}/ns/{kind}")
                for pid in (os.getpid(), pid_of(docker, one), pid_of(docker, two))
            }
            assert len(seen) == 3, kind
        processes = docker.ok("exec", one, "/bin/sh", "-c", "echo /proc/[0-9]*").split()
        assert len(processes) == 2 and processes[0] == "/proc/1", "the program, and the shell that looks"
        docker.ok("exec", one, "/bin/sh", "-c", "echo mine >/etc/mine; echo mine >/dev/shm/mine")
        assert docker.call("exec", two, "cat", "/etc/mine", "/dev/shm/mine").stdout == ""
        for script, reason in FORBIDDEN.items():
            done = docker.call("exec", one, "/bin/sh", "-c", script)
            assert done.returncode != 0 and reason in done.stderr.lower(), (script, done.stderr)
        crowd = "for i in $(busybox seq 30); do sleep 300 & done"
        assert docker.call("exec", one, "/bin/sh", "-c", crowd).returncode != 0, "no more than 20"
        assert docker.ok("exec", two, "echo", "well") == "well\n"


def test_lightweight(docker: Docker) -> None:
    """No process is there for a container but its own and the shim, nothing of the runtime stays; its memory
    is what the program takes."""
    shims = len(adopted(str(docker.directory)))
    with docker.service("--name", "light") as container:
        pid = pid_of(docker, container)
        group = next(path for names, path in membership(pid).items() if names in ("pids", ""))
        base = Path("/sys/fs/cgroup") / ("pids" if "pids" in membership(pid) else "")
        assert (base / group.lstrip("/") / "cgroup.procs").read_text().split() == [str(pid)]
        assert len(adopted(str(docker.directory))) == shims + 1
        assert programs.running(docker.runtime, container) == [], "the runtime isn't there any longer"
        assert os.readlink(f"/proc/{pid}/exe").endswith("/bin/busybox")
        used = docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", container).split()[0]
        number, unit = float(used.rstrip("KMiB")), used.lstrip("0123456789.")
        assert unit in ("B", "KiB") or (unit == "MiB" and number < 4), used


def test_portable(docker: Docker, runtime_path: str, tmp_path: Path) -> None:
    """An image that was made under one daemon and saved runs under another with what it had."""
    with docker.service(command=("/bin/sh", "-c", "echo carried >/state")) as container:
        docker.ok("wait", container)
        docker.ok("commit", "--change", 'CMD ["/bin/cat", "/state"]', container, "traveller")
    docker.ok("save", "--output", str(tmp_path / "image.tar"), "traveller")
    identity = docker.inspect("traveller", "{{.Id}}")
    elsewhere = Docker(runtime_path)
    try:
        elsewhere.start()
        assert elsewhere.ok("images", "--quiet") == ""
        elsewhere.ok("load", "--input", str(tmp_path / "image.tar"))
        assert elsewhere.inspect("traveller", "{{.Id}}") == identity
        assert (
            elsewhere.ok("run", "--rm", "traveller") == docker.ok("run", "--rm", "traveller") == "carried\n"
        )
    finally:
        elsewhere.close()
    docker.ok("image", "rm", "traveller")


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    """A directory for what services say."""
    directory = tmp_path / "answer"
    directory.mkdir()
    return directory


def test_interchangeable(docker: Docker, answer: Path) -> None:
    """A service is updated on the fly: the new version takes its data and its place while the old one still
    answers, and a limit is changed without a restart."""
    serve = "while :; do echo %s $(cat /data/count) >/answer/now; sleep 0.02; done"
    template = docker.ok("create", "box", "true").strip()
    for version in ("1", "2"):
        docker.ok("commit", "--change", f"CMD {serve % ('v' + version)}", template, f"service:{version}")
    docker.ok("rm", template)
    docker.ok("volume", "create", "data")
    docker.shell("echo 42 >/data/count", "--volume", "data:/data")
    flags = ("--volume", "data:/data", "--volume", f"{answer}:/answer", "--memory", "64m", "--detach")
    now = answer / "now"
    old = docker.ok("run", *flags, "service:1").strip()
    eventually(lambda: now.exists() and now.read_text() == "v1 42\n")
    new = docker.ok("run", *flags, "service:2").strip()
    eventually(lambda: now.read_text() == "v2 42\n")
    docker.ok("rm", "--force", old)
    before = pid_of(docker, new)
    if not docker.tests("crun"):  # which takes Docker's zeros for values
        docker.ok("update", "--memory", "128m", "--memory-swap", "256m", new)
        assert docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", new).split()[-1] == "128MiB"
    now.unlink()
    eventually(lambda: now.exists() and now.read_text() == "v2 42\n")
    assert pid_of(docker, new) == before
    docker.ok("rm", "--force", new)
    docker.ok("image", "rm", "service:1", "service:2")
    docker.ok("volume", "rm", "data")


def test_scalable(docker: Docker, answer: Path) -> None:
    """More of the same are a matter of a number: each is one of its own, they share the work, and fewer are
    again enough."""
    script = 'while read -r job; do echo "$job by $(hostname)" >>/answer/$(hostname); done; sleep 300; exit;'

    def start(number: int) -> str:
        flags = (
            "--label",
            "replica",
            "--hostname",
            f"r{number}",
            "--volume",
            f"{answer}:/answer",
            "--detach",
        )
        return docker.ok("run", *flags, "box", "/bin/sh", "-c", f"echo job{number} | {{ {script} }}").strip()

    with ThreadPoolExecutor(4) as threads:
        replicas = list(threads.map(start, range(REPLICAS)))
    listed = ("ps", "--quiet", "--no-trunc", "--filter", "label=replica")
    assert set(docker.ok(*listed).split()) == set(replicas)
    work = {f"job{number} by r{number}" for number in range(REPLICAS)}
    eventually(lambda: {path.read_text().strip() for path in answer.iterdir()} == work)
    assert len({pid_of(docker, each) for each in replicas}) == REPLICAS
    docker.ok("rm", "--force", *replicas[2:])
    assert set(docker.ok(*listed).split()) == set(replicas[:2])
    docker.ok("rm", "--force", *replicas[:2])


def test_stackable(docker: Docker) -> None:
    """Services on top of each other: one serves what is in a volume that another fills, a third asks it over
    the network that they share, and a fourth keeps that up."""
    docker.ok("volume", "create", "site")
    base = docker.ok(
        "run", "--detach", "--network", "none", "--name", "base", "box", "/bin/sleep", "300"
    ).strip()
    server = docker.ok(
        "run", "--detach", "--network", f"container:{base}", "--volume", "site:/site:ro", "box",
        "/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/site",
    ).strip()  # fmt: skip
    step = "n=$((n+1)); echo page $n >/site/new; busybox mv /site/new /site/page; sleep 0.02"
    writer = f"n=0; while :; do {step}; done"
    filler = docker.ok("run", "--detach", "--volume", "site:/site", "box", "/bin/sh", "-c", writer).strip()
    ask = (
        "--network",
        f"container:{base}",
        "box",
        "/bin/busybox",
        "wget",
        "-qO-",
        "http://127.0.0.1:8080/page",
    )
    eventually(lambda: docker.run(*ask).stdout.startswith("page "))
    first, second = (int(docker.run(*ask).stdout.split()[1]) for _ in range(2))
    assert second > first
    assert docker.run("--network", "none", *ask[2:]).returncode != 0, "nobody else gets there"
    docker.ok("rm", "--force", filler, server, base)
    docker.ok("volume", "rm", "site")
