"""buildah with all that it keeps in one directory."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from support.containers import finish

# Its defaults are above this machine's hard limits, which nobody without CAP_SYS_RESOURCE can raise.
LIMITS = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]


class Buildah:
    """buildah with all of its state in one directory."""

    def __init__(self, directory: Path, runtime: str) -> None:
        self.directory = directory
        self.runtime = runtime
        configuration = directory / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{directory}/run"\ngraphroot = "{directory}/graph"\n'
        )
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "CONTAINERS_STORAGE_CONF": str(configuration),
        }

    def call(self, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            ["buildah", *args],
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return finish(process)

    def ok(self, *args: str) -> str:
        done = self.call(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run_words(self, *args: str) -> list[str]:
        return ["run", "--runtime", self.runtime, "--isolation", "oci", "--network", "none", *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.call(*self.run_words(*args))

    def build(self, *lines: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        context = Path(tempfile.mkdtemp(dir=self.directory, prefix="context-"))
        (context / "Containerfile").write_text("\n".join(lines) + "\n")
        return self.call(
            "bud", "--runtime", self.runtime, "--isolation", "oci", "--network", "none", *LIMITS, *flags,
            "--tag", "built", str(context),
        )  # fmt: skip

    def make_image(self, archive: Path) -> None:
        """The image busybox from a root filesystem, by way of an OCI layout."""
        working = self.ok("from", "scratch")
        self.ok("add", "--quiet", working, str(archive), "/")
        self.ok("config", "--env", "PATH=/bin", working)
        layout = f"oci:{self.directory}/layout:busybox"
        self.ok("commit", "--quiet", "--rm", working, layout)
        self.ok("pull", "--quiet", layout)
        (image,) = json.loads(self.ok("images", "--json"))
        self.ok("tag", image["id"], "busybox")

    def clean(self) -> None:
        """Remove its working containers, and the mounts below its directory."""
        self.ok("rm", "--all")
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (point := line.split()[4]).startswith(str(self.directory)):
                subprocess.run(["umount", point], check=True)
