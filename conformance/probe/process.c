/* What a process is: ids, capabilities, limits, attributes, signals, scheduling. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/capability.h and linux/keyctl.h, which musl-gcc doesn't find. */
#define CAPABILITY_VERSION_3 0x20080522
#define KEYCTL_GET_KEYRING_ID 0
#define KEYCTL_DESCRIBE 6
#define KEY_SPEC_SESSION_KEYRING -3
struct capability_header { uint32_t version; int pid; };
struct capability_data { uint32_t effective, permitted, inheritable; };

void show_identity(void)
{
    json_integer("pid", getpid());
    json_integer("ppid", getppid());
    json_integer("sid", getsid(0));
    json_integer("pgid", getpgid(0));

    uid_t uids[3];
    gid_t gids[3];
    getresuid(&uids[0], &uids[1], &uids[2]);
    getresgid(&gids[0], &gids[1], &gids[2]);
    json_open("uids", '[');
    for (int i = 0; i < 3; i++)
        json_unsigned(NULL, uids[i]);
    json_close(']');
    json_open("gids", '[');
    for (int i = 0; i < 3; i++)
        json_unsigned(NULL, gids[i]);
    json_close(']');

    static gid_t groups[65536];
    int count = getgroups(65536, groups);
    json_open("groups", '[');
    for (int i = 0; i < count; i++)
        json_unsigned(NULL, groups[i]);
    json_close(']');
}

/* Capabilities as numbers (capabilities(7)): their names are the reader's. */
static void show_capability_set(const char *key, uint64_t set)
{
    json_open(key, '[');
    for (int i = 0; i < 64; i++)
        if (set >> i & 1)
            json_integer(NULL, i);
    json_close(']');
}

static void show_capabilities(void)
{
    struct capability_header header = {CAPABILITY_VERSION_3, 0};
    struct capability_data data[2];
    memset(data, 0, sizeof data);
    syscall(SYS_capget, &header, data);

    uint64_t bounding = 0, ambient = 0;
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            bounding |= (uint64_t)1 << cap;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
            ambient |= (uint64_t)1 << cap;
    }
    json_open("capabilities", '{');
    show_capability_set("bounding", bounding);
    show_capability_set("effective", data[0].effective | (uint64_t)data[1].effective << 32);
    show_capability_set("permitted", data[0].permitted | (uint64_t)data[1].permitted << 32);
    show_capability_set("inheritable", data[0].inheritable | (uint64_t)data[1].inheritable << 32);
    show_capability_set("ambient", ambient);
    json_close('}');
}

void show_limits(void)
{
    static const struct { const char *name; int resource; } limits[] = {
        {"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE}, {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_RSS", RLIMIT_RSS}, {"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
    };
    json_open("rlimits", '{');
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit value;
        if (getrlimit(limits[i].resource, &value) != 0) {
            json_null(limits[i].name);
            continue;
        }
        json_open(limits[i].name, '[');
        json_unsigned(NULL, value.rlim_cur);
        json_unsigned(NULL, value.rlim_max);
        json_close(']');
    }
    json_close('}');
}

static void show_session_keyring(void)
{
    char description[512];
    long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    json_open("session_keyring", '{');
    json_integer("errno", id < 0 ? errno : 0);
    json_integer("id", id);
    long length = id < 0 ? -1 : syscall(SYS_keyctl, KEYCTL_DESCRIBE, id, description, sizeof description);
    if (length > 0 && length <= (long)sizeof description)
        json_text("description", description);
    else
        json_null("description");
    json_close('}');
}

void show_attributes(void)
{
    show_capabilities();
    json_integer("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    json_integer("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    json_integer("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    json_integer("keep_caps", prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
    int value = -1;
    prctl(PR_GET_PDEATHSIG, &value, 0, 0, 0);
    json_integer("pdeathsig", value);
    value = -1;
    prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0);
    json_integer("child_subreaper", value);
    json_integer("timer_slack", prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));

    mode_t mask = umask(0);
    umask(mask);
    json_unsigned("umask", mask);
    char *cwd = getcwd(NULL, 0);
    json_text("cwd", cwd);
    free(cwd);
    json_text("execfn", (const char *)getauxval(AT_EXECFN));
    json_integer("at_secure", (int64_t)getauxval(AT_SECURE));
    json_link("exe", "/proc/self/exe");
    json_integer("personality", personality(0xffffffff));
    json_file("oom_score_adj", "/proc/self/oom_score_adj");
    json_file("lsm_label", "/proc/self/attr/current");
    show_session_keyring();
}

/* The rest of a line of /proc/self/status after its name and the blank, or NULL. */
static const char *status_line(const char *status, const char *name)
{
    static char value[256];
    size_t length = strlen(name);
    for (const char *line = status; line != NULL && *line != 0; line = strchr(line, '\n')) {
        if (*line == '\n')
            line++;
        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        line += length + 1;
        line += strspn(line, " \t");
        size_t end = strcspn(line, "\n");
        if (end >= sizeof value)
            return NULL;
        memcpy(value, line, end);
        value[end] = 0;
        return value;
    }
    return NULL;
}

void show_signals_and_seccomp(void)
{
    static const struct { const char *key, *line; } lines[] = {
        {"signals_ignored", "SigIgn"}, {"signals_blocked", "SigBlk"}, {"signals_caught", "SigCgt"},
        {"signals_pending", "SigPnd"}, {"signals_pending_shared", "ShdPnd"},
        {"seccomp_mode", "Seccomp"}, {"seccomp_filters", "Seccomp_filters"},
        {"speculation_store_bypass", "Speculation_Store_Bypass"},
        {"speculation_indirect_branch", "SpeculationIndirectBranch"}, {"threads", "Threads"},
    };
    static char status[16384];
    FILE *file = fopen("/proc/self/status", "re");
    size_t length = file == NULL ? 0 : fread(status, 1, sizeof status - 1, file);
    status[length] = 0;
    if (file != NULL)
        fclose(file);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        json_text(lines[i].key, status_line(status, lines[i].line));
}

void show_scheduling(void)
{
    /* musl's sched_getscheduler only ever fails, so the system call is made here. */
    json_integer("scheduler", syscall(SYS_sched_getscheduler, 0));
    json_integer("nice", getpriority(PRIO_PROCESS, 0));
    json_integer("ioprio", syscall(SYS_ioprio_get, 1, 0));
    cpu_set_t set;
    CPU_ZERO(&set);
    json_open("affinity", '[');
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &set))
                json_integer(NULL, cpu);
    json_close(']');
}
