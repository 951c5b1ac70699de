/* mount.c: the mounts of the container.
 *
 * A mount is made detached, given its attributes while nothing can see it, and only then put on its
 * target, by descriptors throughout: no path of the container's root is resolved between the check
 * and the use. */

#include "mount.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"
#include "path.h"
#include "report.h"

enum { DIRECTORY_MODE = 0755, FILE_MODE = 0644 };
enum { SOURCE_NOFOLLOW = 1, TARGET_NOFOLLOW = 2, COPY_SYMLINK = 4 };   /* mount_bind's flags */

/* What the file system says of its failure (fsopen(2): "e text", one message a read): the last. */
static int context_failed(int context, const char *what, const char *option)
{
    static char log[512];
    int error = errno;
    ssize_t length, last = 0;
    while ((length = read(context, log, sizeof log - 1)) > 0)
        last = length;
    log[last] = 0;
    if (last && log[last - 1] == '\n')
        log[last - 1] = 0;
    const char *says = last > 2 ? log + 2 : "";
    close(context);
    return fail(error, "%s%s%s%s%s", what, *option ? " " : "", option, *says ? ": " : "", says);
}

static const struct { int64_t flag; const char *set, *clear; } superblock_flags[] = {
    { MS_RDONLY, "ro", "rw" }, { MS_SYNCHRONOUS, "sync", "async" }, { MS_DIRSYNC, "dirsync", NULL },
    { MS_LAZYTIME, "lazytime", "nolazytime" }, { MS_MANDLOCK, "mand", "nomand" },
};
enum { SUPERBLOCK_FLAGS = sizeof superblock_flags / sizeof *superblock_flags };

/* The superblock's flags and the file system's options, by name. Returns what was refused. */
static const char *configure(int context, const struct filesystem *filesystem)
{
    static char key[256];
    for (int i = 0; i < SUPERBLOCK_FLAGS; i++)
        if (filesystem->superblock & superblock_flags[i].flag
            && sys_fsconfig(context, FSCONFIG_SET_FLAG, superblock_flags[i].set, NULL) < 0)
            return superblock_flags[i].set;
    for (uint32_t i = 0; i < filesystem->options.count; i++) {
        const char *option = plan_item(filesystem->options, i);
        const char *value = strchr(option, '=');
        int done;
        if (value) {
            snprintf(key, sizeof key, "%.*s", (int)(value - option), option);
            done = sys_fsconfig(context, FSCONFIG_SET_STRING, key, value + 1);
        } else {
            done = sys_fsconfig(context, FSCONFIG_SET_FLAG, option, NULL);
        }
        if (done < 0)
            return option;
    }
    return NULL;
}

int make_filesystem(const struct filesystem *filesystem)
{
    if (needs_legacy(filesystem))
        return fail(ENOSYS, "fsconfig");
    int context = sys_fsopen(filesystem->type);
    if (context < 0)
        return fail(errno, errno == ENODEV ? "fsopen: the kernel has no file system %s" : "fsopen %s",
                    filesystem->type);
    if (*filesystem->source && sys_fsconfig(context, FSCONFIG_SET_STRING, "source", filesystem->source) < 0)
        return context_failed(context, "fsconfig source", filesystem->source);
    const char *refused = configure(context, filesystem);
    if (refused)
        return context_failed(context, "fsconfig", refused);
    if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return context_failed(context, "fsconfig create", "");
    int mount = sys_fsmount(context, (uint64_t)filesystem->attributes);
    if (mount < 0)
        return context_failed(context, "fsmount", "");
    close(context);
    return mount;
}

/* Kernels 5.2 to 5.11 have open_tree, but nothing to change its tree with before it is attached. */
static int can_change_detached(void)
{
    static int answer = -1;
    if (answer < 0)
        answer = sys_mount_setattr(-1, 0, NULL) == 0 || errno != ENOSYS;
    return answer;
}

int clone_tree(int directory, const char *path, unsigned int flags)
{
    if (!can_change_detached())
        return fail(ENOSYS, "mount_setattr");
    int tree = sys_open_tree(directory, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
    return tree < 0 ? fail(errno, "open_tree %s", path) : tree;
}

int attach(int mount, int target, const char *path, int flags)
{
    if (sys_move_mount(mount, target) < 0)
        return fail(errno, "move_mount %s", path);
    int found = open_in_root(path, O_PATH | flags);
    if (found < 0)
        return -1;
    int same = same_place(found, mount);
    close(found);
    return same ? 0 : fail(EBUSY, "move_mount: %s changed meanwhile", path);
}

int change_attributes(int mount, uint64_t set, uint64_t clear, int recursive)
{
    if (!set && !clear)
        return 0;
    if ((set | clear) & MOUNT_ATTR__ATIME)
        clear |= MOUNT_ATTR__ATIME;         /* one value of three, not bits: mount_setattr(2) */
    struct mount_attr change = { .attr_set = set, .attr_clr = clear };
    if (!sys_mount_setattr(mount, recursive ? AT_RECURSIVE : 0, &change))
        return 0;
    if (errno == ENOSYS && !recursive)
        return legacy_attributes(mount, set, clear);
    return fail(errno, "mount_setattr set %#llx, clear %#llx%s", (unsigned long long)set,
                (unsigned long long)clear, recursive ? ", recursively" : "");
}

int change_propagation(int mount, int64_t flags)
{
    if (!flags)
        return 0;
    struct mount_attr change = { .propagation = (uint64_t)(flags & ~(int64_t)MS_REC) };
    if (!sys_mount_setattr(mount, flags & MS_REC ? AT_RECURSIVE : 0, &change))
        return 0;
    if (errno == ENOSYS)
        return legacy_propagation(mount, flags);
    return fail(errno, "mount_setattr propagation %#llx", (unsigned long long)flags);
}

/* Both are what the kernel takes the container's policies (masks, read-only paths, labels) to be
 * about, so a link to somewhere else isn't followed to either. */
static int must_be_in_place(const char *type)
{
    return !strcmp(type, "proc") || !strcmp(type, "sysfs");
}

/* Mounting over the root would leave the container in what lies beneath. */
static int refuse_root(int target)
{
    return same_place(target, root_directory()) ? fail(EINVAL, "the target is the container's root") : 0;
}

int run_mount_filesystem(const struct step_mount_filesystem *args)
{
    const struct filesystem filesystem = {
        .type = plan_text(args->type), .source = plan_text(args->source), .options = args->options,
        .superblock = args->superblock, .attributes = args->attrs,
    };
    const char *path = plan_text(args->target);
    mode_t mode = args->mode > 0 ? (mode_t)args->mode : DIRECTORY_MODE;
    int target = make_in_root(path, S_IFDIR | mode,
                              must_be_in_place(filesystem.type) ? RESOLVE_NO_SYMLINKS : 0, O_DIRECTORY);
    if (target < 0 || refuse_root(target) < 0)
        return -1;
    int mount = make_filesystem(&filesystem);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_filesystem(&filesystem, target, path);
    else if (mount >= 0 && attach(mount, target, path, O_DIRECTORY) < 0)
        return -1;
    if (mount < 0 || change_propagation(mount, args->propagation) < 0)
        return -1;
    close(target);
    close(mount);
    return 0;
}

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

/* Opens the target, of the source's kind: made when missing, refused when it's of the other. */
static int open_target(int source, const char *path, int flags)
{
    struct stat from, to;
    if (fstat(source, &from) < 0)
        return fail(errno, "fstat of the source");
    int target = make_in_root(path, S_ISDIR(from.st_mode) ? S_IFDIR | DIRECTORY_MODE : S_IFREG | FILE_MODE,
                              0, flags);
    if (target < 0 || fstat(target, &to) < 0 || refuse_root(target) < 0)
        return -1;
    if (S_ISDIR(from.st_mode) != S_ISDIR(to.st_mode))
        return fail(S_ISDIR(to.st_mode) ? EISDIR : ENOTDIR, "the source is %s, %s is %s",
                    S_ISDIR(from.st_mode) ? "a directory" : "a file", path,
                    S_ISDIR(to.st_mode) ? "a directory" : "a file");
    return target;
}

/* A detached tree of the source, or (`*legacy` then) what it is on a kernel without open_tree. */
static int open_source(const struct step_mount_bind *args, int *legacy)
{
    const char *path = plan_text(args->source);
    int nofollow = args->flags & SOURCE_NOFOLLOW;
    if (args->tree >= 0)
        return (int)args->tree;
    int tree = clone_tree(AT_FDCWD, path, (args->recursive ? AT_RECURSIVE : 0u)
                          | (nofollow ? AT_SYMLINK_NOFOLLOW : 0u));
    if (tree >= 0 || errno != ENOSYS)
        return tree;
    *legacy = 1;
    int source = open(path, O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0));
    return source < 0 ? fail(errno, "open %s", path) : source;
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
    int mount = open_source(args, &legacy);
    if (mount < 0)
        return -1;
    int target = open_target(mount, path, flags);
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
    if (change_propagation(mount, args->propagation) < 0)
        return -1;
    close(target);
    close(mount);
    return 0;
}

/* mount(2)'s remount replaces the superblock's flags; here those that aren't named would stay. */
static void clear_flags(int context, int64_t superblock)
{
    for (int i = 0; i < SUPERBLOCK_FLAGS; i++)
        if (superblock_flags[i].clear && !(superblock & superblock_flags[i].flag))
            sys_fsconfig(context, FSCONFIG_SET_FLAG, superblock_flags[i].clear, NULL);
}

static int reconfigure(int mount, const struct filesystem *filesystem)
{
    int context = needs_legacy(filesystem) ? fail(ENOSYS, "fsconfig") : sys_fspick(mount);
    if (context < 0)
        return errno == ENOSYS ? legacy_reconfigure(mount, filesystem) : fail(errno, "fspick");
    clear_flags(context, filesystem->superblock);
    const char *refused = configure(context, filesystem);
    if (refused)
        return context_failed(context, "fsconfig", refused);
    if (sys_fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL) < 0)
        return context_failed(context, "fsconfig reconfigure", "");
    close(context);
    return 0;
}

int run_remount(const struct step_remount *args)
{
    const struct filesystem filesystem = { .options = args->options, .superblock = args->superblock };
    int mount = open_in_root(plan_text(args->target), O_PATH);
    if (mount < 0)
        return -1;
    if ((args->superblock || args->options.count) && reconfigure(mount, &filesystem) < 0)
        return -1;
    if (change_attributes(mount, (uint64_t)args->set, (uint64_t)args->clear, 0) < 0)
        return -1;
    close(mount);
    return 0;
}

int run_mount_propagation(const struct step_mount_propagation *args)
{
    int mount = open_in_root(plan_text(args->target), O_PATH);
    if (mount < 0 || change_propagation(mount, args->flags) < 0)
        return -1;
    close(mount);
    return 0;
}
