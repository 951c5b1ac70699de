/* device.c: directories, device nodes and links in the container's root. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "path.h"
#include "plan.h"
#include "report.h"

/* fchmod(2) refuses O_PATH descriptors, and chmod by path could be led elsewhere. */
static int change_mode(int descriptor, mode_t mode)
{
    struct fd_path name;
    if (!syscall(SYS_fchmodat2, descriptor, "", mode, AT_EMPTY_PATH))
        return 0;
    if (errno != ENOSYS)
        return -1;
    return fd_path(descriptor, &name) ? chmod(name.text, mode) : -1;
}

static int change_owner(int descriptor, int64_t uid, int64_t gid)
{
    if (uid < 0 && gid < 0)
        return 0;
    return fchownat(descriptor, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH);
}

int run_make_directory(const struct step_make_directory *args)
{
    int made = make_in_root(plan_text(args->path), S_IFDIR | ((mode_t)args->mode & 07777), 0, O_DIRECTORY);
    if (made < 0)
        return -1;
    close(made);
    return 0;
}

/* Makes the node, or takes one that is there if it's the same device. */
static int open_node(int parent, const char *name, mode_t mode, dev_t device, const char *path)
{
    struct stat status;
    mode_t mask = umask(0);
    int error = mknodat(parent, name, mode, device) < 0 ? errno : 0;
    umask(mask);
    if (error && error != EEXIST)
        return fail(error, "mknodat %s", path);
    int node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (node < 0 || fstat(node, &status) < 0)
        return fail(errno, "open %s", path);
    if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && status.st_rdev != device))
        return fail(EEXIST, "mknodat %s: something else is there", path);
    return node;
}

int run_make_device(const struct step_make_device *args)
{
    const char *path = plan_text(args->path);
    char name[NAME_MAX + 1];
    mode_t mode = (mode_t)args->mode;
    dev_t device = S_ISFIFO(mode) ? 0 : makedev((unsigned int)args->major, (unsigned int)args->minor);
    int parent = open_parent(path, name);
    if (parent < 0)
        return -1;
    int node = open_node(parent, name, mode, device, path);
    if (node < 0)
        return -1;
    if (change_owner(node, args->uid, args->gid) < 0)
        return fail(errno, "fchownat %s", path);
    if (change_mode(node, mode & 07777) < 0)            /* after the owner: chown clears set-id bits */
        return fail(errno, "fchmodat2 %s", path);
    close(node);
    close(parent);
    return 0;
}

int run_make_symlink(const struct step_make_symlink *args)
{
    static char there[PATH_MAX];
    const char *path = plan_text(args->path), *value = plan_text(args->value);
    char name[NAME_MAX + 1];
    int parent = open_parent(path, name);
    if (parent < 0)
        return -1;
    int error = symlinkat(value, parent, name) < 0 ? errno : 0;
    if (error == EEXIST) {
        ssize_t length = readlinkat(parent, name, there, sizeof there);
        int same = length == (ssize_t)args->value.length && !memcmp(there, value, (size_t)length);
        if (!args->replace || same)
            error = 0;
        else
            error = unlinkat(parent, name, 0) < 0 || symlinkat(value, parent, name) < 0 ? errno : 0;
    }
    close(parent);
    return error ? fail(error, "symlinkat %s", path) : 0;
}
