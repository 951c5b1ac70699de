/* namespace.c: making and joining namespaces, and what is set in new ones. */

#include <errno.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kernel.h"
#include "path.h"
#include "plan.h"
#include "procfs.h"
#include "report.h"

/* What was opened in other namespaces must not be taken for these ones'. */
static int changed_namespaces(void)
{
    use_root(-1);
    forget_procfs();
    return 0;
}

int run_join_namespace(const struct step_join_namespace *args)
{
    if (setns((int)args->fd, (int)args->kind) < 0)
        return fail(errno, "setns");
    return changed_namespaces();
}

int run_join_process(const struct step_join_process *args)
{
    if (setns((int)args->pidfd, (int)args->kinds) < 0)
        return fail(errno, "setns with flags %#llx", (unsigned long long)args->kinds);
    return changed_namespaces();
}

/* The offsets can be written until the first process is in the namespace, time_namespaces(7). */
int run_time_offsets(const struct step_time_offsets *args)
{
    if (unshare(CLONE_NEWTIME) < 0)
        return fail(errno, "unshare");
    return args->offsets.length ? write_procfs("self", "timens_offsets", plan_text(args->offsets), 0) : 0;
}

/* See main.c for who lives when. The child waits until the stage has told of it, so that the first
 * report of it that the runtime reads is the one with its pidfd. */
int run_clone(const struct step_clone *args)
{
    int pidfd = -1, told[2];
    struct clone_args clone = {
        .flags = (uint64_t)args->flags | CLONE_PARENT | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
    };
    if (pipe2(told, O_CLOEXEC) < 0)
        return fail(errno, "pipe2");
    pid_t pid = sys_clone3(&clone);
    if (pid < 0)
        return fail(errno, "clone3 with flags %#llx", (unsigned long long)clone.flags);
    if (pid > 0) {
        int sent = report_descriptor(REPORT_CLONED, pid, pidfd);
        if (sent < 0)
            kill(pid, SIGKILL);
        end_process(sent < 0);
    }
    char nothing;
    close(told[1]);
    while (read(told[0], &nothing, 1) < 0 && errno == EINTR)
        ;
    close(told[0]);
    return changed_namespaces();
}

int run_unshare(const struct step_unshare *args)
{
    if (unshare((int)args->flags) < 0)
        return fail(errno, "unshare with flags %#llx", (unsigned long long)args->flags);
    return 0;
}

int run_new_session(const struct step_new_session *args)
{
    (void)args;
    if (setsid() < 0 && getsid(0) != getpid())
        return fail(errno, "setsid");
    return 0;
}

/* The permissions, fourth in "type;uid;gid;perm;description", keyctl_describe(3). */
static int read_permissions(long ring, uint32_t *permissions)
{
    static char description[512];
    long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, description, sizeof description - 1);
    char *field = description;
    if (length < 0)
        return fail(errno, "keyctl describe");
    for (int i = 0; i < 3; i++) {
        field = strchr(field, ';');
        if (!field)
            return fail(EPROTO, "keyctl describe: %s", description);
        field++;
    }
    *permissions = (uint32_t)strtoul(field, NULL, 16);
    return 0;
}

/* The owner may search the ring without possessing it: a process that joins the container, in a
 * session of its own, then still finds what the container's has put there. */
int run_session_keyring(const struct step_session_keyring *args)
{
    enum { OWNER_SEARCH = 0x00080000 };     /* KEY_USR_SEARCH, linux/key.h inside the kernel */
    uint32_t permissions = 0;
    if (args->label.length && write_procfs("self/attr", "keycreate", plan_text(args->label), 0) < 0)
        return -1;
    long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan_text(args->name));
    if (ring < 0 && errno == ENOSYS) {
        warn("the kernel has no keyrings");
        return 0;
    }
    if (ring < 0)
        return fail(errno, "keyctl join_session_keyring");
    if (read_permissions(ring, &permissions) < 0)
        return -1;
    if (syscall(SYS_keyctl, KEYCTL_SETPERM, ring, permissions | OWNER_SEARCH) < 0)
        return fail(errno, "keyctl setperm");
    return args->label.length ? write_procfs("self/attr", "keycreate", "", 0) : 0;
}

/* Any socket will do for interface requests; a local one needs no protocol family to be there. */
int run_loopback_up(const struct step_loopback_up *args)
{
    struct ifreq request = { .ifr_name = "lo" };
    (void)args;
    int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0)
        return fail(errno, "socket");
    int failed = ioctl(any, SIOCGIFFLAGS, &request) < 0;
    request.ifr_flags |= IFF_UP;
    failed = failed || ioctl(any, SIOCSIFFLAGS, &request) < 0;
    int error = errno;
    close(any);
    return failed ? fail(error, "ioctl SIOCSIFFLAGS lo") : 0;
}

int run_hostname(const struct step_hostname *args)
{
    return sethostname(plan_text(args->name), args->name.length) < 0 ? fail(errno, "sethostname") : 0;
}

int run_domainname(const struct step_domainname *args)
{
    return setdomainname(plan_text(args->name), args->name.length) < 0 ? fail(errno, "setdomainname") : 0;
}

/* Do two values of a sysctl mean the same? The kernel shows tabs between numbers and a final newline. */
static int equal_values(const char *shown, const char *wanted)
{
    static const char blank[] = " \t\n";
    for (;;) {
        shown += strspn(shown, blank);
        wanted += strspn(wanted, blank);
        size_t length = strcspn(shown, blank);
        if (length != strcspn(wanted, blank) || memcmp(shown, wanted, length))
            return 0;
        if (!length)
            return 1;
        shown += length;
        wanted += length;
    }
}

/* A value that is already there isn't written: a host's LSM may refuse the write to a nested
 * container that asks for no change at all. */
int run_sysctl(const struct step_sysctl *args)
{
    static char shown[4096];
    const char *path = plan_text(args->path), *value = plan_text(args->value);
    int file = open_procfs("sys", path, O_RDONLY, RESOLVE_NO_SYMLINKS);
    if (file >= 0) {
        ssize_t length = read(file, shown, sizeof shown - 1);
        close(file);
        if (length >= 0) {
            shown[length] = 0;
            if (equal_values(shown, value))
                return 0;
        }
    }
    return write_procfs("sys", path, value, RESOLVE_NO_SYMLINKS);
}
