/* terminal.c: the container's terminal.
 *
 * The pair is opened in the container's own devpts, and its slave is got from the master
 * (TIOCGPTPEER), not by name: /dev/pts/N and /dev/console are paths in a hostile root
 * (CVE-2025-52565). */

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "report.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { CONSOLE_MODE = 0620, FIRST_SLAVE_MAJOR = 136, LAST_SLAVE_MAJOR = 143 };

/* Nothing can be made in a devpts, so once the directory is one, its ptmx is the multiplexer. */
static int open_master(void)
{
    struct statfs filesystem;
    struct stat status;
    int unlock = 0;
    int directory = open_in_root("dev/pts", O_PATH | O_DIRECTORY);
    if (directory < 0)
        return -1;
    if (fstatfs(directory, &filesystem) < 0 || filesystem.f_type != DEVPTS_MAGIC)
        return fail(ENODEV, "the container's /dev/pts isn't a devpts");
    struct lookup lookup = { .directory = directory, .path = "ptmx", .flags = O_RDWR | O_NOCTTY,
                             .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
    int master = look_up(&lookup);
    close(directory);
    if (master < 0)
        return -1;
    if (fstat(master, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(5, 2))
        return fail(ENODEV, "the container's /dev/pts/ptmx isn't a terminal multiplexer");
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return fail(errno, "ioctl TIOCSPTLCK");
    return master;
}

static int open_slave(int master)
{
    struct statfs filesystem;
    struct stat status;
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return fail(errno, "ioctl TIOCGPTPEER");
    if (fstatfs(slave, &filesystem) < 0 || filesystem.f_type != DEVPTS_MAGIC || fstat(slave, &status) < 0
        || !S_ISCHR(status.st_mode) || major(status.st_rdev) < FIRST_SLAVE_MAJOR
        || major(status.st_rdev) > LAST_SLAVE_MAJOR)
        return fail(ENODEV, "ioctl TIOCGPTPEER gave no terminal");
    return slave;
}

/* /dev/console, made when missing; a link there isn't followed, whoever put it. */
static int bind_console(int slave)
{
    static const char path[] = "dev/console";
    struct stat status;
    int target = make_in_root(path, S_IFREG | CONSOLE_MODE, 0, O_NOFOLLOW);
    if (target < 0)
        return -1;
    if (fstat(target, &status) < 0 || S_ISLNK(status.st_mode))
        return fail(ELOOP, "/dev/console is a symbolic link");
    int mount = clone_tree(slave, "", AT_EMPTY_PATH);
    if (mount < 0 && errno == ENOSYS)
        mount = legacy_bind(slave, target, path, 0, O_NOFOLLOW);
    else if (mount >= 0 && attach(mount, target, path, O_NOFOLLOW) < 0)
        return -1;
    if (mount < 0)
        return -1;
    close(mount);
    close(target);
    return 0;
}

/* The slave becomes the standard streams, and the terminal of the session made before. */
static int take_terminal(int slave)
{
    for (int stream = 0; stream < 3; stream++)
        if (dup2(slave, stream) < 0)
            return fail(errno, "dup2 the terminal to %d", stream);
    if (slave > 2)
        close(slave);
    return ioctl(0, TIOCSCTTY, 0) < 0 ? fail(errno, "ioctl TIOCSCTTY") : 0;
}

int run_terminal(const struct step_terminal *args)
{
    struct winsize size = { .ws_col = (unsigned short)args->width, .ws_row = (unsigned short)args->height };
    int master = open_master();
    int slave = master < 0 ? -1 : open_slave(master);
    if (slave < 0)
        return -1;
    if ((args->width || args->height) && ioctl(master, TIOCSWINSZ, &size) < 0)
        return fail(errno, "ioctl TIOCSWINSZ");
    if ((args->uid >= 0 || args->gid >= 0) && fchown(slave, (uid_t)args->uid, (gid_t)args->gid) < 0)
        return fail(errno, "fchown the terminal");
    if (args->attach && bind_console(slave) < 0)
        return -1;
    if (report_descriptor(REPORT_DESCRIPTOR, DESCRIPTOR_TERMINAL, master) < 0)
        return -1;
    await_answer();
    close(master);
    return take_terminal(slave);
}
