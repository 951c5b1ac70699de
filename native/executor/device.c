/* device.c: directories, device nodes and links in the container's root. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "mount.h"
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

/* The host's node, once it's known to be the device that is asked for. */
static int open_hosts(const struct step_bind_device *args, const char *source, struct stat *status)
{
    int node = open(source, O_PATH | O_CLOEXEC);
    if (node < 0 || fstat(node, status) < 0)
        return fail(errno, "the host's %s", source);
    if ((status->st_mode & S_IFMT) != ((mode_t)args->type & S_IFMT))
        return fail(ENODEV, "the host's %s is no device of this type", source);
    if (status->st_rdev != makedev((unsigned int)args->major, (unsigned int)args->minor))
        return fail(ENODEV, "the host's %s is %u:%u", source, major(status->st_rdev), minor(status->st_rdev));
    return node;
}

/* Whatever else of the device is asked for has to be the host's already: it isn't the container's to change. */
static void compare_node(const struct step_bind_device *args, const struct stat *status)
{
    if ((args->mode >= 0 && (mode_t)args->mode != (status->st_mode & 07777))
        || (args->uid >= 0 && (uid_t)args->uid != status->st_uid)
        || (args->gid >= 0 && (gid_t)args->gid != status->st_gid))
        warn("in a user namespace the device is the host's, with fileMode %u (octal %o), uid %u and gid %u",
             status->st_mode & 07777, status->st_mode & 07777, status->st_uid, status->st_gid);
}

int run_bind_device(const struct step_bind_device *args)
{
    const char *path = plan_text(args->path);
    struct stat hosts, there;
    int node = open_hosts(args, plan_text(args->source), &hosts);
    if (node < 0)
        return -1;
    int target = make_in_root(path, S_IFREG, 0, O_NOFOLLOW);
    if (target < 0 || fstat(target, &there) < 0)
        return -1;
    if (S_ISLNK(there.st_mode) || S_ISDIR(there.st_mode))
        return fail(EEXIST, "%s: something else is there", path);
    int mount = clone_tree(node, "", AT_EMPTY_PATH);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_bind(node, target, path, 0, O_NOFOLLOW);
    else if (mount >= 0 && attach(mount, target, path, O_NOFOLLOW) < 0)
        return -1;
    if (mount < 0)
        return -1;
    compare_node(args, &hosts);
    close(mount);
    close(target);
    close(node);
    return 0;
}

enum { REPLACE = 1 };                       /* make_symlink's replace */

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
        else if (args->replace == REPLACE)
            error = unlinkat(parent, name, 0) < 0 || symlinkat(value, parent, name) < 0 ? errno : 0;
    }
    close(parent);
    return error ? fail(error, "symlinkat %s", path) : 0;
}
