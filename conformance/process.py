"""config.md#process: what the container's process is given."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from conformance import bundle, host
from conformance.capabilities import NAMES, numbers
from conformance.console import Console
from conformance.harness import Container, World, refused, succeeds
from conformance.linux import with_user_namespace
from conformance.registry import SHOULD, Skip, check, equal, requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROCESS = "config.md#process"
POSIX = "config.md#posix-process"
LINUX = "config.md#linux-process"
USER = "config.md#posix-platform-user"


def view_with(world: World, *words: str, **properties: Any) -> dict[str, Any]:
    """The probe's view in a container whose `process` has these properties."""
    container = world.container()
    container.config["process"].update(properties)
    return container.view(*words)


# ---------------------------------------------------------------- args, env, cwd


@requirement(PROCESS)
def args_are_the_argv(world: World) -> None:
    """`args` is the program's argv, whatever its words consist of."""
    words = ["--x", "", " two  words ", "qu\"o'tes", "back\\slash", "tab\tnewline\n", "żółw", "$HOME", "-"]
    view = world.container().view(*words)
    equal(view["argv"], ["/bin/probe", *words], "argv")


@requirement(PROCESS)
def args_are_found_on_the_path(world: World) -> None:
    """A program without a slash is looked for in the directories of the container's PATH, in their order."""
    container = world.container()
    for directory in ("first", "second"):
        (container.rootfs / directory).mkdir()
    # Neither a directory nor a file that can't be executed is the program.
    (container.rootfs / "first/found").mkdir()
    (container.rootfs / "second/found").touch(mode=0o644)
    (container.rootfs / "work/found").hardlink_to(container.rootfs / "bin/probe")
    container.config["process"]["env"] = ["PATH=/none:/first:/second:/work:/bin"]
    container.config["process"]["args"] = ["found"]
    container.started()
    equal(container.wait(), 0, "exit status")
    view = container.read_view()
    equal((view["exe"], view["argv"]), ("/work/found", ["found"]), "program and argv")


@requirement(PROCESS)
def args_with_a_slash_are_relative_to_cwd(world: World) -> None:
    """A relative program with a slash is looked for from the working directory, not on the PATH."""
    container = world.container()
    container.config["process"].update(cwd="/bin", args=["./probe"])
    container.started()
    equal(container.wait(), 0, "exit status")
    equal(container.read_view()["exe"], "/bin/probe", "program")


@requirement(PROCESS)
def args_empty_are_an_error(world: World) -> None:
    """At least one entry in `args` is required."""
    container = world.container()
    container.config["process"]["args"] = []
    done = container.create()
    if done.ok:
        done = container.start()
    refused(done, "args is empty")


@requirement(PROCESS)
def env_is_the_environment(world: World) -> None:
    """`env` is the program's environment: every entry as given, in order."""
    env = [
        bundle.PATH,
        "ONE=1",
        "EMPTY=",
        "SPACED=a b  c",
        "EQUALS=a=b=c",
        "LINES=one\ntwo",
        "UNICODE=ß",
        "Z=",
        "A=2",
    ]
    view = view_with(world, env=env)
    given = [entry for entry in view["env"] if entry in env]
    equal(given, env, "environment")


@requirement(PROCESS)
def env_has_nothing_of_the_runtimes(world: World) -> None:
    """Nothing of the runtime's own environment is in the program's."""
    container = world.container()
    runtimes = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "SECRET": "host's", "LANG": "C.UTF-8"}
    view = container.view(environment=runtimes)
    allowed = set(container.config["process"]["env"])
    extra = [entry for entry in view["env"] if entry not in allowed and not entry.startswith("HOME=")]
    equal(extra, [], "variables that config.json does not have")
    check("HOME=/nowhere" not in view["env"], "HOME is the runtime's")


@requirement(PROCESS, SHOULD)
def env_home_is_the_users(world: World) -> None:
    """HOME, where `env` has none, is the user's of the container's /etc/passwd; a given one stays."""
    view = view_with(world, user={"uid": 1000, "gid": 1000})
    check("HOME=/home/writer" in view["env"], f"environment without HOME: {view['env']}")
    view = view_with(world, env=[bundle.PATH, "HOME=/given"])
    equal([entry for entry in view["env"] if entry.startswith("HOME=")], ["HOME=/given"], "given HOME")


@requirement(PROCESS)
def cwd_is_the_working_directory(world: World) -> None:
    """`cwd` is the program's working directory, also when it is in a mount of the container."""
    for cwd in ("/usr/bin", "/dev/shm"):
        equal(view_with(world, cwd=cwd)["cwd"], cwd, "working directory")


@requirement(
    PROCESS,
    deviations={
        "crun": "1.8.1 takes a relative cwd",
    },
)
def cwd_must_be_absolute(world: World) -> None:
    """A relative `cwd` is an error."""
    container = world.container()
    container.config["process"]["cwd"] = "usr/bin"
    refused(container.create(), "cwd is relative")


@requirement(PROCESS, SHOULD)
def cwd_is_made_when_missing(world: World) -> None:
    """A `cwd` that doesn't exist is made in the container."""
    equal(view_with(world, cwd="/work/deep/er")["cwd"], "/work/deep/er", "working directory")


@requirement(PROCESS)
def cwd_stays_in_the_container(world: World) -> None:
    """A `cwd` that is a symbolic link is resolved in the container, never on the host."""
    container = world.container()
    outside = world.scratch / "outside"
    outside.mkdir()
    (container.rootfs / "link").symlink_to(outside)
    container.config["process"].update(cwd="/link/new", args=["/bin/probe"])
    if container.create().ok and container.start().ok:
        container.wait()
    equal(os.listdir(outside), [], "what was made on the host")


# ---------------------------------------------------------------- user


@requirement(USER)
def user_ids_are_set(world: World) -> None:
    """uid and gid are the program's real, effective and saved ids."""
    view = view_with(world, user={"uid": 1234, "gid": 5678})
    equal(view["uids"], [1234] * 3, "uids")
    equal(view["gids"], [5678] * 3, "gids")


@requirement(USER)
def additional_gids_are_the_groups(world: World) -> None:
    """The supplementary groups are `additionalGids` and no others: none of the runtime's."""
    view = view_with(world, user={"uid": 1000, "gid": 1000, "additionalGids": [5, 6, 70000]})
    equal(sorted(set(view["groups"]) - {1000}), [5, 6, 70000], "groups")

    container = world.container()
    view = container.view(before=lambda: os.setgroups([4711, 4712]))
    equal(sorted(set(view["groups"]) - {0}), [], "groups, the runtime itself being in 4711 and 4712")


@requirement(USER)
def umask_is_set(world: World) -> None:
    """`umask` is the program's file mode creation mask."""
    for mask in (0o077, 0, 0o27):
        equal(view_with(world, user={"uid": 0, "gid": 0, "umask": mask})["umask"], mask, "umask")


# ---------------------------------------------------------------- terminal


@requirement(PROCESS)
def without_terminal_the_streams_are_none(world: World) -> None:
    """Without `terminal`, no standard stream is a terminal, and `consoleSize` is ignored."""
    view = view_with(world, consoleSize={"height": 10, "width": 20})
    equal(view["terminal"]["isatty"], [False] * 3, "isatty of the streams")
    equal(view["dev"].get("console"), None, "/dev/console")
    check(view["terminal"]["controlling_errno"] != 0, "the process has a controlling terminal")


@requirement(PROCESS)
def terminal_is_the_three_streams(world: World) -> None:
    """With `terminal`, a new pseudoterminal of the container's own devpts is all of the standard streams."""
    container = world.container()
    container.config["process"]["terminal"] = True
    with Console(container) as console:
        view = console.view()
    equal(view["terminal"]["isatty"], [True] * 3, "isatty of the streams")
    targets = {fd["number"]: fd["target"] for fd in view["descriptors"]}
    equal(len({targets[n] for n in range(3)}), 1, "number of terminals")
    check(targets[0].startswith(("/dev/pts/", "/dev/console")), f"the terminal is called {targets[0]!r}")


@requirement(PROCESS, SHOULD)
def terminal_is_the_controlling_one(world: World) -> None:
    """The process leads a session whose controlling terminal is its terminal, itself in the foreground."""
    container = world.container()
    container.config["process"]["terminal"] = True
    with Console(container) as console:
        view = console.view()
    equal(view["terminal"]["controlling_errno"], 0, "errno of opening /dev/tty")
    equal(
        (view["terminal"]["session"], view["terminal"]["foreground"]), (1, 1), "session and foreground group"
    )


@requirement(PROCESS)
def terminal_has_the_console_size(world: World) -> None:
    """`consoleSize` is the size of the terminal, from the program's first moment."""
    container = world.container()
    container.config["process"].update(terminal=True, consoleSize={"height": 43, "width": 132})
    with Console(container) as console:
        view = console.view()
    equal((view["terminal"]["height"], view["terminal"]["width"]), (43, 132), "height and width")


@requirement("config-linux.md#default-devices")
def terminal_is_the_console(world: World) -> None:
    """With `terminal`, /dev/console is the pseudoterminal, bind mounted."""
    container = world.container()
    container.config["process"]["terminal"] = True
    with Console(container) as console:
        view = console.view("--path", "/dev/console")
    found = view["paths"]["/dev/console"]
    equal((found.get("type"), found.get("device")), ("character", view["terminal"]["device"]), "/dev/console")
    equal(
        (found["read_errno"] in (0, 11), found["write_errno"]),
        (True, 0),
        "/dev/console can be read and written",
    )


@requirement(PROCESS, SHOULD)
def terminal_belongs_to_the_user(world: World) -> None:
    """The terminal can be opened by the process's user, whoever that is."""
    container = world.container()
    container.config["process"].update(terminal=True, user={"uid": 1000, "gid": 1000})
    with Console(container) as console:
        view = console.view()
    equal(
        (view["terminal"]["uid"], view["terminal"]["controlling_errno"]),
        (1000, 0),
        "owner, errno of /dev/tty",
    )


# ---------------------------------------------------------------- descriptors


@requirement("runtime-linux.md#file-descriptors")
def only_standard_descriptors_are_open(world: World) -> None:
    """The program has the standard streams open and nothing else, whatever the runtime inherited."""
    container = world.container()
    with open("/etc/passwd") as one, open("/etc/group") as other:
        high = 57
        os.dup2(other.fileno(), high)
        try:
            container.run_probe()
            container.created(pass_fds=(one.fileno(), high))
            succeeds(container.start())
            container.wait()
        finally:
            os.close(high)
    equal([fd["number"] for fd in container.read_view()["descriptors"]], [0, 1, 2], "open descriptors")


@requirement("runtime-linux.md#file-descriptors")
def streams_are_the_callers(world: World) -> None:
    """Standard input and output of the program are those the runtime was given."""
    container = world.container()
    source = world.scratch / "input"
    source.write_text("the input")
    container.config["process"]["args"] = ["/bin/busybox", "cat"]
    if bundle.busybox() is None:
        raise Skip("no static busybox on this machine (apt-get install busybox-static)")
    with source.open() as stdin:
        container.created(stdin=stdin.fileno())
    succeeds(container.start())
    equal(container.wait(), 0, "exit status of cat")
    assert container.output is not None
    equal(container.output.read_text(), "the input", "output")


@requirement(
    "runtime-linux.md#file-descriptors",
    SHOULD,
    deviations={"crun": "1.8.1 gives the host's device behind a standard stream to the container's user"},
)
def streams_keep_their_owner(world: World) -> None:
    """A device of the host's that is a standard stream does not come to belong to the container's user."""
    null = world.runtime.null
    before = (null.stat().st_uid, null.stat().st_gid, null.stat().st_mode)
    with_user_namespace(world.container()).view()
    view_with(world, user={"uid": 1000, "gid": 1000})
    equal(
        (null.stat().st_uid, null.stat().st_gid, null.stat().st_mode), before, "owner and mode of the device"
    )


# ---------------------------------------------------------------- capabilities and privileges


@requirement(LINUX)
def capability_sets_are_as_given(world: World) -> None:
    """The five capability sets are exactly those of `capabilities`."""
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    # A program run by uid 0 gets all that its bounding set allows (capabilities(7)), so this is another user.
    view = view_with(world, capabilities=sets, user={"uid": 1000, "gid": 1000})
    found = view["capabilities"]
    equal(found["bounding"], numbers(sets["bounding"]), "bounding set")
    equal(found["inheritable"], numbers(sets["inheritable"]), "inheritable set")
    equal(found["ambient"], numbers(sets["ambient"]), "ambient set")
    # What is left of these two after execve, for a user other than 0: the ambient ones.
    equal(found["permitted"], numbers(sets["ambient"]), "permitted set after execve")
    equal(found["effective"], numbers(sets["ambient"]), "effective set after execve")


@requirement(LINUX)
def capabilities_of_root_are_bounded(world: World) -> None:
    """The capabilities of a program run by uid 0 are those of the bounding set."""
    names = ["CAP_CHOWN", "CAP_SYS_CHROOT"]
    sets = {"bounding": names, "permitted": names, "effective": names}
    found = view_with(world, capabilities=sets)["capabilities"]
    for key in ("bounding", "permitted", "effective"):
        equal(found[key], numbers(names), f"{key} set")
    for key in ("inheritable", "ambient"):
        equal(found[key], [], f"{key} set")


@requirement(LINUX)
def capabilities_empty_are_none(world: World) -> None:
    """With empty sets, the program has no capabilities."""
    sets: dict[str, list[str]] = {
        key: [] for key in ("bounding", "permitted", "effective", "inheritable", "ambient")
    }
    found = view_with(world, capabilities=sets)["capabilities"]
    equal(found, sets, "sets")


@requirement(
    LINUX,
    deviations={
        "crun": "1.8.1 ignores it without a word",
    },
)
def unknown_capability_is_a_warning(world: World) -> None:
    """A capability that can't be mapped to the kernel's is logged as a warning."""
    container = world.container()
    container.config["process"]["capabilities"]["bounding"].append("CAP_NO_SUCH_THING")
    container.run_probe("--no-report")
    done = container.create()
    check("CAP_NO_SUCH_THING" in done.err, f"no word of the unknown capability: {done}")


@requirement(LINUX, SHOULD)
def unknown_capability_is_no_error(world: World) -> None:
    """A capability that can't be mapped to the kernel's does not make `create` fail."""
    container = world.container()
    container.config["process"]["capabilities"]["bounding"].append("CAP_NO_SUCH_THING")
    container.view()


@requirement(
    LINUX,
    SHOULD,
    deviations={
        "runc": "1.1.5 warns, then fails in capset",
        "crun": "1.8.1 fails in capset",
    },
)
def ungrantable_capability_is_no_error(world: World) -> None:
    """A capability the runtime itself lacks does not make `create` fail."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm")
    )
    own = int(line.split()[1], 16)
    missing = [name for number, name in enumerate(NAMES) if not own >> number & 1]
    if not missing:
        raise Skip("the runtime would have every capability here")
    container = world.container()
    for names in container.config["process"]["capabilities"].values():
        names.extend(missing)
    granted = container.view()["capabilities"]["bounding"]
    equal(granted, numbers(bundle.DEFAULT_CAPABILITIES), "bounding set")


@requirement(LINUX)
def no_new_privileges_is_set(world: World) -> None:
    """`noNewPrivileges` sets the process's attribute; without it, it is not set."""
    equal(view_with(world, noNewPrivileges=True)["no_new_privs"], 1, "no_new_privs when true")
    equal(view_with(world, noNewPrivileges=False)["no_new_privs"], 0, "no_new_privs when false")


# ---------------------------------------------------------------- limits


@requirement(POSIX)
def rlimits_are_set(world: World) -> None:
    """Soft and hard limit of each resource are the configured ones."""
    wanted = {}
    for name in (
        "AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC", "RSS",
        "RTPRIO", "RTTIME", "SIGPENDING", "STACK", "LOCKS",
    ):  # fmt: skip
        # musl and Python know no RLIMIT_LOCKS by name; it is 10 (asm-generic/resource.h).
        number = 10 if name == "LOCKS" else getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1] if name != "LOCKS" else resource.RLIM_INFINITY
        # Large enough for the probe to run, and no more than may be set without CAP_SYS_RESOURCE.
        small = {"NICE": 0, "RTPRIO": 0, "NOFILE": 256}.get(name, 1 << 30)
        wanted[f"RLIMIT_{name}"] = (
            [small - small // 4, small] if hard < 0 or hard > small else [hard // 2, hard]
        )
    rlimits = [{"type": key, "soft": soft, "hard": hard} for key, (soft, hard) in wanted.items()]
    found = view_with(world, rlimits=rlimits)["rlimits"]
    equal({key: found[key] for key in wanted}, wanted, "limits")


@requirement(POSIX)
def rlimit_infinity_is_set(world: World) -> None:
    """The largest number means no limit."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        raise Skip("the hard limit of core dumps is finite here")
    most = 2**64 - 1
    found = view_with(world, rlimits=[{"type": "RLIMIT_CORE", "soft": most, "hard": most}])["rlimits"]
    equal(found["RLIMIT_CORE"], [most, most], "RLIMIT_CORE")


@requirement(POSIX)
def unknown_rlimit_is_an_error(world: World) -> None:
    """A type of rlimit that the kernel hasn't is an error."""
    for name in ("RLIMIT_NONE", "NOFILE", "rlimit_nofile", ""):
        container = world.container()
        container.config["process"]["rlimits"] = [{"type": name, "soft": 1, "hard": 1}]
        refused(container.create(), f"the type is {name!r}")


@requirement(POSIX)
def rlimit_that_cannot_be_set_is_an_error(world: World) -> None:
    """A soft limit above the hard one is an error, and nothing is left."""
    container = world.container()
    container.config["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 200, "hard": 100}]
    refused(container.create(), "the soft limit is above the hard one")
    equal(world.leftovers(), [], "left behind")


@requirement(POSIX)
def duplicate_rlimits_are_an_error(world: World) -> None:
    """Two rlimits of the same type are an error."""
    container = world.container()
    one = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    container.config["process"]["rlimits"] = [one, {**one, "hard": 1}]
    refused(container.create(), "RLIMIT_CORE is there twice")


@requirement(LINUX)
def oom_score_adj_is_set(world: World) -> None:
    """`oomScoreAdj` is the process's oom_score_adj."""
    for value in (500, 1000):
        equal(view_with(world, oomScoreAdj=value)["oom_score_adj"], f"{value}\n", "oom_score_adj")


@requirement(LINUX)
def oom_score_adj_unset_is_unchanged(world: World) -> None:
    """Without `oomScoreAdj` the value is the runtime's own."""

    def raise_own() -> None:
        Path("/proc/self/oom_score_adj").write_text("117")

    view = world.container().view(before=raise_own)
    equal(view["oom_score_adj"], "117\n", "oom_score_adj, the runtime's being 117")


# ---------------------------------------------------------------- the document


@requirement("config.md#hostname")
def hostname_is_set(world: World) -> None:
    """`hostname` is the host name in the container, and there only."""
    outside = os.uname().nodename
    container = world.container()
    container.config["hostname"] = "mrs-dalloway"
    equal(container.view()["hostname"], "mrs-dalloway", "host name")
    equal(os.uname().nodename, outside, "the host's own name")


@requirement(
    "config.md#domainname",
    deviations={"runc": "1.1.5 is older than domainname (spec 1.1)"},
)
def domainname_is_set(world: World) -> None:
    """`domainname` is the domain name in the container."""
    container = world.container()
    container.config["domainname"] = "example.org"
    equal(container.view()["domainname"], "example.org", "domain name")


@requirement("config.md#extensibility")
def unknown_properties_are_no_error(world: World) -> None:
    """Properties that are in no specification are ignored."""
    container = world.container()
    container.config["org.example.unknown"] = {"any": ["thing"]}
    container.config["process"]["unknown"] = 1
    container.config["linux"]["unknown"] = [None]
    container.config["mounts"][0]["unknown"] = "x"
    container.view()


@requirement(
    "config.md#valid-values",
    deviations={
        "crun": "1.8.1 reads a text where a number should be",
    },
)
def invalid_values_are_errors(world: World) -> None:
    """Values that are not of the property's type are errors, and nothing is made."""

    def breakages() -> list[tuple[str, Container]]:
        broken = []
        for what, path, value in (
            ("process.user.uid", ("process", "user", "uid"), "root"),
            ("process.user.gid", ("process", "user", "gid"), -1),
            ("process.args", ("process", "args"), "/bin/probe"),
            ("process.noNewPrivileges", ("process", "noNewPrivileges"), "yes"),
            ("root.path", ("root", "path"), 1),
            ("mounts", ("mounts",), {}),
            ("hostname", ("hostname",), ["a"]),
            ("linux.namespaces", ("linux", "namespaces"), "pid"),
            ("linux.maskedPaths", ("linux", "maskedPaths"), "/proc"),
        ):
            container = world.container()
            place = container.config
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            broken.append((what, container))
        return broken

    for what, container in breakages():
        refused(container.create(), f"{what} is of the wrong type")
    equal(world.leftovers(), [], "left behind")


@requirement("config.md#annotations")
def unknown_annotations_are_no_error(world: World) -> None:
    """Annotations a runtime doesn't know do not make it fail."""
    container = world.container()
    container.config["annotations"] = {"org.example.unknown": "x", "io.unknown": ""}
    container.view()


@requirement("runtime.md#create", SHOULD)
def process_leads_its_own_session(world: World) -> None:
    """The process is not in the session of the runtime's caller, whose terminal it could write to."""
    view = world.container().view()
    equal((view["sid"], view["pid"]), (1, 1), "session and pid")
    check(host.namespaces()["pid"] != view["namespaces"]["pid"], "the pid namespace is the host's")
