"""Every command and every flag, in one table: the parser, the help, the man page and completion read it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # long name, letter or "", kind, what its value is called in help, default, help
    Flag = tuple[str, str, str, str, str, str]

# Kinds of flags. A CHOICE is called what it may be: "table|json". The default of a LIST is empty.
SWITCH, TEXT, NUMBER, LIST, CHOICE = "switch", "text", "number", "list", "choice"

HELP = ("help", "h", SWITCH, "", "", "show help")

GLOBAL_ARGUMENTS = "[command] [argument]..."
GLOBAL_FLAGS: tuple[Flag, ...] = (
    ("root", "", TEXT, "DIR", "", "where the state of containers is kept"),
    ("log", "", TEXT, "FILE", "", "append the log to FILE, or send it to journald:ID or syslog:ID"),
    ("log-format", "", CHOICE, "text|json", "text", "the shape of the log: lines of text, or JSON objects"),
    ("log-level", "", CHOICE, "error|warning|info|debug", "info", "log what is at least this important"),
    ("debug", "", SWITCH, "", "", "the same as --log-level debug, and tracebacks of internal errors"),
    ("systemd-cgroup", "", SWITCH, "", "", "the same as --cgroup-manager systemd"),
    ("cgroup-manager", "", CHOICE, "cgroupfs|systemd|disabled", "cgroupfs", "who makes cgroups"),
    ("rootless", "", CHOICE, "true|false|auto", "auto", "do without cgroup rights where they are missing"),
    ("version", "v", SWITCH, "", "", "print the version"),
    HELP,
)

_CONSOLE = ("console-socket", "", TEXT, "SOCKET", "", "send the terminal to this AF_UNIX socket")
_PIDFD = ("pidfd-socket", "", TEXT, "SOCKET", "", "send a pidfd of the process to this AF_UNIX socket")
_PID_FILE = ("pid-file", "", TEXT, "FILE", "", "write the process id to FILE")
_PRESERVE = ("preserve-fds", "", NUMBER, "N", "0", "hand on N more descriptors, from 3 up")
_DETACH = ("detach", "d", SWITCH, "", "", "return as soon as the process runs")
_CREATE: tuple[Flag, ...] = (
    ("bundle", "b", TEXT, "DIR", ".", "the bundle's directory"),
    ("config", "f", TEXT, "FILE", "config.json", "the configuration's name in the bundle"),
    _CONSOLE,
    _PID_FILE,
    _PIDFD,
    _PRESERVE,
    ("no-pivot", "", SWITCH, "", "", "change the root without pivot_root(2), for bundles on a ramdisk"),
    ("no-new-keyring", "", SWITCH, "", "", "keep the caller's session keyring"),
)

# name -> (what it does, its arguments, its flags). The module pyoci.cli.NAME runs it.
# <argument> is required, [argument] is not; after a final ... everything is taken as it comes.
COMMANDS: dict[str, tuple[str, str, tuple[Flag, ...]]] = {
    "create": ("create a container and stop short of its program", "<container-id>", _CREATE),
    "delete": (
        "delete a stopped container",
        "<container-id>",
        (("force", "f", SWITCH, "", "", "kill it first if it runs; a missing container is no error"),),
    ),
    "events": (
        "print what a container uses, every so often, and when its memory runs out, as JSON",
        "<container-id>",
        (
            ("interval", "", TEXT, "DURATION", "5s", "how long to wait between two reports, as 5s or 1m30s"),
            ("stats", "", SWITCH, "", "", "print what it uses now, and end"),
        ),
    ),
    "exec": (
        "execute a further program in a running container",
        "<container-id> [command] [argument]...",
        (
            ("tty", "t", SWITCH, "", "", "give it a terminal"),
            ("user", "u", TEXT, "UID[:GID]", "", "run as this user (numbers only)"),
            ("additional-gids", "g", LIST, "GID", "", "one more supplementary group"),
            ("env", "e", LIST, "NAME=VALUE", "", "set an environment variable"),
            ("cwd", "", TEXT, "PATH", "", "the working directory in the container"),
            _DETACH,
            _PID_FILE,
            ("process", "p", TEXT, "FILE", "", "read the process (as in config.json) from FILE"),
            _CONSOLE,
            _PIDFD,
            ("cap", "c", LIST, "CAPABILITY", "", "add a capability"),
            ("no-new-privs", "", SWITCH, "", "", "set noNewPrivileges"),
            _PRESERVE,
            ("ignore-paused", "", SWITCH, "", "", "allow it in a paused container"),
            ("process-label", "", TEXT, "LABEL", "", "the SELinux label"),
            ("apparmor", "", TEXT, "PROFILE", "", "the AppArmor profile"),
            ("cgroup", "", LIST, "[CONTROLLER:]PATH", "", "run in this cgroup below the container's"),
        ),
    ),
    "explain": (
        "print what create would do for a bundle, step by step, touching nothing",
        "",
        (
            ("bundle", "b", TEXT, "DIR", ".", "the bundle's directory"),
            ("config", "f", TEXT, "FILE", "config.json", "the configuration's name in the bundle"),
            ("json", "", SWITCH, "", "", "print JSON"),
        ),
    ),
    "features": ("print what this runtime can do, as JSON", "", ()),
    "gc": (
        "remove what containers whose state is gone have left: processes, cgroups",
        "",
        (("dry-run", "n", SWITCH, "", "", "only print it"),),
    ),
    "kill": (
        "send a signal to a container (default: TERM)",
        "<container-id> [signal]",
        (("all", "a", SWITCH, "", "", "send it to every process of the container"),),
    ),
    "list": (
        "list the containers",
        "",
        (
            ("format", "f", CHOICE, "table|json", "table", "the shape of the list"),
            ("quiet", "q", SWITCH, "", "", "print the ids only"),
        ),
    ),
    "mounts": (
        "add to a running container what FILE lists as config.json lists mounts, or remove it",
        "<add|remove> <container-id> <file>",
        (),
    ),
    "pause": ("freeze every process of a container", "<container-id>", ()),
    "ps": (
        "list the processes of a container",
        "<container-id> [ps option]...",
        (("format", "f", CHOICE, "table|json", "table", "a table made by ps(1), or the process ids"),),
    ),
    "resume": ("thaw a paused container", "<container-id>", ()),
    "run": (
        "create a container, start it, wait for its end and delete it",
        "<container-id>",
        (
            *_CREATE,
            _DETACH,
            ("keep", "", SWITCH, "", "", "don't delete the container when it has ended"),
            ("no-subreaper", "", SWITCH, "", "", "don't adopt the container's orphaned processes"),
            ("trace", "", SWITCH, "", "", "print to stderr how long each step took"),
        ),
    ),
    "spec": (
        "write a config.json to begin with",
        "",
        (
            ("bundle", "b", TEXT, "DIR", ".", "the directory to write it to"),
            ("rootless", "", SWITCH, "", "", "for a container that needs no root"),
        ),
    ),
    "start": ("start the program of a created container", "<container-id>", ()),
    "state": ("print the state of a container, as JSON", "<container-id>", ()),
    "update": (
        "change the resources of a container, all that is asked for or nothing",
        "<container-id>",
        (
            (
                "resources",
                "r",
                TEXT,
                "FILE",
                "",
                "read them (as linux.resources in config.json) from FILE or -",
            ),
            ("blkio-weight", "", TEXT, "WEIGHT", "", "the weight for block devices, 10 to 1000"),
            ("cpu-burst", "", TEXT, "MICROSECONDS", "", "what may be saved up of the quota"),
            ("cpu-idle", "", TEXT, "0|1", "", "with 1, run only when nothing else would"),
            ("cpu-period", "", TEXT, "MICROSECONDS", "", "the period of the quota"),
            ("cpu-quota", "", TEXT, "MICROSECONDS", "", "the CPU time in a period; -1 for no limit"),
            ("cpu-rt-period", "", TEXT, "MICROSECONDS", "", "the period of the realtime runtime (cgroup v1)"),
            ("cpu-rt-runtime", "", TEXT, "MICROSECONDS", "", "realtime CPU time in a period (cgroup v1)"),
            ("cpu-share", "", TEXT, "SHARES", "", "the weight for CPU time, 2 to 262144"),
            ("cpuset-cpus", "", TEXT, "CPUS", "", "the CPUs to run on, like 0-3,7"),
            ("cpuset-mems", "", TEXT, "NODES", "", "the memory nodes to use"),
            ("kernel-memory", "", TEXT, "SIZE", "", "ignored"),
            ("kernel-memory-tcp", "", TEXT, "SIZE", "", "ignored"),
            ("memory", "", TEXT, "SIZE", "", "the limit of memory, like 512M; -1 for none"),
            ("memory-reservation", "", TEXT, "SIZE", "", "what memory is left to it when memory gets short"),
            ("memory-swap", "", TEXT, "SIZE", "", "the limit of memory and swap together; -1 for none"),
            ("pids-limit", "", TEXT, "COUNT", "", "the most processes; -1 for no limit"),
            ("l3-cache-schema", "", TEXT, "SCHEMA", "", "the share of L3 cache, like L3:0=ff;1=f"),
            ("mem-bw-schema", "", TEXT, "SCHEMA", "", "the share of memory bandwidth, like MB:0=20;1=70"),
        ),
    ),
}
