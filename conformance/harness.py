"""The world a requirement is tried in: containers made for it, and the search for what they left."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from pathlib import Path

from conformance import bundle, cgroups, host
from conformance.registry import Violation, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from conformance.runtime import Done, Runtime


class Container:
    """A bundle and the container of it, driven by the runtime's commands."""

    def __init__(self, world: World, name: str, config: dict[str, Any]) -> None:
        self.world = world
        self.id = name
        self.config = config
        self.directory = world.scratch / name
        self.directory.mkdir()
        self.rootfs = self.directory / "rootfs"
        bundle.copy_rootfs(world.template, self.rootfs)
        # A directory that is the same inside and outside, for hooks and reports.
        self.shared = self.directory / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o777)
        os.link(world.template / "bin/probe", self.shared / "probe")
        self.pid = 0
        self.output: Path | None = None

    # ------------------------------------------------------------------ what to run

    def run_probe(self, *words: str) -> None:
        """Have the probe as the container's program, with these options."""
        self.config["process"]["args"] = ["/bin/probe", *words]

    def share(self) -> None:
        """Mount the shared directory in the container under the path it has outside."""
        self.config["mounts"].append(
            {
                "destination": str(self.shared),
                "type": "bind",
                "source": str(self.shared),
                "options": ["rbind", "rw"],
            }
        )

    def add_hook(self, kind: str, label: str, *words: str, **properties: Any) -> None:
        """Add a hook that records its call under `label`; startContainer's is found only in the container."""
        self.share_once()
        path = "/bin/probe" if kind == "startContainer" else str(self.shared / "probe")
        args = ["probe", "--hook", str(self.hook_log), label, *words]
        hooks = self.config.setdefault("hooks", {})
        hooks.setdefault(kind, []).append({"path": path, "args": args, **properties})

    def share_once(self) -> None:
        if not any(mount["destination"] == str(self.shared) for mount in self.config["mounts"]):
            self.share()

    @property
    def hook_log(self) -> Path:
        return self.shared / "hooks"

    def hook_calls(self) -> list[dict[str, Any]]:
        """What the hooks recorded, in the order they ran, the state they got decoded as `state`."""
        if not self.hook_log.exists():
            return []
        calls = [json.loads(line) for line in self.hook_log.read_text().splitlines()]
        for call in calls:
            try:
                call["state"] = json.loads(call["input"])
            except ValueError:
                raise Violation(
                    f"hook {call['hook']} got no JSON on standard input: {call['input']!r}"
                ) from None
        return calls

    # ------------------------------------------------------------------ commands

    def create(self, *flags: str, globally: tuple[str, ...] = (), **options: Any) -> Done:
        """Have it created; flags of the runtime itself go `globally`."""
        bundle.write_config(self.directory, self.config)
        pid_file = self.directory / "pid"
        runtime = self.world.runtime
        words = ["create", "--bundle", str(self.directory), "--pid-file", str(pid_file), *flags, self.id]
        done = runtime.call(*globally, *words, **options)
        self.output = runtime.last_output()
        if done.ok:
            check(pid_file.exists(), "create wrote no --pid-file")
            self.pid = int(pid_file.read_text())
        return done

    def start(self) -> Done:
        return self.world.runtime.call("start", self.id)

    def kill(self, name: str = "TERM") -> Done:
        return self.world.runtime.call("kill", self.id, name)

    def delete(self, *flags: str) -> Done:
        return self.world.runtime.call("delete", *flags, self.id)

    def query(self) -> Done:
        return self.world.runtime.call("state", self.id)

    def state(self) -> dict[str, Any]:
        """The state the runtime tells, decoded."""
        done = succeeds(self.query())
        try:
            state = json.loads(done.out)
        except ValueError:
            raise Violation(f"state is no JSON: {done.out!r}") from None
        check(isinstance(state, dict), f"state is no object: {done.out!r}")
        return dict(state)

    def status(self) -> str:
        return str(self.state().get("status"))

    # ------------------------------------------------------------------ whole lives

    def created(self, *flags: str, **options: Any) -> Container:
        succeeds(self.create(*flags, **options))
        return self

    def started(self, *flags: str, **options: Any) -> Container:
        self.created(*flags, **options)
        succeeds(self.start())
        return self

    def wait(self, seconds: float = 10.0) -> int | None:
        """The exit code of the container's process, or minus the signal that ended it."""
        code = host.reap(self.pid, seconds)
        check(not host.alive(self.pid), f"the container's process did not end in {seconds} s")
        return code

    def view(self, *words: str, **options: Any) -> dict[str, Any]:
        """What the probe saw in the container, which is created, started, waited for and deleted."""
        self.run_probe(*words)
        self.started(**options)
        self.wait()
        view = self.read_view()
        succeeds(self.delete())
        return view

    def read_view(self) -> dict[str, Any]:
        assert self.output is not None
        text = self.world.runtime.read(self.output)
        try:
            return dict(json.loads(text))
        except ValueError:
            errors = self.world.runtime.read(self.output.with_suffix(".err"))
            raise Violation(
                f"the probe in the container printed no JSON: {text[:300]!r} {errors[:600]!r}"
            ) from None

    def holding(self, *words: str) -> Container:
        """A started container whose probe waits for signals (which are noted in `shared/signals`)."""
        self.share_once()
        self.run_probe("--no-report", "--signals", str(self.shared / "signals"), *words, "--hold")
        self.started()
        check(
            host.until(lambda: "ready" in self.signals()), "the container's program did not run after start"
        )
        return self

    def signals(self) -> list[str]:
        path = self.shared / "signals"
        return path.read_text().splitlines() if path.exists() else []

    def remove(self) -> None:
        """Be rid of the container, whatever state it is in."""
        if self.pid and host.alive(self.pid):
            self.kill("KILL")
            host.reap(self.pid, 2)
        if self.query().ok:
            self.delete("--force")


def succeeds(done: Done) -> Done:
    """The command must have succeeded."""
    check(done.ok, str(done))
    return done


def refused(done: Done, why: str) -> Done:
    """The command must have generated an error by itself."""
    check(not done.ok, f"no error, though {why}: {done}")
    check(done.status is not None and done.status > 0, f"no answer, though {why}: {done}")
    return done


class World:
    """Everything one requirement needs; `close` cleans up and tells what the runtime left behind."""

    def __init__(self, runtime: Runtime, template: Path, scratch: Path, token: str) -> None:
        self.runtime = runtime
        self.template = template
        self.scratch = scratch
        self.token = token
        self.containers: list[Container] = []
        self.helpers: list[subprocess.Popen[bytes]] = []
        scratch.mkdir()
        scratch.chmod(0o755)

    def container(self, config: dict[str, Any] | None = None) -> Container:
        """A new bundle, not yet created: the default configuration or a copy of `config`."""
        name = f"{self.token}-{len(self.containers) + 1}"
        config = bundle.default_config() if config is None else copy.deepcopy(config)
        config["linux"].setdefault("cgroupsPath", f"/{name}")
        container = Container(self, name, config)
        self.containers.append(container)
        return container

    def helper(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Remember a process of the requirement's own, to be ended with the world."""
        self.helpers.append(process)
        return process

    def close(self) -> list[str]:
        for container in self.containers:
            container.remove()
        for helper in self.helpers:
            helper.kill()
            helper.communicate()
        found = [*self._processes(), *self._mounts(), *self._cgroups(), *self._state()]
        shutil.rmtree(self.scratch, ignore_errors=True)
        return found

    def leftovers(self) -> list[str]:
        """What is there now of containers that should be gone, without removing anything."""
        self._settle()
        found = [host.describe(pid) for pid in self._strays() if host.alive(pid)]
        found += self.leftovers_mounts()
        found += [f"cgroup {path}" for path in cgroups.named(self.token)]
        return found + self._state()

    def leftovers_mounts(self) -> list[str]:
        """Mounts of this world's containers in the runtime's and the host's mount namespace."""
        return [f"mount {point}" for point in self._own_mounts()]

    def _strays(self) -> list[int]:
        known = {helper.pid for helper in self.helpers} | self.runtime.cells
        return [pid for pid in host.descendants(os.getpid()) if pid not in known]

    def _settle(self) -> None:
        """Give a runtime's own helpers the moment they may be behind its command."""
        host.until(lambda: not any(map(host.alive, self._strays())), 0.5)

    def _processes(self) -> list[str]:
        """Descendants no one should have left; zombies are only the adopted ones' empty shells."""
        self._settle()
        found = []
        for pid in self._strays():
            if host.alive(pid):
                found.append(host.describe(pid))
                os.kill(pid, signal.SIGKILL)
            host.reap(pid)
        return found

    def _own_mounts(self) -> list[str]:
        points = host.mount_points()
        if self.runtime.cell is not None:
            points += host.mount_points(self.runtime.cell)
        return [point for point in points if str(self.scratch) in point or self.token in point]

    def _mounts(self) -> list[str]:
        found = self.leftovers_mounts()
        for point in reversed(host.mount_points()):
            if str(self.scratch) in point or self.token in point:
                host.unmount(point)
        return found

    def _cgroups(self) -> list[str]:
        found = []
        for path in cgroups.named(self.token):
            found.append(f"cgroup {path}")
            cgroups.remove(path)
        return found

    def _state(self) -> list[str]:
        """Entries of the state directory named after a container; a runtime's caches and locks may stay."""
        found = []
        for path in sorted(self.runtime.root.rglob(f"*{self.token}*"), key=lambda path: -len(path.parts)):
            found.append(f"state {path.relative_to(self.runtime.root)}")
        return found
