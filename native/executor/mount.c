/* mount.c: mounts as descriptors, and changing those that are there.
 *
 * A mount is made detached, given its attributes while nothing can see it, and only then put on its
 * target, by descriptors throughout: no path of the container's root is resolved between the check
 * and the use. */

#include "mount.h"

#include <errno.h>

#include "kernel.h"
#include "path.h"
#include "report.h"

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

int refuse_root(int target)
{
    return same_place(target, root_directory()) ? fail(EINVAL, "the target is the container's root") : 0;
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

int run_tree_attributes(const struct step_tree_attributes *args)
{
    int mount = open_in_root(plan_text(args->target), O_PATH);
    if (mount < 0 || change_attributes(mount, (uint64_t)args->set, (uint64_t)args->clear, 1) < 0)
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
