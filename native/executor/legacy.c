/* legacy.c: mounts through mount(2), for kernels before the mount API and for what only it can say.
 *
 * Targets are still descriptors: mount(2) reaches them through /proc/self/fd, never by a path in
 * the container's root. A mount so made is in place before its attributes are right; nothing of the
 * container's runs meanwhile. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

enum {
    DATA_SIZE = 4096,                       /* mount(2) takes one page of options */
    VALUE_SIZE = 256,                       /* fsconfig(2) takes strings of 255 bytes */
    FSCONFIG_BITS = MS_RDONLY | MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME | MS_MANDLOCK,
};

/* Several options in one string, quotes, escapes: file systems (overlay) and LSMs (context=) parse
 * these only in mount(2)'s data; fsconfig(2) takes them literally. */
int needs_legacy(const struct filesystem *filesystem)
{
    if (filesystem->superblock & ~(int64_t)FSCONFIG_BITS)
        return 1;
    if (filesystem->source && strlen(filesystem->source) >= VALUE_SIZE)
        return 1;
    for (uint32_t i = 0; i < filesystem->options.count; i++) {
        const char *option = plan_item(filesystem->options, i);
        const char *value = strchr(option, '=');
        if (strpbrk(option, ",\\\"") || (value && strlen(value + 1) >= VALUE_SIZE))
            return 1;
    }
    return 0;
}

static int join_options(const struct filesystem *filesystem, char data[DATA_SIZE])
{
    size_t used = (size_t)snprintf(data, DATA_SIZE, "%s", filesystem->mode ? filesystem->mode : "");
    for (uint32_t i = 0; i < filesystem->options.count; i++) {
        const char *option = plan_item(filesystem->options, i);
        int length = snprintf(data + used, DATA_SIZE - used, "%s%s", used ? "," : "", option);
        if (length < 0 || (size_t)length >= DATA_SIZE - used)
            return fail(E2BIG, "mount options of more than a page");
        used += (size_t)length;
    }
    return 0;
}

static const struct { uint64_t attribute; unsigned long flag, status; } attribute_flags[] = {
    { MOUNT_ATTR_RDONLY, MS_RDONLY, ST_RDONLY },
    { MOUNT_ATTR_NOSUID, MS_NOSUID, ST_NOSUID },
    { MOUNT_ATTR_NODEV, MS_NODEV, ST_NODEV },
    { MOUNT_ATTR_NOEXEC, MS_NOEXEC, ST_NOEXEC },
    { MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, ST_NODIRATIME },
    { MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW, 0x2000 },
};
enum { ATTRIBUTE_FLAGS = sizeof attribute_flags / sizeof *attribute_flags };

static unsigned long flags_of_attributes(uint64_t attributes)
{
    unsigned long flags = 0;
    for (int i = 0; i < ATTRIBUTE_FLAGS; i++)
        if (attributes & attribute_flags[i].attribute)
            flags |= attribute_flags[i].flag;
    switch (attributes & MOUNT_ATTR__ATIME) {
    case MOUNT_ATTR_NOATIME: return flags | MS_NOATIME;
    case MOUNT_ATTR_STRICTATIME: return flags | MS_STRICTATIME;
    default: return flags | MS_RELATIME;
    }
}

/* The attributes that a mount has now, from statfs(2). */
static int read_attributes(int mount, uint64_t *attributes)
{
    struct statfs status;
    if (fstatfs(mount, &status) < 0)
        return fail(errno, "fstatfs");
    *attributes = status.f_flags & ST_NOATIME ? MOUNT_ATTR_NOATIME
        : status.f_flags & ST_RELATIME ? MOUNT_ATTR_RELATIME : MOUNT_ATTR_STRICTATIME;
    for (int i = 0; i < ATTRIBUTE_FLAGS; i++)
        if ((unsigned long)status.f_flags & attribute_flags[i].status)
            *attributes |= attribute_flags[i].attribute;
    return 0;
}

/* The mount that now covers `target`, made sure to be another place than what it covers. */
static int open_mounted(int target, const char *path, int flags)
{
    int mounted = open_in_root(path, O_PATH | flags);
    if (mounted >= 0 && same_place(mounted, target)) {
        close(mounted);
        return fail(EBUSY, "mount: %s changed meanwhile", path);
    }
    return mounted;
}

int legacy_filesystem(const struct filesystem *filesystem, int target, const char *path)
{
    static char data[DATA_SIZE];
    struct fd_path name;
    uint64_t attributes = (uint64_t)filesystem->attributes, readonly = MOUNT_ATTR_RDONLY;
    unsigned long flags = (unsigned long)filesystem->superblock | flags_of_attributes(attributes & ~readonly);
    if (join_options(filesystem, data) < 0 || !fd_path(target, &name))
        return -1;
    if (sys_mount(filesystem->source, name.text, filesystem->type, flags, data) < 0)
        return fail(errno, "mount");
    int mounted = open_mounted(target, path, 0);
    /* mount(2) has one flag for a read-only file system and a read-only mount of it. */
    if (mounted >= 0 && !(flags & MS_RDONLY) != !(attributes & readonly)
        && legacy_attributes(mounted, attributes & readonly, readonly) < 0)
        return -1;
    return mounted;
}

int legacy_bind(int source, int target, const char *path, int recursive, int flags)
{
    struct fd_path from, to;
    if (!fd_path(source, &from) || !fd_path(target, &to))
        return -1;
    if (sys_mount(from.text, to.text, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL) < 0)
        return fail(errno, "mount");
    int mounted = open_in_root(path, O_PATH | flags);
    if (mounted >= 0) {
        struct stat one, other;
        if (!fstat(source, &one) && !fstat(mounted, &other) && one.st_ino == other.st_ino
            && one.st_dev == other.st_dev)
            return mounted;
        close(mounted);
    }
    return fail(EBUSY, "mount: %s changed meanwhile", path);
}

int legacy_attributes(int mount, uint64_t set, uint64_t clear)
{
    uint64_t attributes;
    struct fd_path name;
    if (!set && !clear)
        return 0;
    if (read_attributes(mount, &attributes) < 0 || !fd_path(mount, &name))
        return -1;
    unsigned long flags = flags_of_attributes((attributes & ~clear) | set);
    if (sys_mount(NULL, name.text, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0)
        return fail(errno, "mount: remount with flags %#lx", flags);
    return 0;
}

int legacy_propagation(int mount, int64_t flags)
{
    struct fd_path name;
    if (!fd_path(mount, &name))
        return -1;
    if (sys_mount(NULL, name.text, NULL, (unsigned long)flags, NULL) < 0)
        return fail(errno, "mount: propagation %#llx", (unsigned long long)flags);
    return 0;
}

int legacy_reconfigure(int mount, const struct filesystem *filesystem)
{
    static char data[DATA_SIZE];
    uint64_t attributes;
    struct fd_path name;
    if (join_options(filesystem, data) < 0 || read_attributes(mount, &attributes) < 0
        || !fd_path(mount, &name))
        return -1;
    unsigned long flags = (unsigned long)filesystem->superblock
        | (flags_of_attributes(attributes) & ~(unsigned long)MS_RDONLY);
    if (sys_mount(NULL, name.text, NULL, MS_REMOUNT | flags, data) < 0)
        return fail(errno, "mount: remount with flags %#lx", flags);
    return 0;
}
