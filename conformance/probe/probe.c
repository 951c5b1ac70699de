/* The probe: prints, as one JSON object, what a process can see of its world, then does as it is told.
 *
 *   probe [WHAT ...]
 *   --report FILE      write the object to FILE instead of standard output
 *   --no-report        write none
 *   --path PATH        also: what PATH is and whether it can be read and written
 *   --sysctl NAME      also: the value of a kernel parameter
 *   --device T:MAJ:MIN also: may such a node be made, read, written
 *   --syscall NUMBER   also: the errno of a system call made with invalid arguments
 * and then, in the order given:
 *   --write FILE       make FILE (with "written" in it)
 *   --sleep SECONDS
 *   --signals FILE     from now on --hold appends the number of each signal to FILE
 *   --hold             wait for signals; SIGTERM and SIGINT end the probe with 128 + their number
 *   --kill-self SIGNAL
 *   --fork             a child that sleeps for ever, in the same process group
 *   --exit STATUS
 * As a hook: probe --hook LOG NAME [--sleep SECONDS] [--exit STATUS] (hook.c).
 */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const char *signals_file;

static int option(const char *word, const char *name)
{
    return strcmp(word, name) == 0;
}

/* Options that have no value after them. */
static int is_flag(const char *word)
{
    return option(word, "--no-report") || option(word, "--hold") || option(word, "--fork");
}

static void show_words(int argc, char **argv)
{
    json_open("argv", '[');
    for (int i = 0; i < argc; i++)
        json_text(NULL, argv[i]);
    json_close(']');
    json_open("env", '[');
    for (char **entry = environ; *entry != NULL; entry++)
        json_text(NULL, *entry);
    json_close(']');
}

static void show_sysctl(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c != 0; c++)
        if (*c == '.')
            *c = '/';
    json_file(name, path);
}

static void show_syscall(const char *number)
{
    long result = syscall(atol(number), -1L, -1L, -1L, -1L, -1L, -1L);
    json_integer(number, result == -1 ? errno : 0);
}

/* One member of the report for all the uses of an option: an object keyed by its values. */
static void show_asked(const char *key, const char *name, void (*show)(const char *), int argc, char **argv)
{
    json_open(key, '{');
    for (int i = 1; i + 1 < argc; i += is_flag(argv[i]) ? 1 : 2)
        if (option(argv[i], name))
            show(argv[i + 1]);
    json_close('}');
}

static void report(const char *file, int argc, char **argv)
{
    json_out = file == NULL ? stdout : fopen(file, "we");
    if (json_out == NULL) {
        fprintf(stderr, "probe: %s: %s\n", file, strerror(errno));
        exit(125);
    }
    json_open(NULL, '{');
    show_descriptors();
    show_words(argc, argv);
    show_identity();
    show_attributes();
    show_limits();
    show_signals_and_seccomp();
    show_scheduling();
    show_namespaces();
    show_mounts();
    show_network();
    show_processes();
    show_devices();
    show_terminal();
    show_asked("paths", "--path", show_path, argc, argv);
    show_asked("sysctl", "--sysctl", show_sysctl, argc, argv);
    show_asked("device_access", "--device", show_device_access, argc, argv);
    show_asked("syscalls", "--syscall", show_syscall, argc, argv);
    json_close('}');
    fputc('\n', json_out);
    fflush(json_out);
    if (json_out != stdout)
        fclose(json_out);
}

static void append(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        fprintf(stderr, "probe: %s: %s\n", file, strerror(errno));
        exit(125);
    }
    close(fd);
}

static void pause_for(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

/* Signals are taken with sigwait: the first process of a pid namespace gets none it has no handler for. */
static void hold(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (signals_file != NULL)
        append(signals_file, "ready\n");
    for (;;) {
        int number = 0;
        if (sigwait(&all, &number) != 0)
            continue;
        char line[16];
        snprintf(line, sizeof line, "%d\n", number);
        if (signals_file != NULL)
            append(signals_file, line);
        if (number == SIGTERM || number == SIGINT)
            exit(128 + number);
    }
}

/* The kernel kills even the first process of a pid namespace for a fault of its own, but not by raise(). */
static void kill_self(int number)
{
    signal(number, SIG_DFL);
    if (number == SIGSEGV)
        *(volatile int *)0 = 0;
    raise(number);
}

static void fork_sleeper(void)
{
    fflush(NULL);
    if (fork() == 0)
        for (;;)
            pause();
}

static void act(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (option(argv[i], "--hold"))
            hold();
        else if (option(argv[i], "--fork"))
            fork_sleeper();
        else if (option(argv[i], "--write"))
            append(value, "written\n");
        else if (option(argv[i], "--sleep"))
            pause_for(atof(value));
        else if (option(argv[i], "--signals"))
            signals_file = value;
        else if (option(argv[i], "--kill-self"))
            kill_self(atoi(value));
        else if (option(argv[i], "--exit"))
            exit(atoi(value));
        if (!is_flag(argv[i]))
            i++;
    }
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    int wanted = 1;
    if (argc >= 4 && option(argv[1], "--hook")) {
        record_hook(argv[2], argv[3], argc, argv);
        act(argc - 3, argv + 3);
        return 0;
    }
    for (int i = 1; i < argc; i += is_flag(argv[i]) ? 1 : 2) {
        if (option(argv[i], "--report") && i + 1 < argc)
            file = argv[i + 1];
        if (option(argv[i], "--no-report"))
            wanted = 0;
    }
    if (wanted)
        report(file, argc, argv);
    act(argc, argv);
    return 0;
}
