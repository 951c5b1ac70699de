/* The installed `pyoci` command: begins the one long kernel wait, then starts Python with as little as it can.
 *
 *   pyoci ──fork──► ──fork──► writes itself into the cgroup v1 group it is already in, a few times
 *     │                └────► exits at once, so that nobody's child is left waiting to be reaped
 *     └──► Python, isolated and without site ──► pyoci.__main__.main(argv) ──► _exit(status)
 *
 * native/build.py writes launcher_config.h (where the interpreter lives), then builds this with the interpreter
 * linked in (-DEMBED), or, where that can't be had, as a program that executes python -I -S.
 */
#define _GNU_SOURCE
#include "launcher_config.h"

#ifdef EMBED
#include <Python.h>

#include "frozen_modules.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define MOST_PATHS 8
#define MOST_REPETITIONS 50
#define REPETITION_MILLISECONDS 2
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* Where Python finds its modules, in order; the texts live as long as the process. */
struct places {
    char *paths[MOST_PATHS];
    int count;
};

static void die(const char *what)
{
    fprintf(stderr, "pyoci: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* ---- the cgroup v1 grace period ---- */

/* The first word that isn't a global flag or a global flag's value: the command, or "". */
static const char *command_of(int argc, char **argv)
{
    static const char *const valued[] = {"--root", "--log", "--log-format", "--log-level", "--cgroup-manager",
                                         "--rootless"};

    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-')
            return argv[i];
        for (size_t flag = 0; flag < sizeof(valued) / sizeof(*valued); flag++)
            if (strcmp(argv[i], valued[flag]) == 0) {
                i++; /* past its value, or the end */
                break;
            }
    }
    return "";
}

/* Opens cgroup.procs of the group that one line of /proc/self/cgroup ("4:memory:/a/b") names; -1 if it can't. */
static int open_own_group(char *line)
{
    char path[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    int length;

    if (!group || strncmp(line, "0:", 2) == 0)
        return -1;
    *group++ = '\0';
    controllers++;
    if (strncmp(controllers, "name=", 5) == 0)
        controllers += 5;
    length = snprintf(path, sizeof(path), CGROUPS "/%s%s/cgroup.procs", controllers, group);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -1;
    return open(path, O_WRONLY | O_CLOEXEC);
}

/* Moves this process into the v1 group it is in: that changes nothing, and waits as long as a real migration would.
 * Then again and again, without a wait, so that the kernel doesn't come back to rest before pyoci's own migration,
 * however slow this machine is: until pyoci ends, or some time has passed. */
static void migrate_nowhere(pid_t pyoci)
{
    static char text[16384];
    int file = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pyoci, 0u), .events = POLLIN};
    char *rest = NULL;

    if (length <= 0 || ended.fd < 0)
        return;
    text[length] = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        int procs = open_own_group(line);
        if (procs < 0 || write(procs, "0", 1) != 1)
            continue;
        for (int times = 0; times < MOST_REPETITIONS; times++)
            if (poll(&ended, 1, REPETITION_MILLISECONDS) != 0 || write(procs, "0", 1) != 1)
                break;
        return;
    }
}

/* A v1 migration takes a lock that first waits for an RCU grace period, 6 to 16 ms, unless another migration has
 * just waited for it: the lock stays cheap until about one grace period after its last use (rcu_sync_exit in the
 * kernel's kernel/rcu/sync.c). So one is begun here, and its wait passes while Python loads. It can't be done by a
 * thread: the lock is held for the thread's whole process, which would wait with it.
 *
 * Twice forked: pyoci may wait for a container for days, and must not have an unreaped child meanwhile. Both
 * children first close every descriptor, so that no pipe of the caller's is held open by them. */
static void begin_grace_period(void)
{
    struct statfs cgroups;
    pid_t pyoci = getpid(), child;

    if (statfs(CGROUPS, &cgroups) != 0 || cgroups.f_type == CGROUP2_SUPER_MAGIC)
        return;
    child = fork();
    if (child > 0) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    } else if (child == 0) {
        syscall(SYS_close_range, 0u, ~0u, 0u);
        if (fork() == 0)
            migrate_nowhere(pyoci);
        _exit(0);
    }
}

/* ---- where things are ---- */

static bool is_there(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0;
}

static void add_path(struct places *places, char *path)
{
    if (places->count < MOST_PATHS)
        places->paths[places->count++] = path;
}

static char *join(const char *directory, const char *name)
{
    char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        die("out of memory");
    return path;
}

/* The directory two above the launcher's own file (PREFIX of PREFIX/bin/pyoci), whatever link it was started by. */
static char *own_prefix(void)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (length < 0)
        die("/proc/self/exe");
    path[length] = '\0';
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = '\0';
    }
    return path;
}

/* Whether a virtual environment lets the packages of the interpreter it was made from be seen. */
static bool sees_system_packages(const char *settings)
{
    char text[4096];
    int file = open(settings, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (file < 0)
        return errno == ENOENT; /* not a virtual environment at all */
    length = read(file, text, sizeof(text) - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    return strstr(text, "include-system-site-packages = true") != NULL;
}

/* The standard library first, as Python has it, so that no package can stand in for one of its modules. */
static void find_places(struct places *places)
{
    static const char *const layouts[] = {
        "lib/pyoci",                                /* make install PREFIX= */
        "lib/python" PYTHON_VERSION "/site-packages", /* pip */
        "lib64/python" PYTHON_VERSION "/site-packages",
        "lib/python" PYTHON_VERSION "/dist-packages", /* Debian's pip */
        "lib/python3/dist-packages",                /* Debian's packages */
    };
    static const char *const system_packages[] = {SYSTEM_PACKAGES};
    const char *prefix = own_prefix();
    size_t layout = 0;
    char *packages = join(prefix, layouts[0]);

    while (!is_there(join(packages, "pyoci"))) {
        if (++layout == sizeof(layouts) / sizeof(*layouts)) {
            fprintf(stderr, "pyoci: there is no pyoci in %s/%s, nor in the like: install it anew\n", prefix,
                    layouts[1]);
            _exit(1);
        }
        packages = join(prefix, layouts[layout]);
    }
    add_path(places, STDLIB);
    add_path(places, DYNAMIC_LIBRARIES);
    add_path(places, packages);
    if (layout == 0 || !sees_system_packages(join(prefix, "pyvenv.cfg")))
        return;
    for (size_t i = 0; system_packages[i]; i++)
        add_path(places, (char *)system_packages[i]);
}

/* ---- Python ---- */

#ifdef EMBED

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void set(PyConfig *config, wchar_t **field, const char *path)
{
    check(PyConfig_SetBytesString(config, field, path));
}

/* Python's first two arenas of objects, of 1 MiB each, are put on one huge page, where the kernel has one to give:
 * it is cleared at once, which takes a millisecond less than 400 page faults. */
#define HUGE_PAGE (2ul << 20)
static char *huge_page, *huge_page_end;

static void *new_arena(void *context, size_t size)
{
    void *arena = huge_page;

    (void)context;
    if (size == HUGE_PAGE / 2 && huge_page != huge_page_end) {
        huge_page += size;
        return arena;
    }
    arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return arena == MAP_FAILED ? NULL : arena;
}

static void free_arena(void *context, void *arena, size_t size)
{
    (void)context;
    munmap(arena, size);
}

static void prepare_arenas(void)
{
    static PyObjectArenaAllocator allocator = {NULL, new_arena, free_arena};
    char *space = mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (space == MAP_FAILED)
        return;
    huge_page = space + (HUGE_PAGE - (uintptr_t)space % HUGE_PAGE);
    huge_page_end = huge_page + HUGE_PAGE;
    madvise(huge_page, HUGE_PAGE, MADV_HUGEPAGE); /* refused: they are pages like others */
    PyObject_SetArenaAllocator(&allocator);
}

/* Everything Python would search for is given, so it searches for nothing. */
static void start_python(int argc, char **argv, const struct places *places)
{
    PyPreConfig before;
    PyConfig config;

    prepare_arenas();
    PyImport_FrozenModules = frozen_modules;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* whatever LANG says: names in config.json are UTF-8 */
    check(Py_PreInitialize(&before));

    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.install_signal_handlers = 1; /* EPIPE rather than death by SIGPIPE, as Python's modules expect */
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    set(&config, &config.program_name, "pyoci");
    set(&config, &config.executable, EXECUTABLE);
    set(&config, &config.base_executable, EXECUTABLE);
    set(&config, &config.prefix, PYTHON_PREFIX);
    set(&config, &config.base_prefix, PYTHON_PREFIX);
    set(&config, &config.exec_prefix, PYTHON_EXEC_PREFIX);
    set(&config, &config.base_exec_prefix, PYTHON_EXEC_PREFIX);
    set(&config, &config.stdlib_dir, STDLIB);
    config.module_search_paths_set = 1;
    for (int i = 0; i < places->count; i++) {
        wchar_t *path = Py_DecodeLocale(places->paths[i], NULL);
        if (!path)
            die("out of memory");
        check(PyWideStringList_Append(&config.module_search_paths, path));
    }
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

/* Returns the exit status. Nothing is finalised: the kernel takes back all there is. */
static int run_main(void)
{
    PyObject *bootstrap = PyImport_ImportModule("_pyoci_bootstrap");
    PyObject *result = bootstrap ? PyObject_CallMethod(bootstrap, "run", NULL) : NULL;
    int status = result ? (int)PyLong_AsLong(result) : 1;

    if (PyErr_Occurred()) {
        status = 1;
        PyErr_Print(); /* exits by itself on SystemExit */
    }
    return status;
}

#else

/* Python can't be linked in here: the paths go as arguments, and the rest is as above. */
static void execute_python(int argc, char **argv, const struct places *places)
{
    static char program[] =
        "import sys\n"
        "count = int(sys.argv[1])\n"
        "sys.path[:] = sys.argv[2:2 + count]\n"
        "sys.argv[1:2 + count] = []\n"
        "sys.argv[0] = 'pyoci'\n"
        "from pyoci.__main__ import main\n"
        "import os\n"
        "status = main(sys.argv[1:])\n"
        "if sys.stdout: sys.stdout.flush()\n"
        "os._exit(status)\n";
    char number[16];
    char **words = calloc((size_t)(argc + places->count + 8), sizeof(*words));
    int count = 0;

    if (!words)
        die("out of memory");
    snprintf(number, sizeof(number), "%d", places->count);
    words[count++] = "python";
    words[count++] = "-Xutf8";
    words[count++] = "-ISBc";
    words[count++] = program;
    words[count++] = number;
    for (int i = 0; i < places->count; i++)
        words[count++] = places->paths[i];
    for (int i = 1; i < argc; i++)
        words[count++] = argv[i];
    execv(EXECUTABLE, words);
    die(EXECUTABLE);
}

#endif

/* A descriptor below 3 that isn't open would be given to the next file opened, and the container would get it. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(1);
}

int main(int argc, char **argv)
{
    struct places places = {.count = 0};
    const char *command = command_of(argc, argv);

    fill_standard_descriptors();
    if (strcmp(command, "create") == 0 || strcmp(command, "run") == 0 || strcmp(command, "exec") == 0)
        begin_grace_period();
    find_places(&places);
#ifdef EMBED
    start_python(argc, argv, &places);
    _exit(run_main());
#else
    execute_python(argc, argv, &places);
#endif
}
