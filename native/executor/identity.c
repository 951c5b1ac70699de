/* identity.c: whom the program runs as, what it may do, and how it is scheduled. */

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "plan.h"
#include "procfs.h"
#include "report.h"

enum { CAPABILITIES = 64, CPU_MASK = 8192 + 8, NODE_MASK = 8192 + 8 };    /* bytes: numbers up to 65536 */

int run_personality(const struct step_personality *args)
{
    return syscall(SYS_personality, (unsigned long)args->persona) < 0 ? fail(errno, "personality") : 0;
}

int run_scheduler(const struct step_scheduler *args)
{
    if (syscall(SYS_sched_setattr, 0, plan_text(args->attributes), 0u) < 0)
        return fail(errno, "sched_setattr");
    return 0;
}

int run_io_priority(const struct step_io_priority *args)
{
    enum { WHO_PROCESS = 1 };
    if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, (int)args->priority) < 0)
        return fail(errno, "ioprio_set");
    return 0;
}

/* An empty mask: every CPU; the kernel keeps those that the cgroup allows. */
int run_affinity(const struct step_affinity *args)
{
    static unsigned char mask[CPU_MASK];
    if (args->mask.length > sizeof mask)
        return fail(E2BIG, "sched_setaffinity");
    memset(mask, args->mask.length ? 0 : 0xff, sizeof mask);
    memcpy(mask, plan_text(args->mask), args->mask.length);
    if (syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) < 0)
        return fail(errno, "sched_setaffinity");
    return 0;
}

/* The kernel takes one bit off the count it is given, set_mempolicy(2) BUGS. */
int run_memory_policy(const struct step_memory_policy *args)
{
    static unsigned long nodes[NODE_MASK / sizeof(unsigned long)];
    unsigned long bits = args->nodes.length ? args->nodes.length * 8ul + 1 : 0;
    if (args->nodes.length > sizeof nodes)
        return fail(E2BIG, "set_mempolicy");
    memcpy(nodes, plan_text(args->nodes), args->nodes.length);
    if (syscall(SYS_set_mempolicy, (int)args->mode, bits ? nodes : NULL, bits) < 0)
        return fail(errno, "set_mempolicy");
    return 0;
}

int run_rlimit(const struct step_rlimit *args)
{
    const struct { uint64_t soft, hard; } limit = { (uint64_t)args->soft, (uint64_t)args->hard };
    if (syscall(SYS_prlimit64, 0, (unsigned int)args->resource, &limit, NULL) < 0)
        return fail(errno, "prlimit");
    return 0;
}

int run_umask(const struct step_umask *args)
{
    umask((mode_t)args->mask);
    return 0;
}

/* So that the program can open them again by /dev/stdout. The group stays, as with runc: a mount may want
 * another. Streams that aren't the container's own stay as they are: /dev/null, the caller's terminal, pipes
 * of another user's namespace, files on read-only or foreign file systems; and so do closed ones (main.c
 * holds them). */
int run_stdio_owner(const struct step_stdio_owner *args)
{
    for (int stream = 0; stream < 3; stream++) {
        struct stat status;
        if (fstat(stream, &status) < 0 || status.st_uid == (uid_t)args->uid || isatty(stream)
            || (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)))
            continue;
        if (fchown(stream, (uid_t)args->uid, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL
            && errno != EROFS && errno != EBADF)
            return fail(errno, "fchown %d", stream);
    }
    return 0;
}

/* A caller's /dev/null is the host's inode, whose mode and owner the container's root could change. Where
 * the container has no /dev/null, there is nothing to exchange it for. */
int run_own_null(const struct step_own_null *args)
{
    (void)args;
    for (int stream = 0; stream < 3; stream++) {
        struct stat status;
        int own;
        if (fstat(stream, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3))
            continue;
        own = open("/dev/null", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (own < 0)
            return 0;
        if (fstat(own, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
            close(own);
            return 0;
        }
        if (dup2(own, stream) < 0)
            return fail(errno, "dup2 /dev/null");
        close(own);
    }
    return 0;
}

int run_keep_capabilities(const struct step_keep_capabilities *args)
{
    if (prctl(PR_SET_KEEPCAPS, (unsigned long)args->value, 0, 0, 0) < 0)
        return fail(errno, "prctl PR_SET_KEEPCAPS");
    return 0;
}

/* Reading one that the kernel doesn't know fails: that's how it says which is its last. */
int run_bounding_set(const struct step_bounding_set *args)
{
    for (unsigned int capability = 0; capability < CAPABILITIES; capability++) {
        int held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (held < 0)
            break;
        if (held && !((uint64_t)args->mask >> capability & 1)
            && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return fail(errno, "prctl PR_CAPBSET_DROP %u", capability);
    }
    return 0;
}

int run_groups(const struct step_groups *args)
{
    const uint32_t *gids = args->gids.count ? plan_ids(args->gids) : NULL;
    if (syscall(SYS_setgroups, (long)args->gids.count, gids) < 0)
        return fail(errno, "setgroups");
    return 0;
}

static int is_id(int64_t id)
{
    return id >= 0 && id < UINT32_MAX;      /* 2^32-1 means "leave as it is" to the kernel */
}

/* By number and not through the C library, which would want to tell threads that don't exist. */
int run_user(const struct step_user *args)
{
    if (!is_id(args->uid) || !is_id(args->gid))
        return fail(EINVAL, "the id is out of range");
    gid_t gid = (gid_t)args->gid;
    uid_t uid = (uid_t)args->uid;
    if (syscall(SYS_setresgid, gid, gid, gid) < 0)
        return fail(errno, "setresgid");
    if (syscall(SYS_setresuid, uid, uid, uid) < 0)
        return fail(errno, "setresuid");
    return 0;
}

int run_capabilities(const struct step_capabilities *args)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    for (int half = 0; half < _LINUX_CAPABILITY_U32S_3; half++) {
        data[half].effective = (uint32_t)((uint64_t)args->effective >> 32 * half);
        data[half].permitted = (uint32_t)((uint64_t)args->permitted >> 32 * half);
        data[half].inheritable = (uint32_t)((uint64_t)args->inheritable >> 32 * half);
    }
    return syscall(SYS_capset, &header, data) < 0 ? fail(errno, "capset") : 0;
}

int run_ambient_set(const struct step_ambient_set *args)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return args->mask ? fail(errno, "prctl PR_CAP_AMBIENT_CLEAR_ALL") : 0;
    for (unsigned int capability = 0; capability < CAPABILITIES; capability++)
        if ((uint64_t)args->mask >> capability & 1
            && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            return fail(errno, "prctl PR_CAP_AMBIENT_RAISE %u", capability);
    return 0;
}

int run_no_new_privileges(const struct step_no_new_privileges *args)
{
    (void)args;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail(errno, "prctl PR_SET_NO_NEW_PRIVS");
    return 0;
}

/* With several LSMs each has a directory of its own (Linux 5.8); before, one has the files. */
int run_label_process(const struct step_label_process *args)
{
    static char path[PATH_MAX];
    const char *attribute = plan_text(args->attribute), *value = plan_text(args->value);
    if (snprintf(path, sizeof path, "%s/%s", plan_text(args->lsm), attribute) >= (int)sizeof path)
        return fail(ENAMETOOLONG, "write attr/%.100s...", path);
    if (!write_procfs("self/attr", path, value, 0))
        return 0;
    return errno == ENOENT ? write_procfs("self/attr", attribute, value, 0) : -1;
}
