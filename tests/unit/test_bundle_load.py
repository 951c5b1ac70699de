"""Loading a bundle: what is found, and what is said of what isn't."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pyoci.bundle.load import load
from pyoci.errors import Error
from support.containers import open_to_everyone
from support.documents import REPOSITORY

CONFIG: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    (directory / "rootfs").mkdir(parents=True)
    write(directory, CONFIG)
    return directory


def write(bundle: Path, config: Any, name: str = "config.json") -> None:
    (bundle / name).write_text(json.dumps(config))


def refusal(bundle: Path | str, name: str = "config.json") -> Error:
    with pytest.raises(Error) as raised:
        load(str(bundle), name)
    return raised.value


def test_a_bundle(bundle: Path) -> None:
    found = load(str(bundle))
    assert found.path == str(bundle)
    assert found.config == CONFIG
    assert json.loads(found.raw) == CONFIG
    assert found.rootfs == str(bundle / "rootfs")
    assert found.warnings == []
    with pytest.raises(AttributeError):
        found.more = 1  # type: ignore[attr-defined]


def test_from_within_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    found = load(".")
    assert (found.path, found.rootfs) == (str(bundle), str(bundle / "rootfs"))


def test_another_config(bundle: Path, tmp_path: Path) -> None:
    write(bundle, {**CONFIG, "annotations": {"x": "y"}}, "other.json")
    assert load(str(bundle), "other.json").config["annotations"] == {"x": "y"}
    assert "annotations" in load(str(bundle), str(bundle / "other.json")).config


def test_a_config_from_a_pipe(bundle: Path) -> None:
    """It says no size, and comes in pieces."""
    data = json.dumps({**CONFIG, "annotations": {"x": "y" * 300000}}).encode()
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        assert load(str(bundle), f"/proc/self/fd/{reading}").raw == data
    finally:
        thread.join()
        os.close(reading)


def test_an_absolute_root(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(bundle, {**CONFIG, "root": {"path": str(tmp_path / "elsewhere")}})
    assert load(str(bundle)).rootfs == str(tmp_path / "elsewhere")


def test_a_root_behind_links(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (bundle / "rootfs").rmdir()
    (bundle / "rootfs").symlink_to("../link")
    (tmp_path / "link").symlink_to("real")
    assert load(str(bundle)).rootfs == str(tmp_path / "real")


def test_warnings_of_schema_and_rules(bundle: Path) -> None:
    write(bundle, {**CONFIG, "hostnam": "x", "windows": {}})
    warnings = load(str(bundle)).warnings
    assert [warning.split(":")[0] for warning in warnings] == ["/hostnam", "/windows"]


def test_no_bundle(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none")
    assert str(error) == f"the bundle directory {tmp_path}/none doesn't exist: no such file or directory"
    assert (error.code, error.pointer, error.status) == ("not-found", "", 1)


def test_a_file_as_bundle(bundle: Path) -> None:
    error = refusal(bundle / "config.json")
    assert str(error) == f"the bundle {bundle}/config.json is not a directory"
    assert error.code == "not-found"


def test_a_dangling_link_as_bundle(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("none")
    assert str(refusal(tmp_path / "link")) == f"the bundle {tmp_path}/link is not a directory"


def test_no_config(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    error = refusal(bundle)
    assert str(error) == f"no config.json in {bundle}: no such file or directory (pyoci spec writes one)"
    assert error.code == "not-found"
    assert "no other.json in" in refusal(bundle, "other.json").message


def test_a_directory_as_config(bundle: Path) -> None:
    (bundle / "directory").mkdir()
    assert refusal(bundle, "directory").message == f"{bundle}/directory can't be read: is a directory"


def test_a_config_that_may_not_be_read(bundle: Path) -> None:
    """In a process of an ordinary user: root may read all."""
    (bundle / "config.json").chmod(0)
    open_to_everyone(bundle)
    script = (
        "import os, sys\n"
        "from pyoci.bundle.load import load\n"
        "from pyoci.bundle import violations\n"
        "from pyoci.errors import Error\n"
        "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
        "try:\n"
        "    load(sys.argv[1])\n"
        "except Error as error:\n"
        "    print(error.code, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, bundle], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"permission {bundle}/config.json can't be read: permission denied\n"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rootfs: None, "no such file or directory"),
        (lambda rootfs: rootfs.write_text(""), "not a directory"),
        (lambda rootfs: rootfs.symlink_to("none"), "no such file or directory"),
        (lambda rootfs: rootfs.symlink_to("rootfs"), "too many levels of symbolic links"),
    ],
    ids=["missing", "file", "dangling", "loop"],
)
def test_no_root(bundle: Path, make: Any, reason: str) -> None:
    (bundle / "rootfs").rmdir()
    make(bundle / "rootfs")
    error = refusal(bundle)
    assert str(error).startswith("/root/path: the root filesystem ")
    assert reason in error.message
    assert (error.code, error.pointer) == ("not-found", "/root/path")


def test_bad_json(bundle: Path) -> None:
    (bundle / "config.json").write_text('{"ociVersion": }')
    assert str(refusal(bundle)) == 'config.json:1:16: "}" was found; a value would do'


def test_bad_values(bundle: Path) -> None:
    write(bundle, {**CONFIG, "root": {}})
    error = refusal(bundle)
    assert str(error) == "/root/path: nothing was found, and this property is required"
    write(bundle, {**CONFIG, "hostname": "box"})
    assert refusal(bundle).pointer == "/hostname"


def test_a_path_that_no_state_could_hold(tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(directory)
    error = refusal(os.fsdecode(directory))
    assert "isn't UTF-8" in error.message
    assert error.code == "usage"
    str(error).encode()


def test_no_descriptor_is_left_open(bundle: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    load(str(bundle))
    (bundle / "rootfs").rmdir()
    refusal(bundle)
    refusal(bundle, "none")
    assert sorted(os.listdir("/proc/self/fd")) == before
