/* close.c: marking descriptors close-on-exec, so that none of the runtime's or its caller's is the
 * program's. They stay open until then: exec can still fail, and be reported. */

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "kernel.h"
#include "plan.h"
#include "procfs.h"
#include "report.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u              /* Linux 5.11 */
#endif

/* What getdents64(2) writes. */
struct entry { uint64_t inode; int64_t offset; unsigned short size; unsigned char type; char name[]; };

static int mark_each(long first)
{
    static _Alignas(8) char entries[4096];
    long length;
    int directory = open_procfs("self", "fd", O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0)
        return -1;
    while ((length = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(entries + at);
            long descriptor = strtol(entry->name, NULL, 10);
            if (entry->name[0] != '.' && descriptor >= first)
                fcntl((int)descriptor, F_SETFD, FD_CLOEXEC);
            at += entry->size;
        }
    int error = errno;
    close(directory);
    return length < 0 ? fail(error, "getdents64 self/fd") : 0;
}

int run_close_descriptors(const struct step_close_descriptors *args)
{
    if (!syscall(SYS_close_range, (unsigned int)args->first, ~0u, CLOSE_RANGE_CLOEXEC))
        return 0;
    if (errno != ENOSYS && errno != EINVAL)
        return fail(errno, "close_range");
    return mark_each(args->first);
}
