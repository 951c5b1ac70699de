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
static int first_mask = -1;

static int mask_directory(int target, const char *path)
{
    int mount = first_mask < 0 ? make_filesystem(&empty) : clone_tree(first_mask, "", AT_EMPTY_PATH);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_filesystem(&empty, target, path);
    else if (mount >= 0 && attach(mount, target, path, 0) < 0)
        return -1;
    if (mount < 0)
        return -1;
    if (first_mask < 0)
        first_mask = mount;
    else
        close(mount);
    return 0;
}

/* The container's /dev/null, once it's known to be that: an image or another container may have put
 * anything there, and a mask must not give a way to it (CVE-2025-31133). */
static int open_null(void)
{
    struct stat status;
    int null = open_in_root("dev/null", O_PATH | O_NOFOLLOW);
    if (null < 0)
        return -1;
    if (fstat(null, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
        close(null);
        return fail(ENODEV, "the container's /dev/null isn't the null device");
    }
    return null;
}

static int mask_file(int target, const char *path)
{
    int null = open_null();
    if (null < 0)
        return -1;
    int mount = clone_tree(null, "", AT_EMPTY_PATH);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_bind(null, target, path, 0, 0);
    else if (mount >= 0 && attach(mount, target, path, 0) < 0)
        return -1;
    close(null);
    if (mount >= 0)
        close(mount);
    return mount < 0 ? -1 : 0;
}

/* What isn't there needs no mask. Returns the target, or -1 with `*missing` set in that case. */
static int open_existing(const char *path, int *missing)
{
    int target = open_in_root(path, O_PATH);
    *missing = target < 0 && (errno == ENOENT || errno == ENOTDIR);
    return target;
}

int run_mask_path(const struct step_mask_path *args)
{
    const char *path = plan_text(args->path);
    struct stat status;
    int missing, target = open_existing(path, &missing);
    if (target < 0)
        return missing ? 0 : -1;
    if (fstat(target, &status) < 0)
        return fail(errno, "fstat %s", path);
    if (same_place(target, root_directory()))
        return fail(EINVAL, "the path is the container's root");
    int done = S_ISDIR(status.st_mode) ? mask_directory(target, path) : mask_file(target, path);
    close(target);
    return done;
}

int run_readonly_path(const struct step_readonly_path *args)
{
    const char *path = plan_text(args->path);
    int missing, target = open_existing(path, &missing);
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
