"""A container that attacks whoever enters it, and the runtime's own files.

The first process is a program that does nothing but look for a newcomer, ptrace it and open what it has open.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyoci
from support.containers import PYOCI, SECONDS, Bundle, Runtime

EXECS = 200

# Prints "begun" when it watches. A newcomer is a process that isn't its child; until it is `true`, everything
# about it is the runtime's. What succeeds is printed.
WATCHER = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int looked, seen;

static int is_program(int pid)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    int file = open(path, O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, name, sizeof name - 1);
    close(file);
    return length <= 0 || strncmp(name, "pyoci", 5);
}

static void attack(int pid)
{
    static const char *const links[] = { "exe", "cwd", "root", "fd/0", "fd/3", "fd/4", "fd/5" };
    char path[64];
    seen++;
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
        int file = open(path, O_RDONLY | O_NONBLOCK);
        if (file >= 0 && !is_program(pid))
            printf("opened %s\n", links[i]), fflush(stdout);
        close(file);
    }
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int memory = open(path, O_RDWR);
    if (memory >= 0 && !is_program(pid))
        printf("opened mem\n"), fflush(stdout);
    close(memory);
    if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
        if (!is_program(pid))
            printf("traced\n"), fflush(stdout);
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, NULL, __WALL); /* a program by now: let it go on */
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}

int main(void)
{
    puts("begun");
    fflush(stdout);
    while (access("/tmp/stop", F_OK)) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        looked++;
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            if (pid > 1 && !is_program(pid))
                attack(pid);
        }
        closedir(proc);
    }
    printf("looked %d times, saw one entering %d times\n", looked, seen);
    return 0;
}
"""


def compiled(directory: Path, source: str) -> Path:
    (directory / "program.c").write_text(source)
    subprocess.run(
        ["cc", "-O2", "-static", "-o", directory / "program", directory / "program.c"],
        check=True,
        timeout=SECONDS,
    )
    return directory / "program"


@pytest.mark.parametrize("mapped", [False, True])
def test_an_entering_process_is_out_of_reach(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, mapped: bool
) -> None:
    """CVE-2016-9962: by ptrace, or by the links in its /proc directory. In a user namespace of its own the
    container's root has every capability there, CAP_SYS_PTRACE too."""
    shutil.copy(compiled(tmp_path, WATCHER), bundle.rootfs / "bin/watch")
    if mapped:
        bundle.in_user_namespace()
        for kind in ("bounding", "effective", "permitted"):
            bundle.config["process"]["capabilities"][kind].append("CAP_SYS_PTRACE")
        (bundle.rootfs / "tmp").chmod(0o777)
    path = bundle.args("watch").save()
    with (tmp_path / "out").open("w+") as out:
        watched = subprocess.Popen(runtime.command("run", "--bundle", str(path), "one"), stdout=out)
        while not (tmp_path / "out").read_text():
            assert watched.poll() is None
        for _ in range(EXECS):
            runtime.ok("exec", "one", "true", own={watched.pid})
        (bundle.rootfs / "tmp/stop").touch()
        assert watched.wait(SECONDS) == 0
    _, *successes, summary = (tmp_path / "out").read_text().splitlines()
    assert successes == []
    seen = int(summary.split()[-2])
    assert seen > 0, "it never saw one entering, and so has tried nothing"


STRAY = """
import os, sys
for number in range(3, 40):
    os.dup2(os.open("/", os.O_RDONLY | os.O_DIRECTORY), number)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_stray_descriptors_of_the_caller_lead_nowhere(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2024-21626: neither is one the program's, nor can its directory be entered by one, as long as pyoci
    itself has it open."""
    runtime.create(bundle.args("sleep", "600"), "one")
    runtime.ok("start", "one")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", STRAY, *runtime.command(*words)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    seen = call("exec", "one", "ls", "/proc/self/fd")
    assert seen.stdout.split() == ["0", "1", "2", "3"], "3 is the directory that ls lists"
    for number in range(3, 50):
        done = call("exec", "--cwd", f"/proc/self/fd/{number}", "one", "ls")
        assert (done.returncode, done.stdout) == (255, "")
        assert "/process/cwd" in done.stderr
    runtime.ok("delete", "--force", "one")


def sums() -> dict[Path, str]:
    """Of everything of the runtime's that runs: launcher, interpreter, executor, libraries."""
    package = Path(pyoci.__file__).parent
    library = Path("/proc/self/maps").read_text()
    mapped = {Path(line.split()[-1]) for line in library.splitlines() if "/" in line.split()[-1]}
    files = {Path(PYOCI).resolve(), Path(sys.executable).resolve(), *package.rglob("*"), *mapped}
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and path.exists()
    }


# Holds /proc/PID/exe of every process that comes, and tries to write to it as soon as nobody runs it.
OVERWRITER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static int held[1024];
    int count = 0;
    char path[64], target[64];
    if (argc > 1) {                 /* become /proc/self/exe's program: whatever that is */
        execv("/proc/self/exe", argv);
        return 1;
    }
    puts("begun");
    fflush(stdout);
    while (access("/tmp/stop", F_OK)) {
        for (int pid = 2; pid < 1000 && count < 1000; pid++) {
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int file = open(path, O_PATH);
            if (file >= 0)
                held[count++] = file;
        }
        for (int i = 0; i < count; i++) {
            snprintf(target, sizeof target, "/proc/self/fd/%d", held[i]);
            char name[256] = "";
            if (readlink(target, name, sizeof name - 1) > 0 && !strncmp(name, "/bin/", 5)) {
                close(held[i]);     /* the container's own */
                held[i] = held[--count];
                continue;
            }
            int file = open(target, O_WRONLY);
            if (file >= 0) {        /* the executor's copy can be opened so: that it is sealed shows now */
                if (write(file, "#!/bin/evil\n", 12) >= 0)
                    printf("written: %s\n", name), fflush(stdout);
                close(file);
            }
        }
    }
    return 0;
}
"""


def test_the_runtime_cannot_be_overwritten(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """CVE-2019-5736: by a program that is /proc/self/exe (the executor itself, which then does nothing),
    by a script whose interpreter that is, and by one that holds the file of whoever enters until it can be
    written to."""
    before = sums()
    assert Path(PYOCI).resolve() in before
    shutil.copy(compiled(tmp_path, OVERWRITER), bundle.rootfs / "bin/overwrite")
    (bundle.rootfs / "bin/script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "bin/script").chmod(0o755)
    for program in ("/proc/self/exe", "/bin/script"):
        done = runtime.call("run", "--bundle", str(bundle.args(program).save()), "two")
        assert done.returncode != 0
    path = bundle.args("overwrite").save()
    with (tmp_path / "out").open("w+") as out:
        running = subprocess.Popen(runtime.command("run", "--bundle", str(path), "one"), stdout=out)
        while not (tmp_path / "out").read_text():
            assert running.poll() is None
        for _ in range(10):
            for words in (("/proc/self/exe",), ("/bin/script",), ("true",)):
                runtime.call("exec", "one", *words, own={running.pid})
        (bundle.rootfs / "tmp/stop").touch()
        assert running.wait(SECONDS) == 0
    assert (tmp_path / "out").read_text() == "begun\n"
    assert sums() == before
