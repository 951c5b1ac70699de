/* procfs.c: a procfs that nothing in the container can have put there.
 *
 * What is written to /proc/sys or /proc/self/attr decides over the host's safety, and the container's
 * /proc may be anything: an image's volume, or a procfs with other files bound over those meant
 * (CVE-2019-16884, CVE-2025-52881). So the files are opened in a mount made for it, attached nowhere.
 * Where the kernel refuses one (no mount API, or a user namespace in which /proc is partly covered),
 * the container's /proc does if it's a procfs, with no mount crossed beneath it. */

#include "procfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "path.h"
#include "report.h"

static int procfs = -1;

static int make_procfs(void)
{
    int context = sys_fsopen("proc");
    if (context < 0)
        return -1;
    int mount = -1;
    if (!sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL))
        mount = sys_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    close(context);
    return mount;
}

static int open_containers(void)
{
    struct statfs status;
    struct stat inode;
    int mount = open_in_root("proc", O_PATH | O_DIRECTORY);
    if (mount < 0)
        return -1;
    if (fstatfs(mount, &status) < 0 || status.f_type != PROC_MAGIC || fstat(mount, &inode) < 0
        || inode.st_ino != PROC_ROOT_INODE) {
        close(mount);
        return fail(ENOTSUP, "the container's /proc isn't a procfs");
    }
    return mount;
}

static int open_beneath(int directory, const char *path, int flags, uint64_t resolve)
{
    struct lookup lookup = { .directory = directory, .path = path, .flags = flags,
                             .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | resolve };
    return look_up(&lookup);
}

int open_procfs(const char *directory, const char *path, int flags, uint64_t resolve)
{
    if (procfs < 0)
        procfs = make_procfs();
    if (procfs < 0)
        procfs = open_containers();
    if (procfs < 0)
        return -1;
    int base = open_beneath(procfs, directory, O_PATH | O_DIRECTORY, 0);
    if (base < 0)
        return -1;
    int file = open_beneath(base, path, flags, resolve);
    int error = errno;
    close(base);
    errno = error;
    return file;
}

int write_procfs(const char *directory, const char *path, const char *value, uint64_t resolve)
{
    int file = open_procfs(directory, path, O_WRONLY, resolve);
    if (file < 0)
        return -1;
    size_t length = strlen(value);
    ssize_t written = write(file, value, length);
    int error = errno;
    close(file);
    if (written < 0)
        return fail(error, "write %s/%s", directory, path);
    return (size_t)written == length ? 0 : fail(EIO, "write %s/%s: only in part", directory, path);
}

void forget_procfs(void)
{
    if (procfs >= 0)
        close(procfs);
    procfs = -1;
}
