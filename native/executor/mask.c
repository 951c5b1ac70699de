/* mask.c: hiding paths of the container's root, and making them read-only. */

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

enum { MASK_ATTRIBUTES = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

static const struct filesystem empty = {
    .type = "tmpfs", .source = "tmpfs", .superblock = MS_RDONLY, .attributes = MASK_ATTRIBUTES,
};

/* One empty tmpfs for all masked directories: each further one costs the kernel a superblock and a
 * wait for its shrinker lock. The first mask mounts it; a mount that is in place can be cloned. */
static int first_directory = -1;
static int first_file = -1;                 /* the same for files: the null device, once it's verified */

/* A read-only mount of it is enough: devices can be written to, but what they are called can't be
 * changed. Above all not the host's. */
enum { NULL_ATTRIBUTES = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC };

/* Puts a clone of `source` on the target, with these attributes besides its own. Returns the mount. */
static int cover(int source, uint64_t attributes, int target, const char *path, int flags)
{
    int mount = clone_tree(source, "", AT_EMPTY_PATH);
    if (mount < 0 && errno == ENOSYS) {
        mount = legacy_bind(source, target, path, 0, flags);
        return mount < 0 || legacy_attributes(mount, attributes, 0) < 0 ? -1 : mount;
    }
    if (mount < 0 || change_attributes(mount, attributes, 0, 0) < 0 || attach(mount, target, path, flags) < 0)
        return -1;
    return mount;
}

static int mask_directory(int target, const char *path)
{
    if (first_directory >= 0)
        return cover(first_directory, 0, target, path, O_NOFOLLOW);
    int mount = make_filesystem(&empty);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_filesystem(&empty, target, path);
    else if (mount >= 0 && attach(mount, target, path, O_NOFOLLOW) < 0)
        return -1;
    return mount;
}

static int is_null(int descriptor)
{
    struct stat status;
    return !fstat(descriptor, &status) && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

/* The container's /dev/null, once it's known to be that: an image or another container may have put
 * anything there, and a mask must not give a way to it (CVE-2025-31133). A container without one has
 * the host's, whose tree is still there. */
static int open_null(void)
{
    const char *whose = "container's";
    int null = open_in_root("dev/null", O_PATH | O_NOFOLLOW);
    if (null < 0 && errno == ENOENT) {
        whose = "host's";
        null = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (null < 0)
            return fail(errno, "open the host's /dev/null");
    }
    if (null < 0 || is_null(null))
        return null;
    close(null);
    return fail(ENODEV, "the %s /dev/null isn't the null device", whose);
}

static int mask_file(int target, const char *path)
{
    if (first_file >= 0)
        return cover(first_file, 0, target, path, O_NOFOLLOW);
    int null = open_null();
    if (null < 0)
        return -1;
    int mount = cover(null, NULL_ATTRIBUTES, target, path, O_NOFOLLOW);
    close(null);
    return mount;
}

/* What isn't there needs no mask. Returns the target, or -1 with `*missing` set in that case. */
static int open_existing(const char *path, int flags, int *missing)
{
    int target = open_in_root(path, O_PATH | flags);
    *missing = target < 0 && (errno == ENOENT || errno == ENOTDIR);
    return target;
}

/* A symbolic link is covered itself: followed, it would let the image, or for /proc/net the kernel,
 * choose another path to be masked and leave this one as it is. */
int run_mask_path(const struct step_mask_path *args)
{
    const char *path = plan_text(args->path);
    struct stat status;
    int missing, target = open_existing(path, O_NOFOLLOW, &missing);
    if (target < 0)
        return missing ? 0 : -1;
    if (fstat(target, &status) < 0)
        return fail(errno, "fstat %s", path);
    if (same_place(target, root_directory()))
        return fail(EINVAL, "the path is the container's root");
    int *first = S_ISDIR(status.st_mode) ? &first_directory : &first_file;
    int mount = S_ISDIR(status.st_mode) ? mask_directory(target, path) : mask_file(target, path);
    if (mount < 0)
        return -1;
    if (S_ISLNK(status.st_mode))
        warn("%s is a symbolic link: it is masked, and not what it leads to", path);
    if (*first < 0)
        *first = mount;
    else
        close(mount);
    close(target);
    return 0;
}

/* Here a link is followed, within the root: what is written through it is what has to be protected.
 * What is mounted below keeps its own flags, as /proc/sys/net may be a volume to write to. */
int run_readonly_path(const struct step_readonly_path *args)
{
    const char *path = plan_text(args->path);
    int missing, target = open_existing(path, 0, &missing);
    if (target < 0)
        return missing ? 0 : -1;
    if (same_place(target, root_directory()))
        return change_attributes(target, MOUNT_ATTR_RDONLY, 0, 0);
    int mount = clone_tree(target, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (mount < 0 && errno == ENOSYS) {
        mount = legacy_bind(target, target, path, 1, 0);
        if (mount < 0 || legacy_attributes(mount, MOUNT_ATTR_RDONLY, 0) < 0)
            return -1;
    } else if (mount < 0 || change_attributes(mount, MOUNT_ATTR_RDONLY, 0, 0) < 0
               || attach(mount, target, path, 0) < 0) {
        return -1;
    }
    close(mount);
    close(target);
    return 0;
}
