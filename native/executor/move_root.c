/* move_root.c: changing the root without pivot_root, for a root that can't be pivoted (initramfs).
 *
 * The old root stays mounted beneath the new one, out of reach of a chroot. The kernel however lets a
 * user namespace mount a procfs or sysfs only while one is fully visible, and the host's count as
 * visible where they are: they are unmounted, or where that is locked, covered. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/mman.h>

#include "kernel.h"
#include "path.h"
#include "plan.h"
#include "report.h"

static char *mountinfo;                     /* the whole table, ended by NUL */

/* The table is read whole before it is changed. It has no size to ask for, so the room doubles. */
static int read_mountinfo(void)
{
    for (size_t room = 1 << 16; room <= 1 << 26; room *= 2) {
        int file = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        if (file < 0)
            return fail(errno, "open /proc/self/mountinfo");
        mountinfo = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mountinfo == MAP_FAILED)
            return fail(errno, "mmap");
        size_t used = 0;
        ssize_t length;
        while (used < room - 1 && (length = read(file, mountinfo + used, room - 1 - used)) > 0)
            used += (size_t)length;
        close(file);
        if (used < room - 1)
            return 0;
        munmap(mountinfo, room);
    }
    return fail(E2BIG, "/proc/self/mountinfo is too long");
}

/* Mount points have space, tab, newline and backslash as \ooo, proc_pid_mountinfo(5). */
static void unescape(char *text)
{
    char *to = text;
    for (; *text; to++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *to = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 4;
        } else {
            *to = *text++;
        }
    }
    *to = 0;
}

/* Splits a line: its mount point (field 5) and file system type (after " - "). */
static int split(char *line, char **point, const char **type)
{
    char *separator = strstr(line, " - "), *rest = line;
    if (!separator)
        return 0;
    *separator = 0;
    *type = separator + 3;
    separator[3 + strcspn(*type, " ")] = 0;
    for (int field = 0; field < 4; field++) {
        rest = strchr(rest, ' ');
        if (!rest)
            return 0;
        rest++;
    }
    rest[strcspn(rest, " ")] = 0;
    unescape(rest);
    *point = rest;
    return 1;
}

static int is_below(const char *point, const char *root)
{
    size_t length = strlen(root);
    return !strncmp(point, root, length) && (point[length] == '/' || !point[length]);
}

static int hide(const char *point)
{
    if (sys_mount(NULL, point, NULL, MS_SLAVE | MS_REC, NULL) < 0 && errno != ENOENT && errno != EINVAL)
        return fail(errno, "mount: make %s a slave", point);
    if (!sys_umount2(point, MNT_DETACH) || errno == ENOENT)
        return 0;
    if (errno != EINVAL && errno != EPERM)
        return fail(errno, "umount2 %s", point);
    if (sys_mount("tmpfs", point, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fail(errno, "mount: cover %s", point);
    return 0;
}

int run_move_root(const struct step_move_root *args)
{
    static char root[PATH_MAX];
    struct fd_path name;
    (void)args;
    if (!fd_path(root_directory(), &name) || read_mountinfo() < 0)
        return -1;
    ssize_t length = readlink(name.text, root, sizeof root - 1);
    if (length < 0)
        return fail(errno, "readlink %s", name.text);
    root[length] = 0;
    for (char *line = mountinfo; *line;) {
        char *point, *end = strchrnul(line, '\n');
        const char *type;
        char *next = *end ? end + 1 : end;
        *end = 0;
        if (split(line, &point, &type) && (!strcmp(type, "proc") || !strcmp(type, "sysfs"))
            && !is_below(point, root) && hide(point) < 0)
            return -1;
        line = next;
    }
    if (fchdir(root_directory()) < 0)
        return fail(errno, "fchdir to the root filesystem");
    if (sys_mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        return fail(errno, "mount: move the root");
    if (chroot(".") < 0 || chdir("/") < 0)
        return fail(errno, "chroot");
    return 0;
}
