/* mounted.c: what is done to a mount that is there already: labelling it, taking it away. */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel.h"
#include "path.h"
#include "plan.h"
#include "report.h"

int run_label_path(const struct step_label_path *args)
{
    int directory = open_in_root(plan_text(args->path), O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return -1;
    if (fsetxattr(directory, "security.selinux", plan_text(args->value), args->value.length, 0) < 0)
        return fail(errno, "fsetxattr security.selinux");
    close(directory);
    return 0;
}

/* A path would be resolved once more, perhaps to somewhere else. A directory is unmounted as the one
 * that this process is in; what isn't one, by the name of its descriptor. */
int run_unmount(const struct step_unmount *args)
{
    struct stat status;
    struct fd_path name;
    int mount = open_in_root(plan_text(args->target), O_PATH);
    if (mount < 0)
        return -1;
    if (same_place(mount, root_directory()))
        return fail(EINVAL, "it is the container's root");
    if (fstat(mount, &status) < 0)
        return fail(errno, "fstat");
    int directory = S_ISDIR(status.st_mode);
    if (directory ? fchdir(mount) < 0 : !fd_path(mount, &name))
        return directory ? fail(errno, "fchdir") : -1;
    if (sys_umount2(directory ? "." : name.text, (int)args->flags) < 0)
        return fail(errno, "umount2");
    close(mount);
    return chdir("/") < 0 ? fail(errno, "chdir /") : 0;
}
