"""Bad input: one sentence that names the property, runc's exit status, nothing left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.containers import Bundle, Runtime


def refused(runtime: Runtime, bundle: Bundle, *phrases: str, container_id: str = "one") -> str:
    """Both create and run refuse, and say so."""
    path = bundle.path
    if not (path / "config.json").exists():
        bundle.save()
    for verb in ("create", "run"):
        done = runtime.call(verb, "--bundle", str(path), container_id)
        assert done.returncode == 1, f"{verb}: {done.stdout} {done.stderr}"
        for phrase in phrases:
            assert phrase in done.stderr, f"{verb}: {done.stderr}"
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
    return done.stderr


def test_malformed_json_has_line_and_column(runtime: Runtime, bundle: Bundle) -> None:
    bundle.save()
    (bundle.path / "config.json").write_text('{\n  "ociVersion": "1.0.0",\n  "root" {}\n}')
    refused(runtime, bundle, "config.json:3:10")


def test_every_schema_violation_is_told(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["cwd"] = 7
    bundle.config["mounts"].append({"source": "x"})
    bundle.config["linux"]["namespaces"].append({"type": "galaxy"})
    refused(runtime, bundle, "/process/cwd", "/mounts/4", "/linux/namespaces/6/type", "galaxy")


def test_control_characters_are_escaped(runtime: Runtime) -> None:
    done = runtime.call("run", "--bundle", "/a\x1bb", "x")
    assert done.returncode == 1
    assert done.stderr.startswith("pyoci run: the bundle directory /a\\x1bb doesn't exist")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda c: c["linux"]["namespaces"].remove({"type": "uts"}), "/hostname"),
        (lambda c: c["linux"]["namespaces"].append({"type": "pid"}), "/linux/namespaces/6"),
        (
            lambda c: c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 0, "size": 1}]),
            "/linux/uidMappings",
        ),
        (lambda c: c["process"].update(cwd="work"), "/process/cwd"),
        (lambda c: c["process"].update(args=[]), "/process/args"),
        (
            lambda c: c["linux"].update(sysctl={"kernel.core_pattern": "|x"}),
            "/linux/sysctl/kernel.core_pattern",
        ),
        (
            lambda c: c["process"].update(
                rlimits=[{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}] * 2
            ),
            "/process/rlimits/1",
        ),
        (lambda c: c["mounts"].append({"destination": "/x", "options": ["bind"]}), "/mounts/4/source"),
        (
            lambda c: c["mounts"].append({"destination": "/x", "source": "/nothing", "options": ["bind"]}),
            "/mounts/4",
        ),
        (lambda c: c["root"].update(path="elsewhere"), "/root/path"),
        (
            lambda c: c["linux"]["namespaces"].append({"type": "user", "path": "/nothing"}),
            "/linux/namespaces/6/path",
        ),
    ],
)  # fmt: skip
def test_contradictions_name_the_property(
    runtime: Runtime, bundle: Bundle, change: Any, pointer: str
) -> None:
    change(bundle.config)
    refused(runtime, bundle, pointer)


def test_missing_bundle_and_config(runtime: Runtime, bundle: Bundle) -> None:
    done = runtime.call("create", "--bundle", str(bundle.path / "no"), "one")
    assert done.returncode == 1
    assert str(bundle.path / "no") in done.stderr
    done = runtime.call("create", "--bundle", str(bundle.path), "one")
    assert done.returncode == 1
    assert "config.json" in done.stderr


@pytest.mark.parametrize("container_id", [".", "..", "a/b", "x" * 2000, "", "a b", "é"])
def test_bad_ids(runtime: Runtime, bundle: Bundle, container_id: str) -> None:
    error = refused(runtime, bundle, "ID", container_id=container_id)
    assert len(error) < 500


def test_an_id_in_use(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.args("sleep", "60"), "one")
    refused(runtime, bundle, "already exists", "one")
    assert runtime.state("one")["status"] == "created"
    runtime.ok("delete", "one")


def test_a_program_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("nothing")
    refused(runtime, bundle, "executable file not found in $PATH", "nothing", "/process/args/0")
    (bundle.path / "config.json").unlink()
    refused(
        runtime, bundle.args("/bin/nothing"), "/bin/nothing", "no such file or directory", "/process/args/0"
    )


def test_a_program_that_is_not_executable(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "bin/data").write_text("x")
    refused(runtime, bundle.args("/bin/data"), "/bin/data", "permission denied")


def test_a_script_without_its_interpreter(runtime: Runtime, bundle: Bundle) -> None:
    script = bundle.rootfs / "bin/script"
    script.write_text("#!/usr/bin/python9 -u\n")
    script.chmod(0o755)
    path = bundle.args("/bin/script").save()
    done = runtime.call("run", "--bundle", str(path), "one")
    assert done.returncode == 1
    assert "/usr/bin/python9" in done.stderr
    assert "no such file or directory" in done.stderr


def test_an_elf_without_its_interpreter(runtime: Runtime, bundle: Bundle) -> None:
    with open("/bin/ls", "rb") as source:
        (bundle.rootfs / "bin/dynamic").write_bytes(source.read())
    (bundle.rootfs / "bin/dynamic").chmod(0o755)
    done = runtime.call("run", "--bundle", str(bundle.args("/bin/dynamic").save()), "one")
    assert done.returncode == 1
    assert "/lib64/ld-linux-x86-64.so.2" in done.stderr


def test_errors_as_json_for_engines(runtime: Runtime, bundle: Bundle) -> None:
    log = bundle.path / "log"
    bundle.args("nothing").save()
    done = runtime.call(
        "--log", str(log), "--log-format", "json", "create", "--bundle", str(bundle.path), "one"
    )
    assert done.returncode == 1
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[-1]["level"] == "error"
    assert "executable file not found in $PATH" in entries[-1]["msg"]
    assert entries[-1]["pointer"] == "/process/args/0"
    assert entries[-1]["time"]


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete", "pause", "resume", "ps"])
def test_a_container_that_is_not_there(runtime: Runtime, verb: str) -> None:
    done = runtime.call(verb, "nobody")
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_the_wrong_state(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.args("sleep", "60"), "one")
    runtime.ok("start", "one")
    assert "already running" in runtime.call("start", "one").stderr
    assert runtime.call("resume", "one").returncode == 1
    runtime.ok("delete", "-f", "one")
