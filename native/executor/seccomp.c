/* seccomp.c: loading the filter, and getting its listener out.
 *
 * Once the filter is loaded this process may do only what it permits, and calls that it notifies of
 * block until someone has the listener: so this process can't be the one to send it. A helper thread
 * is: started before, it shares the descriptors but not the filter. Between loading and the helper's
 * answer this thread makes no system call at all, it spins; the runtime answers in microseconds.
 * A thread, because a child would be left to the program as a zombie it doesn't know of. */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "execute.h"
#include "kernel.h"
#include "plan.h"
#include "report.h"

enum { PENDING = -1, NO_LISTENER = -2 };
static atomic_int listener = PENDING;
static atomic_int handed_over;              /* 1: the runtime has it, -1: it couldn't be sent */

static void *hand_over(void *unused)
{
    const struct timespec moment = { .tv_nsec = 20000 };
    int descriptor, sent = 0;
    while ((descriptor = atomic_load(&listener)) == PENDING)
        nanosleep(&moment, NULL);
    if (descriptor >= 0) {
        sent = report_descriptor(REPORT_DESCRIPTOR, DESCRIPTOR_LISTENER, descriptor);
        if (!sent)
            await_answer();
        close(descriptor);
    }
    atomic_store(&handed_over, sent < 0 ? -1 : 1);
    return unused;
}

static int start_helper(void)
{
    static _Alignas(64) char stack[64 * 1024];
    pthread_attr_t attributes;
    pthread_t helper;
    int error = pthread_attr_init(&attributes);
    error = error ? error : pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = error ? error : pthread_attr_setstack(&attributes, stack, sizeof stack);
    error = error ? error : pthread_create(&helper, &attributes, hand_over, NULL);
    return error ? fail(error, "start a thread for the seccomp listener") : 0;
}

/* Gives the number to the helper and waits for it, without a system call. */
static int await_helper(int descriptor)
{
    int state;
    atomic_store(&listener, descriptor);
    while (!(state = atomic_load(&handed_over)))
        ;
    return state < 0 ? -1 : 0;
}

int run_seccomp(const struct step_seccomp *args)
{
    const struct sock_fprog program = {
        .len = (unsigned short)(args->filter.length / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)plan_text(args->filter),
    };
    unsigned long flags = (unsigned long)args->flags;
    int notifies = (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
    if (args->filter.length % sizeof(struct sock_filter)
        || args->filter.length / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return fail(EINVAL, "the filter isn't a list of BPF instructions");
    if (prepare_program() < 0)
        return -1;
    if (notifies) {
        flags &= ~(unsigned long)SECCOMP_FILTER_FLAG_TSYNC;     /* would bind the helper too */
        if (start_helper() < 0)
            return -1;
    }
    int result = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    int error = errno;
    if (notifies && await_helper(result < 0 ? NO_LISTENER : result) < 0)
        return -1;
    return result < 0 ? fail(error, "seccomp with flags %#lx", flags) : 0;
}
