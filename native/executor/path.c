/* path.c: opening and making things in the container's root, and nowhere else.
 *
 * A root filesystem is hostile: any component of any path in it may be a symbolic link to anywhere,
 * and with a shared volume it may become one at any moment. So no path is ever checked first and
 * used later. The kernel resolves (openat2 with RESOLVE_IN_ROOT), or `walk` does, component by
 * component on descriptors, never following a link itself and never opening "..": for kernels
 * without openat2 (before 5.6), to make what is missing, and to say which component is at fault. */

#include "path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "report.h"

enum { MAXIMUM_LINKS = 40, PARENT_MODE = 0755 };       /* as many links as the kernel follows */

static int root = -1;

int root_directory(void)
{
    if (root < 0)
        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root;
}

void use_root(int directory)
{
    if (root >= 0)
        close(root);
    root = directory;
}

/* The state of a walk: `at` is open, `done` is its path from the directory, `rest` is to come. */
static struct walk { int at, links; char name[NAME_MAX + 1], done[PATH_MAX], rest[PATH_MAX]; } walk;

static int at_fault(const struct lookup *lookup, int error, const char *why)
{
    return fail(error, "open %s: component %s%s", lookup->path, walk.name, why);
}

/* Moves the next component from `rest` to `name`; says whether there was one. */
static int next_component(void)
{
    char *start = walk.rest + strspn(walk.rest, "/");
    size_t length = strcspn(start, "/");
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(walk.name, start, length);
    walk.name[length] = 0;
    start += length;
    start += strspn(start, "/");
    memmove(walk.rest, start, strlen(start) + 1);
    return length > 0;
}

static int step_to(int directory)
{
    close(walk.at);
    walk.at = directory;
    return 0;
}

/* ".." without asking the file system for it: a directory that is moved meanwhile could answer with
 * one outside. Walks again what is done, less its last component, and through no link this time. */
static int step_up(const struct lookup *lookup)
{
    char *last = strrchr(walk.done, '/');
    if (!last)
        return lookup->resolve & RESOLVE_BENEATH ? at_fault(lookup, EXDEV, " leaves it") : 0;
    *last = 0;
    int at = openat(lookup->directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (char *name = walk.done; at >= 0 && *name;) {
        char *end = strchrnul(name + 1, '/'), kept = *end;
        *end = 0;
        int next = openat(at, name + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        *end = kept;
        close(at);
        at = next;
        name = end;
    }
    return at < 0 ? at_fault(lookup, errno, " changed") : step_to(at);
}

/* Puts the link's value in front of what is to come. */
static int step_into_link(const struct lookup *lookup, int link)
{
    static char value[PATH_MAX];
    if (lookup->resolve & RESOLVE_NO_SYMLINKS)
        return at_fault(lookup, ELOOP, " is a symbolic link");
    if (++walk.links > MAXIMUM_LINKS)
        return at_fault(lookup, ELOOP, " is one symbolic link too many");
    ssize_t length = readlinkat(link, "", value, sizeof value);
    if (length < 0)
        return at_fault(lookup, errno, "");
    size_t rest = strlen(walk.rest);
    if ((size_t)length + 1 + rest >= sizeof walk.rest)
        return at_fault(lookup, ENAMETOOLONG, "");
    memmove(walk.rest + length + 1, walk.rest, rest + 1);
    memcpy(walk.rest, value, (size_t)length);
    walk.rest[length] = '/';
    if (value[0] != '/')
        return 0;
    if (lookup->resolve & RESOLVE_BENEATH)
        return at_fault(lookup, EXDEV, " is an absolute link");
    walk.done[0] = 0;
    int at = openat(lookup->directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return at < 0 ? at_fault(lookup, errno, "") : step_to(at);
}

/* Makes the component; one that appears meanwhile is taken as it is, and looked at like any other. */
static int make_component(mode_t create)
{
    mode_t mask = umask(0);
    int made;
    if (S_ISDIR(create))
        made = mkdirat(walk.at, walk.name, create & 07777);
    else
        made = openat(walk.at, walk.name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, create & 07777);
    umask(mask);
    if (made < 0 && errno != EEXIST)
        return -1;
    if (made >= 0 && !S_ISDIR(create))
        return made;
    return openat(walk.at, walk.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static int open_component(const struct lookup *lookup, int last)
{
    int found = openat(walk.at, walk.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0 && errno == ENOENT && lookup->create)
        found = make_component(last ? lookup->create : S_IFDIR | PARENT_MODE);
    return found < 0 ? at_fault(lookup, errno, "") : found;
}

static int open_last(const struct lookup *lookup, int found)
{
    if (lookup->flags & O_PATH)
        return found;
    int opened = openat(walk.at, walk.name, lookup->flags | O_NOFOLLOW | O_CLOEXEC);
    if (opened < 0)
        at_fault(lookup, errno, "");
    close(found);
    return opened;
}

/* One component: 0 to go on, -1 for a failure, else 1 with the descriptor in `*result`. */
static int step(const struct lookup *lookup, dev_t device, int *result)
{
    struct stat status;
    if (!strcmp(walk.name, "."))
        return 0;
    if (!strcmp(walk.name, ".."))
        return step_up(lookup);
    int last = !*walk.rest;
    int found = open_component(lookup, last);
    if (found < 0)
        return -1;
    int error = 0;
    if (fstat(found, &status) < 0)
        error = at_fault(lookup, errno, "");
    else if (S_ISLNK(status.st_mode) && !(last && lookup->flags & O_NOFOLLOW)) {
        error = step_into_link(lookup, found);
        close(found);
        return error;
    } else if (lookup->resolve & RESOLVE_NO_XDEV && status.st_dev != device)
        error = at_fault(lookup, EXDEV, " is another file system");
    else if (!S_ISDIR(status.st_mode) && (!last || lookup->flags & O_DIRECTORY))
        error = at_fault(lookup, ENOTDIR, "");
    else if (!last && strlen(walk.done) + strlen(walk.name) + 2 > sizeof walk.done)
        error = at_fault(lookup, ENAMETOOLONG, "");
    if (error < 0) {
        close(found);
        return -1;
    }
    if (last) {
        *result = open_last(lookup, found);
        return *result < 0 ? -1 : 1;
    }
    strcat(strcat(walk.done, "/"), walk.name);
    return step_to(found);
}

static int walk_path(const struct lookup *lookup)
{
    struct stat status;
    int result = -1, more = 0, done = 0;
    if (strlen(lookup->path) >= sizeof walk.rest)
        return fail(ENAMETOOLONG, "open %.100s...", lookup->path);
    strcpy(walk.rest, lookup->path);
    walk.done[0] = walk.name[0] = 0;
    walk.links = 0;
    walk.at = openat(lookup->directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk.at < 0 || fstat(walk.at, &status) < 0)
        return fail(errno, "open %s: its root", lookup->path);
    while (!done && (more = next_component()) > 0)
        done = step(lookup, status.st_dev, &result);
    if (!done && more < 0)
        done = at_fault(lookup, ENAMETOOLONG, "");
    if (!done) {                            /* the path ended in "/", "." or ".." */
        result = openat(walk.at, ".", lookup->flags | O_CLOEXEC);
        if (result < 0)
            fail(errno, "open %s", lookup->path);
    }
    int error = errno;
    close(walk.at);
    errno = error;
    return result;
}

/* With RESOLVE_IN_ROOT the kernel gives EAGAIN when anything was renamed while it met "..". */
static int ask_kernel(const struct lookup *lookup)
{
    struct open_how how = { .flags = (uint64_t)(lookup->flags | O_CLOEXEC),
                            .resolve = lookup->resolve | RESOLVE_NO_MAGICLINKS };
    int found, tries = 128;
    do
        found = sys_openat2(lookup->directory, *lookup->path ? lookup->path : ".", &how);
    while (found < 0 && (errno == EAGAIN || errno == EINTR) && --tries);
    return found;
}

int look_up(const struct lookup *lookup)
{
    int found = ask_kernel(lookup);
    if (found >= 0)
        return found;
    int error = errno;
    if (error == ENOSYS || error == EAGAIN || (error == ENOENT && lookup->create))
        return walk_path(lookup);
    if (error == ELOOP || error == ENOTDIR || error == EACCES) {
        struct lookup again = *lookup;
        again.create = 0;
        found = walk_path(&again);          /* only to name the component at fault */
        if (found < 0 && errno == error)
            return -1;
        if (found >= 0)
            close(found);
    }
    return fail(error, "openat2 %s", lookup->path);
}

int open_in_root(const char *path, int flags)
{
    struct lookup lookup = { .directory = root_directory(), .path = path, .flags = flags,
                             .resolve = RESOLVE_IN_ROOT };
    return look_up(&lookup);
}

int make_in_root(const char *path, mode_t create, uint64_t resolve, int flags)
{
    struct lookup lookup = { .directory = root_directory(), .path = path, .flags = O_PATH | flags,
                             .resolve = RESOLVE_IN_ROOT | resolve, .create = create };
    return look_up(&lookup);
}

int open_parent(const char *path, char name[NAME_MAX + 1])
{
    static char parent[PATH_MAX];
    size_t length = strlen(path);
    while (length && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start && path[start - 1] != '/')
        start--;
    if (length >= sizeof parent || length - start > NAME_MAX)
        return fail(ENAMETOOLONG, "open the parent of %.100s...", path);
    memcpy(parent, path, start);
    parent[start] = 0;
    memcpy(name, path + start, length - start);
    name[length - start] = 0;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return fail(EINVAL, "%s doesn't name a file", path);
    return make_in_root(parent, S_IFDIR | PARENT_MODE, 0, O_DIRECTORY);
}

/* A file system may tell of its files to its owner alone (FUSE without allow_other); asked for nothing
 * of its own, it lets the kernel tell the mount, of which such a file can only be the root. */
static int describe(int file, struct kernel_statx *status)
{
    if (!sys_statx(file, STATX_BASIC | STATX_MOUNT_ID, status))
        return 0;
    if (errno != EACCES || sys_statx(file, 0, status) < 0)
        return -1;
    status->inode = 0;
    return 0;
}

int same_place(int one, int other)
{
    struct kernel_statx a, b;
    struct stat c, d;
    if (!describe(one, &a) && !describe(other, &b) && a.mask & b.mask & STATX_MOUNT_ID)
        return a.inode == b.inode && a.mount_id == b.mount_id;
    return !fstat(one, &c) && !fstat(other, &d) && c.st_ino == d.st_ino && c.st_dev == d.st_dev;
}

const char *fd_path(int descriptor, struct fd_path *path)
{
    struct statfs status;
    if (statfs("/proc", &status) < 0 || status.f_type != PROC_MAGIC) {
        fail(ENOSYS, "/proc isn't a procfs");
        return NULL;
    }
    snprintf(path->text, sizeof path->text, "/proc/self/fd/%d", descriptor);
    return path->text;
}
