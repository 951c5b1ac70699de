/* root.c: the container's root: making it a mount, hiding parts of it, and changing to it. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

int run_host_propagation(const struct step_host_propagation *args)
{
    if (sys_mount(NULL, "/", NULL, (unsigned long)args->flags, NULL) < 0)
        return fail(errno, "mount /: propagation %#llx", (unsigned long long)args->flags);
    return 0;
}

/* pivot_root(2) refuses a root whose parent mount is shared, and a mount on a shared parent would
 * show on the host. As a slave it, and so the root cloned from it, still gets what the host mounts;
 * where that isn't wanted, host_propagation has made it private before. Only a mount's own root can
 * be changed, so go up until one is met. */
static int make_parent_slave(int directory)
{
    int at = openat(directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0 && change_propagation(at, MS_SLAVE) < 0) {
        if (errno != EINVAL)
            return -1;
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (up >= 0 && same_place(up, at))
            return fail(EINVAL, "the root filesystem is on no mount");
        close(at);
        at = up;
    }
    if (at < 0)
        return fail(errno, "open the parent of the root filesystem");
    close(at);
    return 0;
}

static int open_mounted_root(int below, const char *path)
{
    struct fd_path name;
    if (!fd_path(below, &name))
        return -1;
    if (sys_mount(name.text, name.text, NULL, MS_BIND | MS_REC, NULL) < 0)
        return fail(errno, "mount %s on itself", path);
    int mounted = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return mounted < 0 ? fail(errno, "open %s", path) : mounted;
}

int run_open_root(const struct step_open_root *args)
{
    const char *path = plan_text(args->path);
    int below = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (below < 0)
        return fail(errno, "open %s", path);
    if (make_parent_slave(below) < 0)
        return -1;
    int root = clone_tree(below, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (root < 0 && errno == ENOSYS)
        root = open_mounted_root(below, path);
    else if (root >= 0 && sys_move_mount(root, below) < 0)
        return fail(errno, "move_mount %s", path);
    if (root < 0)
        return -1;
    close(below);
    use_root(root);
    return 0;
}

/* Both roots are stacked at "/" after the call: the old one, on which "." still is, on top. Its
 * mounts are made slaves first, so that taking them away here doesn't on the host. */
int run_pivot_root(const struct step_pivot_root *args)
{
    (void)args;
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(errno, "open /");
    if (fchdir(root_directory()) < 0)
        return fail(errno, "fchdir to the root filesystem");
    if (sys_pivot_root(".", ".") < 0)
        return fail(errno, "pivot_root");
    if (fchdir(old) < 0)
        return fail(errno, "fchdir to the old root");
    close(old);
    if (sys_mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return fail(errno, "mount: make the old root a slave");
    if (sys_umount2(".", MNT_DETACH) < 0)
        return fail(errno, "umount2 the old root");
    if (chdir("/") < 0)
        return fail(errno, "chdir /");
    return 0;
}

int run_root_readonly(const struct step_root_readonly *args)
{
    (void)args;
    return change_attributes(root_directory(), MOUNT_ATTR_RDONLY, 0, 0);
}

int run_root_propagation(const struct step_root_propagation *args)
{
    return change_propagation(root_directory(), args->flags);
}
