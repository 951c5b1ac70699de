"""One container with every property of `process` and `linux` at once that this machine's kernel can honour.

bundles/everything is where it begins. Here comes what takes something of the test's: a network device, an
agent for the filter's notifications, a terminal. What is left out has a reason that is looked for.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import REPOSITORY, Runtime, open_to_everyone
from support.documents import SCHEMAS, leaves, read

KNOWN = Path("/proc/filesystems").read_text()
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
# What a property begins with -> whether it is the machine that can't
IMPOSSIBLE: dict[str, Callable[[], bool]] = {
    "/process/apparmorProfile": lambda: not APPARMOR.exists(),
    "/process/selinuxLabel": lambda: "selinuxfs" not in KNOWN,
    "/linux/mountLabel": lambda: "selinuxfs" not in KNOWN,
    "/linux/intelRdt/": lambda: "resctrl" not in KNOWN,
}
# Of the other systems, without values, or instead of a new namespace, which has more properties.
MEANINGLESS = {
    *("/process/commandLine", "/process/user/username", "/linux/personality/flags/[]"),
    "/linux/namespaces/[]/path",
}
# Resources depend on the hierarchies, and the other on a list of all that programs may call.
OTHER_SUBJECTS = ("/linux/resources/", "/linux/seccomp/defaultErrnoRet")


def used(value: Any, path: str = "") -> Iterator[str]:
    """The pointer of every plain value, [] for any item."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from used(item, f"{path}/{name}")
    elif isinstance(value, list):
        yield from (place for item in value for place in used(item, f"{path}/[]"))
    else:
        yield path


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """The bundle, completed; users of the host's may come here."""
    directory = tmp_path / "bundles"
    for name in ("everything", "make.py"):
        source = REPOSITORY / "bundles" / name
        shutil.copytree(source, directory / name) if source.is_dir() else shutil.copy(
            source, directory / name
        )
    subprocess.run([sys.executable, directory / "make.py"], check=True, stdout=subprocess.DEVNULL)
    open_to_everyone(directory)
    path = directory / "everything/config.json"
    config = json.loads(path.read_text())
    config["process"].update(
        terminal=True,
        consoleSize={"height": 33, "width": 99},
        scheduler={
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 0, "priority": 0,
            "runtime": 1_000_000, "deadline": 50_000_000, "period": 60_000_000,
        },
    )  # fmt: skip
    del config["linux"]["resources"]["cpu"]["cpus"]  # SCHED_DEADLINE needs them all, sched(7)
    seccomp = config["linux"]["seccomp"]
    seccomp.update(
        listenerPath=str(tmp_path / "agent"),
        listenerMetadata="of the test",
    )
    seccomp["syscalls"] += [
        {"names": ["acct"], "action": "SCMP_ACT_NOTIFY"},
        {
            "names": ["prctl"],
            "action": "SCMP_ACT_LOG",
            "args": [{"index": 0, "value": 2**31, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
        },
    ]
    if APPARMOR.exists():
        config["process"]["apparmorProfile"] = "unconfined"
    if "selinuxfs" in KNOWN:
        label = Path("/proc/self/attr/current").read_text().rstrip("\0\n")
        config["process"]["selinuxLabel"] = config["linux"]["mountLabel"] = label
    config["linux"]["netDevices"] = {"v0": {"name": "eth0"}}
    path.write_text(json.dumps(config))
    return path.parent


def test_it_has_every_property(everything: Path) -> None:
    there = set(used(json.loads((everything / "config.json").read_text())))
    schema = read(SCHEMAS / "config-schema.json")
    for section in ("process", "linux"):
        for path in leaves(schema["properties"][section], schema, f"/{section}"):
            impossible = any(reason() for prefix, reason in IMPOSSIBLE.items() if path.startswith(prefix))
            if not impossible and not path.startswith(OTHER_SUBJECTS) and path not in MEANINGLESS:
                parts = path.split("/")
                same = [place for place in there if matches(place.split("/"), parts)]
                assert same, f"{path} is nowhere in the bundle"


def matches(place: list[str], pattern: list[str]) -> bool:
    return len(place) == len(pattern) and all(
        wanted in (part, "*") for part, wanted in zip(place, pattern, strict=True)
    )


def test_all_of_it_works_together(everything: Path, runtime: Runtime, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.settimeout(10)
        script = (
            "ip link add v0 type veth peer name v1; ip address add 10.5.5.5/24 dev v0; "
            'exec "$@"'
        )  # in a network namespace that goes with it
        command = runtime.command("run", "--bundle", str(everything), "everything")
        words = ["unshare", "--net", "sh", "-c", script, "sh", *command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (7, "")
        connection, _ = agent.accept()
        with connection:
            text, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
            for descriptor in descriptors:
                os.close(descriptor)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == [
        "greeting everything",
        "ids 1000:1000 groups 1000 5 100",
        "umask 0027",
        "cwd /tmp/work/deep",
        "hostname everything domainname example.org",
        "nofile 512:1024 core 0",
        "oom 100",
        "CapEff: 0000000000000020 NoNewPrivs: 1 Seccomp: 2 ",
        "machine 0 nice 0 best-effort: prio 6",
        "mapped 0 100000 65536",
        "offset boottime 86400 5",
        "memory 1",
        "forward 1",
        "fuse character special file a:e5",
        "fifo fifo 660 1000:100",
        "secret 1",
        "touch: /everything/file: Read-only file system",
        "mkdir: can't create directory '/tmp/directory': Operation not permitted",
        "touch: /file: Read-only file system",
    ]
    assert (len(descriptors), json.loads(text)["metadata"]) == (1, "of the test")
