/* execute.c: from a finished container to the program in it. */

#include "execute.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kernel.h"
#include "path.h"
#include "plan.h"
#include "procfs.h"
#include "report.h"

enum { SIGNALS = 64 };

static char program[PATH_MAX];              /* what find_program found */
static int entered;                         /* enter_directory is done */
static char **argv, **envp;

/* From here `start` is the one that drives: its connection replaces the runtime's. One that ends
 * without the word was killed before it could mean it. */
int run_gate(const struct step_gate *args)
{
    static const char word[] = "start";
    char packet[16];
    report(REPORT_READY, 0, "");
    await_answer();
    if (prctl(PR_SET_PDEATHSIG, 0) < 0)
        return fail(errno, "prctl PR_SET_PDEATHSIG");
    close(control);
    for (;;) {
        control = accept4((int)args->listener, NULL, NULL, SOCK_CLOEXEC);
        if (control < 0 && errno != EINTR && errno != ECONNABORTED)
            end_process(1);
        if (control < 0)
            continue;
        ssize_t length;
        do
            length = read(control, packet, sizeof packet);
        while (length < 0 && errno == EINTR);
        if (length == sizeof word - 1 && !memcmp(packet, word, sizeof word - 1))
            break;
        close(control);
    }
    close((int)args->listener);
    return 0;
}

/* A directory that isn't below the root, such as a descriptor of the host's that got in, has a path
 * that doesn't begin with "/" (CVE-2024-21626). */
static int enter(const char *path)
{
    static char now[PATH_MAX];
    if (chdir(path) < 0)
        return fail(errno, "chdir %s", path);
    if (syscall(SYS_getcwd, now, sizeof now) < 0)
        return fail(errno, "getcwd in %s", path);
    if (now[0] != '/')
        return fail(EPERM, "%s is outside of the container", path);
    return 0;
}

/* Twice in a plan: as root, whom the program's path may be relative for, and as the user, whose alone
 * the directory may be. */
int run_enter_directory(const struct step_enter_directory *args)
{
    if (entered)
        return 0;
    entered = !enter(plan_text(args->path));
    return entered || (!args->final && errno == EACCES) ? 0 : -1;
}

/* 0, or why a path can't be executed. */
static int refuse(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return errno;
    return S_ISREG(status.st_mode) && status.st_mode & 0111 ? 0 : EACCES;
}

static const char *describe(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return "";
    return S_ISDIR(status.st_mode) ? " is a directory" : S_ISREG(status.st_mode) ? " isn't executable"
        : " isn't a regular file";
}

int run_find_program(const struct step_find_program *args)
{
    const char *name = plan_text(args->name);
    int error = ENOENT, denied = 0;
    if (strchr(name, '/')) {
        error = refuse(name);
        if (error)
            return fail(error, "stat %s%s", name, error == EACCES ? describe(name) : "");
        if (snprintf(program, sizeof program, "%s", name) >= (int)sizeof program)
            return fail(ENAMETOOLONG, "stat %.100s...", name);
        return 0;
    }
    for (uint32_t i = 0; *name && i < args->search.count; i++) {
        const char *directory = plan_item(args->search, i);
        if (snprintf(program, sizeof program, "%s/%s", *directory ? directory : ".", name)
            >= (int)sizeof program)
            continue;
        error = refuse(program);
        if (!error)
            return 0;
        denied = denied || error == EACCES;
    }
    program[0] = 0;
    return fail(denied ? EACCES : ENOENT, "exec: \"%s\": %s", name,
                denied ? "not an executable file" : "executable file not found in $PATH");
}

/* Reads a file that the container controls: a bounded part, and nothing that could block. */
static size_t read_regular(const char *path, char *text, size_t size)
{
    struct stat status;
    size_t used = 0;
    ssize_t length;
    int file = open_in_root(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return 0;
    if (!fstat(file, &status) && S_ISREG(status.st_mode))
        while (used < size - 1 && (length = read(file, text + used, size - 1 - used)) > 0)
            used += (size_t)length;
    close(file);
    text[used] = 0;
    return used;
}

/* The home of a line "name:password:uid:gid:comment:home:shell", when it's the uid's. */
static int home_of_line(char *line, int64_t uid, char *home, size_t size)
{
    char *fields[7], *end;
    for (int i = 0; i < 7; i++) {
        fields[i] = line;
        line += strcspn(line, ":");
        if (!*line && i < 5)
            return 0;
        if (*line)
            *line++ = 0;
    }
    if (fields[2][0] < '0' || fields[2][0] > '9' || strtoull(fields[2], &end, 10) != (uint64_t)uid || *end)
        return 0;
    return fields[5][0] == '/' && snprintf(home, size, "HOME=%s", fields[5]) < (int)size;
}

static char *find_home(int64_t uid)
{
    static char passwd[256 * 1024], home[PATH_MAX];
    if (read_regular("etc/passwd", passwd, sizeof passwd))
        for (char *line = passwd; *line;) {
            char *end = strchrnul(line, '\n'), *next = *end ? end + 1 : end;
            *end = 0;
            if (home_of_line(line, uid, home, sizeof home))
                return home;
            line = next;
        }
    strcpy(home, "HOME=/");
    return home;
}

/* Whom the passed sockets are for, sd_listen_fds(3): in its own pid namespace, which needn't be new. */
static char *name_listener(void)
{
    static char variable[32];
    snprintf(variable, sizeof variable, "LISTEN_PID=%d", (int)getpid());
    return variable;
}

/* By number, because the C libraries keep a few signals to themselves; the layout is the kernel's. */
static void reset_signals(void)
{
    static const struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } standard;
    static const uint64_t none;
    for (int signal = 1; signal <= SIGNALS; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            syscall(SYS_rt_sigaction, signal, &standard, NULL, sizeof none);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

int prepare_program(void)
{
    const struct step_execute *step = plan_program();
    if (argv || !step)
        return 0;
    size_t pointers = (size_t)step->argv.count + step->env.count + 4, next = step->env.count;
    argv = mmap(NULL, pointers * sizeof *argv, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argv == MAP_FAILED)
        return fail(errno, "mmap");
    envp = argv + step->argv.count + 1;
    for (uint32_t i = 0; i < step->argv.count; i++)
        argv[i] = (char *)(uintptr_t)plan_item(step->argv, i);
    for (uint32_t i = 0; i < step->env.count; i++)
        envp[i] = (char *)(uintptr_t)plan_item(step->env, i);
    if (step->home_of >= 0)
        envp[next++] = find_home(step->home_of);
    if (step->listening)
        envp[next] = name_listener();
    reset_signals();
    return 0;
}

int run_execute(const struct step_execute *args)
{
    if (!args->argv.count)
        return fail(EINVAL, "there is no program");
    if (prepare_program() < 0)
        return -1;
    const char *path = *program ? program : argv[0];
    execve(path, argv, envp);
    return fail(errno, "exec %s", path);
}
