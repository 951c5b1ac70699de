/* mounted.c: what is done to a mount that is there already: labelling it. */

#include <errno.h>
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
