/* copy_up.c: fills a new file system with what it is about to cover.
 *
 * What is copied is hostile, and may change meanwhile: a name is opened in the directory that has it and
 * never through a link, and a directory stays open while its content is copied. The copy is ours
 * alone, as nothing else can reach it yet, so ".." leads up from its directories. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel.h"
#include "mount.h"
#include "report.h"

enum { DEEPEST = 256, LISTING = 16384, ATTRIBUTE_NAMES = 4096, LONGEST_ATTRIBUTE = 65536 };

/* What getdents64(2) writes. */
struct entry { uint64_t inode; int64_t next; uint16_t length; uint8_t type; char name[]; };

/* The directories that are being copied, each with its place in the listing; the listing itself is the
 * deepest one's. `to` is the deepest one's copy, `path` its name for messages. */
static struct level { int from; off_t next; size_t path; } levels[DEEPEST];
static struct { size_t at, length; _Alignas(8) char entries[LISTING]; } listing;
static int depth, to;
static char path[PATH_MAX];

static int failed(const char *name, const char *why)
{
    return fail(errno, "copy %s%s%s%s", path, *name ? "/" : "", name, why);
}

/* The next name that is something of its own, or NULL; `errno` is 0 at the end. */
static const struct entry *next_entry(int directory, off_t *next)
{
    for (;;) {
        if (listing.at >= listing.length) {
            long length = syscall(SYS_getdents64, directory, listing.entries, sizeof listing.entries);
            if (length <= 0) {
                errno = length ? errno : 0;
                return NULL;
            }
            listing.at = 0;
            listing.length = (size_t)length;
        }
        const struct entry *entry = (const void *)(listing.entries + listing.at);
        listing.at += entry->length;
        *next = entry->next;
        if (strcmp(entry->name, ".") && strcmp(entry->name, ".."))
            return entry;
    }
}

static void forget_listing(void)
{
    listing.at = listing.length = 0;
}

/* ------------------------------------------------- one file */

/* Those that this file system takes: which they are depends on it, its version and the namespace. */
static void copy_attributes(int from, int copy)
{
    static char names[ATTRIBUTE_NAMES], value[LONGEST_ATTRIBUTE];
    ssize_t length = flistxattr(from, names, sizeof names);
    for (const char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(from, name, value, sizeof value);
        if (size >= 0)
            fsetxattr(copy, name, value, (size_t)size, 0);
    }
}

/* The mode a copy may have. An owner whom the user namespace doesn't map (EINVAL) can't be had: the
 * copy is the container's root's then, and must not lend that to whoever runs it. */
static mode_t mode_of(const struct stat *status, int owned)
{
    return status->st_mode & (owned ? 07777 : 01777);
}

/* Owner first: a change of it takes the set-user-ID bits and the capabilities away. */
static int copy_metadata(int from, int copy, const struct stat *status)
{
    const struct timespec times[] = { status->st_atim, status->st_mtim };
    int owned = !fchown(copy, status->st_uid, status->st_gid);
    if ((!owned && errno != EINVAL) || fchmod(copy, mode_of(status, owned)) < 0)
        return -1;
    copy_attributes(from, copy);
    return futimens(copy, times);
}

/* The same for what can't be opened: links, pipes, sockets, devices. */
static int copy_metadata_at(const char *name, const struct stat *status)
{
    const struct timespec times[] = { status->st_atim, status->st_mtim };
    int owned = !fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW);
    if (!owned && errno != EINVAL)
        return -1;
    if (!S_ISLNK(status->st_mode) && fchmodat(to, name, mode_of(status, owned), 0) < 0)
        return -1;
    return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Holes stay holes: in memory they would cost what they save on disk. */
static int copy_content(int from, int copy, off_t size)
{
    off_t at = 0;
    while (at < size) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;                          /* nothing but a hole up to the end */
        if (data < 0)
            data = at;
        off_t end = lseek(from, data, SEEK_HOLE);
        if (end < 0 || end > size)
            end = size;
        if (lseek(copy, data, SEEK_SET) < 0)
            return -1;
        while (data < end) {
            ssize_t sent = sendfile(copy, from, &data, (size_t)(end - data));
            if (sent < 0 && errno != EINTR)
                return -1;
            if (!sent)
                return ftruncate(copy, size);
        }
        at = end;
    }
    return ftruncate(copy, size);
}

static int copy_file(int directory, const char *name, const struct stat *seen)
{
    struct stat status;
    int from = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (from < 0 || fstat(from, &status) < 0)
        return failed(name, "");
    if (!S_ISREG(status.st_mode) || status.st_ino != seen->st_ino || status.st_dev != seen->st_dev) {
        errno = EBUSY;
        return failed(name, ", which changed meanwhile");
    }
    int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (copy < 0 || copy_content(from, copy, status.st_size) < 0 || copy_metadata(from, copy, &status) < 0)
        return failed(name, "");
    close(from);
    close(copy);
    return 0;
}

static int copy_link(int directory, const char *name, const struct stat *status)
{
    static char value[PATH_MAX];
    ssize_t length = readlinkat(directory, name, value, sizeof value - 1);
    if (length < 0)
        return failed(name, "");
    value[length] = 0;
    return symlinkat(value, to, name) < 0 || copy_metadata_at(name, status) < 0 ? failed(name, "") : 0;
}

static int copy_node(const char *name, const struct stat *status)
{
    if (mknodat(to, name, status->st_mode & ~(mode_t)07777, status->st_rdev) < 0) {
        if (errno != EPERM)
            return failed(name, "");
        warn("%s/%s isn't copied: the kernel lets nobody make devices in a user namespace", path, name);
        return 0;
    }
    return copy_metadata_at(name, status) < 0 ? failed(name, "") : 0;
}

/* ------------------------------------------------- files of several names */

/* A directory of the copy's, gone when all is done: each such file is in it under its device and
 * inode number, so that its further names can be linked. It is the table that there is no heap for. */
static int links = -1;
static char links_name[24];

static int open_links(void)
{
    struct stat status;
    int number = 0, root = to;
    if (links >= 0)
        return 0;
    do
        snprintf(links_name, sizeof links_name, ".links.%d", number++);
    while (!fstatat(levels[0].from, links_name, &status, AT_SYMLINK_NOFOLLOW));
    for (int level = depth; level > 0; level--) {
        int up = openat(root, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root != to)
            close(root);
        root = up;
    }
    if (mkdirat(root, links_name, 0700) < 0)
        return failed(links_name, "");
    links = openat(root, links_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root != to)
        close(root);
    return links < 0 ? failed(links_name, "") : 0;
}

static int copy_shared_file(int directory, const char *name, const struct stat *status)
{
    char key[48];
    if (open_links() < 0)
        return -1;
    snprintf(key, sizeof key, "%llx.%llx", (unsigned long long)status->st_dev,
             (unsigned long long)status->st_ino);
    if (!linkat(links, key, to, name, 0))
        return 0;
    if (errno != ENOENT)
        return failed(name, "");
    if (copy_file(directory, name, status) < 0)
        return -1;
    return linkat(to, name, links, key, 0) < 0 ? failed(name, "") : 0;
}

static int remove_links(void)
{
    off_t next;
    if (links < 0)
        return 0;
    forget_listing();
    for (const struct entry *entry; (entry = next_entry(links, &next));)
        if (unlinkat(links, entry->name, 0) < 0)
            return failed(links_name, "");
    close(links);
    links = -1;
    return unlinkat(to, links_name, AT_REMOVEDIR) < 0 ? failed(links_name, "") : 0;
}

/* ------------------------------------------------- the tree */

static int enter(int directory, const char *name)
{
    size_t length = strlen(path);
    if (depth + 1 >= DEEPEST || length + strlen(name) + 2 > sizeof path)
        return fail(ENAMETOOLONG, "copy what is more than %d deep: %s/%s", depth, path, name);
    int from = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || mkdirat(to, name, 0700) < 0)
        return failed(name, "");
    int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (copy < 0)
        return failed(name, "");
    close(to);
    to = copy;
    levels[++depth] = (struct level){ .from = from, .path = length };
    strcat(strcat(path, "/"), name);
    forget_listing();
    return 0;
}

static int leave(void)
{
    struct stat status;
    struct level *level = &levels[depth--];
    if (fstat(level->from, &status) < 0 || copy_metadata(level->from, to, &status) < 0)
        return failed("", "");
    int up = openat(to, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0 || lseek(levels[depth].from, levels[depth].next, SEEK_SET) < 0)
        return failed("", "");
    close(level->from);
    close(to);
    to = up;
    path[level->path] = 0;
    forget_listing();
    return 0;
}

static int copy_entry(int directory, const char *name)
{
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : failed(name, "");  /* removed meanwhile */
    switch (status.st_mode & S_IFMT) {
    case S_IFDIR: return enter(directory, name);
    case S_IFREG:
        return status.st_nlink > 1 ? copy_shared_file(directory, name, &status)
            : copy_file(directory, name, &status);
    case S_IFLNK: return copy_link(directory, name, &status);
    default: return copy_node(name, &status);
    }
}

static int copy_tree(void)
{
    while (depth >= 0) {
        const struct entry *entry = next_entry(levels[depth].from, &levels[depth].next);
        if (entry ? copy_entry(levels[depth].from, entry->name) < 0 : errno && failed("", "") < 0)
            return -1;
        if (!entry && !depth)
            return 0;
        if (!entry && leave() < 0)
            return -1;
    }
    return 0;
}

int copy_up(int covered, int mount, const char *name, int owner)
{
    struct stat status;
    snprintf(path, sizeof path, "%s", name);
    depth = 0;
    levels[0] = (struct level){ .from = openat(covered, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    to = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (levels[0].from < 0 || to < 0 || fstat(levels[0].from, &status) < 0)
        return failed("", "");
    forget_listing();
    if (copy_tree() < 0 || remove_links() < 0)
        return -1;
    const struct timespec times[] = { status.st_atim, status.st_mtim };
    if (owner && fchown(to, status.st_uid, status.st_gid) < 0 && errno != EINVAL)
        return failed("", "");
    copy_attributes(levels[0].from, to);
    if (futimens(to, times) < 0)
        return failed("", "");
    close(levels[0].from);
    close(to);
    return 0;
}
