/* main.c: runs a plan, one step after the other.
 *
 * Built with one command (here musl's; the packager's build.py is the authority on flags):
 *
 *   L=/usr/lib/x86_64-linux-musl; musl-gcc -std=gnu11 -D_GNU_SOURCE -Os -fPIE -static \
 *     -Wall -Wextra -Werror -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
 *     -nostartfiles -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu \
 *     -Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,-z,noexecstack,--gc-sections -s \
 *     $L/rcrt1.o $L/crti.o native/executor/?*.c $L/crtn.o -o pyoci/_executor
 *
 * or `cc -std=gnu11 -D_GNU_SOURCE -Os -static-pie ... native/executor/?*.c` with glibc.
 *
 * Which process lives when:
 *
 *   runtime (Python)            stage                       container's process
 *   ----------------            -----                       -------------------
 *   a. a hook in the runtime's namespaces: the plan has no `clone` step
 *      clone3() ----------------------------------------->  this executor, from a sealed memfd
 *                                                           runs the whole plan
 *   b. a container, a process or a hook in one
 *      clone3() ------------->  this executor
 *                               join_*, time_offsets        (pid and time namespaces are for
 *                               clone3(CLONE_PARENT) ---->   children, hence the clone)
 *      CLONED, pidfd <--------  and exits                   child of the runtime, not of the stage;
 *                                                           goes on after the `clone` step
 *   then
 *      maps, cgroup, hooks                                  wait_runtime
 *      terminal, listener <-------------------------------  DESCRIPTOR
 *   create: READY <---------------------------------------  gate
 *      exits                                                accepts `start`s for ever
 *   start: connects ------------------------------------->  goes on
 *      end of file <--------------------------------------  execve: this executor is gone
 *
 * There is one thread (but see seccomp.c), no heap and no recursion; everything opened is
 * close-on-exec. A handler that fails leaves its descriptors open: the process ends at once. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "kernel.h"
#include "plan.h"
#include "report.h"

static int run_step(const struct plan_record *record)
{
    const void *arguments = record->arguments;
    switch (record->operation) {
    STEP_CASES
    default: return fail(ENOSYS, "the step is unknown");
    }
}

int run_wait_runtime(const struct step_wait_runtime *args)
{
    report(REPORT_WAITING, 0, plan_text(args->reason));
    await_answer();
    return 0;
}

/* The runtime may have died before the kernel was told to watch it; then its end of the socket has. */
int run_die_with_parent(const struct step_die_with_parent *args)
{
    struct pollfd runtime = { .fd = control };
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)args->signal) < 0)
        return fail(errno, "prctl PR_SET_PDEATHSIG");
    if (args->signal && poll(&runtime, 1, 0) > 0 && runtime.revents & (POLLHUP | POLLERR))
        end_process(1);
    return 0;
}

int run_set_dumpable(const struct step_set_dumpable *args)
{
    return prctl(PR_SET_DUMPABLE, (unsigned long)args->value, 0, 0, 0) < 0
        ? fail(errno, "prctl PR_SET_DUMPABLE") : 0;
}

static int set_close_on_exec(int64_t descriptor)
{
    if (descriptor >= 0 && fcntl((int)descriptor, F_SETFD, FD_CLOEXEC) < 0)
        return fail(errno, "fcntl: descriptor %lld", (long long)descriptor);
    return 0;
}

/* Every descriptor that the plan names: none of them is the program's. */
static int protect_descriptors(void)
{
    const struct plan_record *record = plan_first();
    for (uint32_t i = 0; i < plan_header()->steps; i++, record = plan_next(record)) {
        const char *types = plan_signature(record->operation);
        for (int word = 0; types[word]; word++)
            if (types[word] == 'f' && set_close_on_exec((int64_t)record->arguments[word]) < 0)
                return -1;
    }
    return 0;
}

/* A program may be given closed standard streams. While it isn't there yet, their numbers are taken,
 * so that nothing opened here gets one: the terminal will be put there. */
static int hold_streams(void)
{
    int held;
    do
        held = open("/", O_PATH | O_CLOEXEC);
    while (held >= 0 && held <= 2);
    if (held < 0)
        return fail(errno, "open /");
    close(held);
    return 0;
}

static int open_plan(int descriptor)
{
    struct stat status;
    if (fstat(descriptor, &status) < 0 || status.st_size <= 0 || status.st_size > UINT32_MAX)
        return fail(EINVAL, "the plan has no size");
    void *plan = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (plan == MAP_FAILED)
        return fail(errno, "mmap the plan");
    const char *wrong = plan_check(plan, (size_t)status.st_size);
    if (wrong)
        return fail(EINVAL, "%s", wrong);
    close(descriptor);
    plan_use(plan);
    return protect_descriptors();
}

static int run_plan(void)
{
    int trace = plan_header()->flags & PLAN_TRACE;
    const struct plan_record *record = plan_first();
    for (uint32_t i = 0; i < plan_header()->steps; i++, record = plan_next(record)) {
        struct timespec now;
        current_step = record->index;
        if (run_step(record) < 0)
            return -1;
        if (trace && !clock_gettime(CLOCK_MONOTONIC, &now))
            report(REPORT_DONE, now.tv_sec * 1000000000LL + now.tv_nsec, "");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 1;
    control = atoi(argv[2]);
    prctl(PR_SET_NAME, "pyoci-init", 0, 0, 0); /* what a kernel makes of a memfd's name differs */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);               /* the runtime's death shows in what is read from it */
    if (set_close_on_exec(control) < 0 || hold_streams() < 0 || open_plan(atoi(argv[1])) < 0 || run_plan() < 0)
        report_failure();
    return 0;
}
