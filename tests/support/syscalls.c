/* syscalls: makes system calls and says how each was answered, a line each, at once.
 *
 *   syscalls [--thread] CALL...
 *   CALL = [i386:|x32:]NUMBER[,ARGUMENT...]
 *
 * A line is the errno, 0 for success, or `SIGSYS ERRNO` when the call raised the signal. With --thread
 * a second thread makes the calls, and the first says `alive` when that has ended. SIGUSR1 is caught. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile sig_atomic_t trapped, trapped_errno;

static void on_signal(int number, siginfo_t *info, void *unused)
{
    (void)unused;
    if (number == SIGSYS) {
        trapped = 1;
        trapped_errno = info->si_errno;
    }
}

static long compat_call(long number, const unsigned long *args)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile ("int $0x80" : "=a" (result)
        : "a" (number), "b" (args[0]), "c" (args[1]), "d" (args[2]), "S" (args[3]), "D" (args[4])
        : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
#else
    (void)number, (void)args;
    return -ENOSYS;
#endif
}

static void make_call(char *text)
{
    unsigned long args[6] = {0};
    int compat = strncmp(text, "i386:", 5) == 0, x32 = strncmp(text, "x32:", 4) == 0;
    char line[64], *rest = text + (compat ? 5 : x32 ? 4 : 0);
    long number = strtol(rest, &rest, 0), result;

    for (int i = 0; *rest == ',' && i < 6; i++)
        args[i] = strtoul(rest + 1, &rest, 0);
    trapped = 0;
    if (compat)
        result = compat_call(number, args);
    else {
        result = syscall(number | (x32 ? 0x40000000L : 0), args[0], args[1], args[2], args[3], args[4], args[5]);
        result = result == -1 ? -errno : 0;
    }
    int size = trapped ? snprintf(line, sizeof line, "SIGSYS %d\n", (int)trapped_errno)
                       : snprintf(line, sizeof line, "%ld\n", result < 0 ? -result : 0);
    if (write(1, line, size) != size)
        _exit(9);
}

static void *make_calls(void *words)
{
    for (char **word = words; *word; word++)
        make_call(*word);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    pthread_t thread;

    sigaction(SIGSYS, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    if (argc < 2 || strcmp(argv[1], "--thread") != 0) {
        make_calls(argv + 1);
        return 0;
    }
    if (pthread_create(&thread, NULL, make_calls, argv + 2) || pthread_join(thread, NULL))
        return 8;
    return write(1, "alive\n", 6) != 6;
}
