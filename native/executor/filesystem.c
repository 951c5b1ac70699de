/* filesystem.c: file systems of the container's own: made, put in place, reconfigured. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

enum { DIRECTORY_MODE = 0755 };
enum { KEEP_MODE = 1, COPY_UP = 2, KEEP_OWNER = 4 };     /* mount_filesystem's flags */

/* What the file system has said (fsopen(2): one message a read, "e ", "w " or "i " and a text): every
 * error and warning in its order, as one is often explained by another. */
static const char *read_log(int context)
{
    static char log[768], line[512];
    size_t used = 0;
    ssize_t length;
    log[0] = 0;
    while ((length = read(context, line, sizeof line - 1)) > 0 && used < sizeof log) {
        line[length] = 0;
        line[strcspn(line, "\n")] = 0;
        if (length > 2 && line[0] != 'i')
            used += (size_t)snprintf(log + used, sizeof log - used, "%s%s", used ? "; " : "", line + 2);
    }
    return log;
}

static int context_failed(int context, const char *what, const char *option)
{
    int error = errno;
    const char *says = read_log(context);
    close(context);
    return fail(error, "%s%s%s%s%s", what, *option ? " " : "", option, *says ? ": " : "", says);
}

static const struct { int64_t flag; const char *set, *clear; } superblock_flags[] = {
    { MS_RDONLY, "ro", "rw" }, { MS_SYNCHRONOUS, "sync", "async" }, { MS_DIRSYNC, "dirsync", NULL },
    { MS_LAZYTIME, "lazytime", "nolazytime" }, { MS_MANDLOCK, "mand", "nomand" },
};
enum { SUPERBLOCK_FLAGS = sizeof superblock_flags / sizeof *superblock_flags };

static int set_option(int context, const char *option)
{
    static char key[256];
    const char *value = strchr(option, '=');
    if (!value)
        return sys_fsconfig(context, FSCONFIG_SET_FLAG, option, NULL);
    snprintf(key, sizeof key, "%.*s", (int)(value - option), option);
    return sys_fsconfig(context, FSCONFIG_SET_STRING, key, value + 1);
}

/* The superblock's flags and the file system's options, by name. Returns what was refused. */
static const char *configure(int context, const struct filesystem *filesystem)
{
    for (int i = 0; i < SUPERBLOCK_FLAGS; i++)
        if (filesystem->superblock & superblock_flags[i].flag
            && sys_fsconfig(context, FSCONFIG_SET_FLAG, superblock_flags[i].set, NULL) < 0)
            return superblock_flags[i].set;
    if (filesystem->mode && set_option(context, filesystem->mode) < 0)
        return filesystem->mode;
    for (uint32_t i = 0; i < filesystem->options.count; i++) {
        const char *option = plan_item(filesystem->options, i);
        if (set_option(context, option) < 0)
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

/* mount(2)'s remount replaces the superblock's flags; here those that aren't named would stay. */
static void clear_flags(int context, int64_t superblock)
{
    for (int i = 0; i < SUPERBLOCK_FLAGS; i++)
        if (superblock_flags[i].clear && !(superblock & superblock_flags[i].flag))
            sys_fsconfig(context, FSCONFIG_SET_FLAG, superblock_flags[i].clear, NULL);
}

int reconfigure(int mount, const struct filesystem *filesystem)
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

/* Both are what the kernel takes the container's policies (masks, read-only paths, labels) to be
 * about, so a link to somewhere else isn't followed to either. */
static int must_be_in_place(const char *type)
{
    return !strcmp(type, "proc") || !strcmp(type, "sysfs");
}

/* Opens the target, made when missing. With KEEP_MODE the new root has the mode of what it covers. */
static int open_target(const struct step_mount_filesystem *args, struct filesystem *filesystem)
{
    static char option[16];
    struct stat covered;
    const char *path = plan_text(args->target);
    mode_t mode = args->mode > 0 ? (mode_t)args->mode : DIRECTORY_MODE;
    int there = args->flags & KEEP_MODE ? open_in_root(path, O_PATH | O_DIRECTORY) : -1;
    if (there < 0)
        return make_in_root(path, S_IFDIR | mode,
                            must_be_in_place(filesystem->type) ? RESOLVE_NO_SYMLINKS : 0, O_DIRECTORY);
    if (fstat(there, &covered) < 0)
        return fail(errno, "fstat %s", path);
    snprintf(option, sizeof option, "mode=%o", covered.st_mode & 07777);
    filesystem->mode = option;
    return there;
}

/* What a file system that had to be written to first was to be: it's in place, as before Linux 5.12 a
 * mount that is in none can't be changed. */
static int make_readonly(const struct filesystem *filesystem, int mount)
{
    const struct filesystem readonly = { .superblock = filesystem->superblock };
    if (filesystem->superblock & MS_RDONLY && reconfigure(mount, &readonly) < 0)
        return -1;
    return change_attributes(mount, (uint64_t)filesystem->attributes & MOUNT_ATTR_RDONLY, 0, 0);
}

/* Made and put in place; with COPY_UP filled before it's seen. */
static int mount_new(const struct filesystem *filesystem, int target, const char *path, int64_t flags)
{
    int legacy = 0;
    struct filesystem first = *filesystem;
    if (flags & COPY_UP) {
        first.superblock &= ~(int64_t)MS_RDONLY;
        first.attributes &= ~(int64_t)MOUNT_ATTR_RDONLY;
    }
    int mount = make_filesystem(&first);
    if (mount < 0 && errno == ENOSYS) {
        mount = legacy_filesystem(&first, target, path);
        legacy = 1;
    }
    if (mount < 0 || (flags & COPY_UP && copy_up(target, mount, path, flags & KEEP_OWNER) < 0)
        || (!legacy && attach(mount, target, path, O_DIRECTORY) < 0)
        || (flags & COPY_UP && make_readonly(filesystem, mount) < 0))
        return -1;
    return mount;
}

/* The host's own, for a file system that the kernel refuses to a user namespace. Its attributes are
 * the whole tree's, as what is mounted below is the host's too. */
static int mount_hosts(const char *source, uint64_t attributes, int target, const char *path)
{
    int mount = clone_tree(AT_FDCWD, source, AT_RECURSIVE);
    if (mount >= 0)
        return change_attributes(mount, attributes, 0, 1) < 0 || attach(mount, target, path, O_DIRECTORY) < 0
            ? -1 : mount;
    if (errno != ENOSYS)
        return -1;
    int from = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (from < 0)
        return fail(errno, "open %s", source);
    mount = legacy_bind(from, target, path, 1, 0);
    close(from);
    return mount < 0 || legacy_attributes(mount, attributes, 0) < 0 ? -1 : mount;
}

int run_mount_filesystem(const struct step_mount_filesystem *args)
{
    struct filesystem filesystem = {
        .type = plan_text(args->type), .source = plan_text(args->source), .options = args->options,
        .superblock = args->superblock, .attributes = args->attrs,
    };
    const char *path = plan_text(args->target), *fallback = plan_text(args->fallback);
    int target = open_target(args, &filesystem);
    if (target < 0 || refuse_root(target) < 0)
        return -1;
    int mount = mount_new(&filesystem, target, path, args->flags);
    if (mount < 0 && errno == EPERM && *fallback)
        mount = mount_hosts(fallback, (uint64_t)args->attrs, target, path);
    if (mount < 0 || change_propagation(mount, args->propagation) < 0)
        return -1;
    close(target);
    close(mount);
    return 0;
}
