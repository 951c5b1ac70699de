"""Known differences between further processes under different runtimes, and why they are."""

from __future__ import annotations

from conformance.bundle import open_files
from conformance.explanation import Explanation, be, each

_FILES = be([open_files(), open_files()])

EXECUTIONS: tuple[Explanation, ...] = (
    *each("pyoci", "gives exec, as all do create, the container's own /dev/null for the caller's",
          "descriptors 0 flags", "descriptors 0 mode", "descriptors 0 target", case="exec*"),
    *each("runc", "1.1.5 is older than giving exec the container's umask", "umask", case="exec of options",
          undo=be(0o027)),
    *each("runc", "1.1.5 is older than giving exec the container's limits where a process file has none",
          "rlimits RLIMIT_NOFILE", case="exec silent file", undo=_FILES),
    *each("runc", "gives no environment where a process file has none",
          "env *", case="exec silent file"),
    *each("crun", "makes no session for a further process", "own session", "own group", case="exec*"),
    *each("crun", "gives exec the umask it was called with", "umask", case="exec of options", undo=be(0o027)),
    *each("crun", "gives exec no limits of the container's", "rlimits RLIMIT_NOFILE", case="exec*",
          undo=_FILES),
    *each("crun", "gives exec no limits of the container's",
          *(f"rlimits RLIMIT_{name}" for name in ("CORE", "FSIZE", "NPROC")), case="exec of options"),
    *each("crun", "gives exec no oom_score_adj", "oom_score_adj", case="exec *"),
    *(explanation for case in ("exec", "exec userns") for explanation in
      each("crun", "sets noNewPrivileges for exec only where it is told to", "no_new_privs", case=case)),
    *each("crun", "1.8.1 is older than giving exec the container's user and directory",
          "uids", "gids", "groups", "cwd", "env *", "dumpable", "capabilities effective",
          "capabilities permitted", case="exec of options"),
    *each("crun", "1.8.1 forgets the container's environment and capabilities beside exec's own",
          "capabilities bounding", "env *", case="exec flags"),
    *each("crun", "1.8.1 looks no HOME up for the user of a process file", "env *", case="exec file"),
)  # fmt: skip
