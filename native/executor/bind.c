/* bind.c: bind mounts: the host's directories and files in the container's root. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

enum { DIRECTORY_MODE = 0755, FILE_MODE = 0644 };
enum { SOURCE_NOFOLLOW = 1, TARGET_NOFOLLOW = 2, COPY_SYMLINK = 4, HERE_FIRST = 8 };   /* mount_bind's flags */

/* With COPY_SYMLINK: 1 when the source was a link and is now copied, 0 when it's something else. */
static int copy_symlink(const char *source, const char *target)
{
    static char value[PATH_MAX], there[PATH_MAX];
    char name[NAME_MAX + 1];
    ssize_t length = readlink(source, value, sizeof value - 1);
    if (length < 0)
        return errno == EINVAL ? 0 : fail(errno, "readlink %s", source);
    value[length] = 0;
    int parent = open_parent(target, name);
    if (parent < 0)
        return -1;
    int error = symlinkat(value, parent, name) < 0 ? errno : 0;
    ssize_t old = error == EEXIST ? readlinkat(parent, name, there, sizeof there - 1) : -1;
    close(parent);
    if (error && !(old == length && !memcmp(there, value, (size_t)length)))
        return fail(error, "symlinkat %s", target);
    return 1;
}

/* The source's file type; 0 where only its file system's owner may ask, as of FUSE without allow_other:
 * then the kernel compares the two itself, when it puts one on the other. */
static int type_of(int source, mode_t *type)
{
    struct stat status;
    int done = fstat(source, &status);
    *type = done < 0 ? 0 : status.st_mode & S_IFMT;
    return done < 0 && errno != EACCES ? fail(errno, "fstat of the source") : 0;
}

/* Opens the target, of the source's kind: made when missing, refused when it's of the other. */
static int open_target(mode_t type, const char *path, int flags)
{
    struct stat there;
    int target = make_in_root(path, !type || S_ISDIR(type) ? S_IFDIR | DIRECTORY_MODE : S_IFREG | FILE_MODE,
                              0, flags);
    if (target < 0 || fstat(target, &there) < 0 || refuse_root(target) < 0)
        return -1;
    if (type && S_ISDIR(type) != S_ISDIR(there.st_mode))
        return fail(S_ISDIR(there.st_mode) ? EISDIR : ENOTDIR, "the source is %s, %s is %s",
                    S_ISDIR(type) ? "a directory" : "a file", path,
                    S_ISDIR(there.st_mode) ? "a directory" : "a file");
    return target;
}

/* A detached tree of the source, or (`*legacy` then) what it is on a kernel without open_tree.
 *
 * With HERE_FIRST it's copied from this namespace's own mounts: in a user namespace these have the host's
 * flags (ro, nosuid ...) locked, and a copy keeps them so, while the flags of the runtime's copy would be
 * the container's to take away. That one is for what the container's root may not reach, or not copy. */
static int open_source(const struct step_mount_bind *args, int *legacy)
{
    const char *path = plan_text(args->source);
    int nofollow = args->flags & SOURCE_NOFOLLOW;
    if (args->tree >= 0 && !(args->flags & HERE_FIRST))
        return (int)args->tree;
    int tree = clone_tree(AT_FDCWD, path, (args->recursive ? AT_RECURSIVE : 0u)
                          | (nofollow ? AT_SYMLINK_NOFOLLOW : 0u));
    if (tree >= 0)
        return tree;
    if (errno == ENOSYS) {
        int source = open(path, O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0));
        *legacy = source >= 0;
        tree = source < 0 ? fail(errno, "open %s", path) : source;
    }
    return tree < 0 && args->tree >= 0 ? (int)args->tree : tree;
}

static int change_tree(int mount, const struct step_mount_bind *args)
{
    if (change_attributes(mount, (uint64_t)args->set, (uint64_t)args->clear, 0) < 0)
        return -1;
    return change_attributes(mount, (uint64_t)args->rset, (uint64_t)args->rclear, 1);
}

int run_mount_bind(const struct step_mount_bind *args)
{
    const char *path = plan_text(args->target);
    int flags = args->flags & TARGET_NOFOLLOW ? O_NOFOLLOW : 0, legacy = 0;
    if (args->flags & COPY_SYMLINK && args->tree < 0) {
        int copied = copy_symlink(plan_text(args->source), path);
        if (copied)
            return copied < 0 ? -1 : 0;
    }
    mode_t type;
    int mount = open_source(args, &legacy);
    if (mount < 0 || type_of(mount, &type) < 0)
        return -1;
    if (S_ISLNK(type))
        flags |= O_NOFOLLOW;                /* to find the link itself again, once it's there */
    int target = open_target(type, path, flags);
    if (target < 0)
        return -1;
    if (legacy) {
        int source = mount;
        mount = legacy_bind(source, target, path, args->recursive != 0, flags);
        close(source);
        if (mount < 0 || change_tree(mount, args) < 0)
            return -1;
    } else if (change_tree(mount, args) < 0 || attach(mount, target, path, flags) < 0) {
        return -1;
    }
    /* The runtime's clone is of the host's mount itself, not of this namespace's copy: as its peer it
     * would show there what the container mounts on it. */
    if (mount == args->tree && change_propagation(mount, MS_SLAVE | MS_REC) < 0)
        return -1;
    if (change_propagation(mount, args->propagation) < 0)
        return -1;
    close(target);
    close(mount);
    return 0;
}

