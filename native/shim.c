/* The cffi shim: starts the executor, and the few system calls that Python lacks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

/* Newer than Debian 12's headers, or missing from glibc's. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4U
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define ATTR_IDMAP 0x100000ULL /* MOUNT_ATTR_IDMAP */
#define PIDFD 0x1000ULL
#define INTO_CGROUP 0x200000000ULL
#define SHARE_MEMORY (0x100ULL | 0x4000ULL) /* CLONE_VM | CLONE_VFORK */
#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};

/* clone3 with a shared stack. It must be inline: a function's return address would lie where the
 * child, which runs first on the same stack, makes its own calls. */
static inline __attribute__((always_inline)) long clone_sharing(struct clone_arguments *arguments)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(arguments), "S"(sizeof *arguments)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)arguments;
    register long x1 __asm__("x1") = sizeof *arguments;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(number), "r"(x1) : "memory");
    return x0;
#else
#error "pyoci runs on x86_64 and aarch64"
#endif
}

static int keep_open(int descriptor)
{
    return descriptor < 0 ? 0 : fcntl(descriptor, F_SETFD, 0);
}

static int set_standard(const int standard[3])
{
    for (int i = 0; i < 3; i++)
        if (standard[i] >= 0 && dup2(standard[i], i) < 0)
            return -1;
    return 0;
}

/* The child's whole life before the executor: it runs in the parent's memory, so it only makes
 * system calls. Returns an errno if it could not. */
static __attribute__((noinline)) int become_executor(const struct spawn *request)
{
    char plan[12], control[12];
    char *const arguments[] = {(char *)"pyoci-init", plan, control, NULL};
    char *const environment[] = {NULL};

    snprintf(plan, sizeof plan, "%d", request->plan);
    snprintf(control, sizeof control, "%d", request->control);
    if (set_standard(request->standard) < 0)
        return errno;
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
        for (int fd = 3; fd < 65536; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC); /* Linux before 5.11 */
    }
    if (keep_open(request->plan) < 0 || keep_open(request->control) < 0)
        return errno;
    for (size_t i = 0; i < request->keep_count; i++)
        if (keep_open(request->keep[i]) < 0)
            return errno;
    syscall(SYS_execveat, request->executor, "", arguments, environment, AT_EMPTY_PATH);
    return errno;
}

int shim_spawn(struct spawn *request)
{
    volatile int failure = 0;
    struct clone_arguments arguments;
    sigset_t every, before;
    int pidfd = -1;
    long pid;

    memset(&arguments, 0, sizeof arguments);
    arguments.flags = PIDFD | SHARE_MEMORY;
    arguments.pidfd = (uint64_t)(uintptr_t)&pidfd;
    arguments.exit_signal = SIGCHLD;
    if (request->cgroup >= 0) {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = (uint64_t)request->cgroup;
    }
    /* No handler of the interpreter's may run in the child, on the memory they share. The
     * executor starts with everything blocked and unblocks it for the program. */
    sigfillset(&every);
    sigprocmask(SIG_SETMASK, &every, &before);
    pid = clone_sharing(&arguments);
    if (pid == 0) {
        failure = become_executor(request);
        _exit(127);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return (int)pid;
    if (failure != 0) {
        siginfo_t ended;
        waitid(P_PID, (id_t)pid, &ended, WEXITED);
        close(pidfd);
        return -failure;
    }
    request->pidfd = pidfd;
    return (int)pid;
}

static int memory_file(const char *name)
{
    /* MFD_EXEC is unknown before Linux 6.3, and demanded where vm.memfd_noexec is set. */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int seal(int fd, int complete)
{
    int error = errno;
    if (complete && fcntl(fd, F_ADD_SEALS, ALL_SEALS) == 0)
        return fd;
    if (complete)
        error = errno;
    close(fd);
    return -(error ? error : EIO);
}

int shim_sealed_file(int file, const char *name)
{
    struct stat status;
    off_t offset = 0;
    int fd = memory_file(name);

    if (fd < 0)
        return -errno;
    errno = 0;
    if (fstat(file, &status) < 0)
        return seal(fd, 0);
    while (offset < status.st_size) {
        ssize_t sent = sendfile(fd, file, &offset, (size_t)(status.st_size - offset));
        if (sent <= 0)
            return seal(fd, 0);
    }
    return seal(fd, 1);
}

int shim_sealed_data(const char *data, size_t size, const char *name)
{
    int fd = memory_file(name);

    if (fd < 0)
        return -errno;
    errno = 0;
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written <= 0)
            return seal(fd, 0);
        data += written;
        size -= (size_t)written;
    }
    return seal(fd, 1);
}

int shim_open_beneath(int root, const char *path, int flags, int mode, uint64_t resolve)
{
    struct { uint64_t flags, mode, resolve; } how = {(uint64_t)flags, (uint64_t)mode, resolve};
    long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

int shim_open_tree(int directory, const char *path, unsigned flags)
{
    long fd = syscall(SYS_open_tree, directory, path, flags);
    return fd < 0 ? -errno : (int)fd;
}

int shim_change_mount(int mount, int recursive, uint64_t propagation, int idmap)
{
    struct { uint64_t set, clear, propagation, user_namespace; } change = {
        .set = idmap >= 0 ? ATTR_IDMAP : 0,
        .propagation = propagation,
        .user_namespace = idmap >= 0 ? (uint64_t)idmap : 0,
    };
    int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return syscall(SYS_mount_setattr, mount, "", flags, &change, sizeof change) < 0 ? -errno : 0;
}

int shim_prctl(int option, unsigned long value)
{
    int result = prctl(option, value, 0UL, 0UL, 0UL);
    return result < 0 ? -errno : result;
}

int shim_set_scheduler(int pid, const char *attributes)
{
    return syscall(SYS_sched_setattr, pid, attributes, 0u) < 0 ? -errno : 0;
}

int shim_set_io_priority(int pid, int priority)
{
    enum { WHO_PROCESS = 1 };
    return syscall(SYS_ioprio_set, WHO_PROCESS, pid, priority) < 0 ? -errno : 0;
}

int shim_signal_fd(void)
{
    sigset_t every;
    int fd;

    sigfillset(&every);
    fd = signalfd(-1, &every, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}
