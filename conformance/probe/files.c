/* What is to be seen and done in the file system: /dev, chosen paths, device numbers. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFCHR: return "character";
    case S_IFBLK: return "block";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    default: return "other";
    }
}

static void show_status(const char *path, const struct stat *status)
{
    json_text("type", kind_of(status->st_mode));
    json_unsigned("mode", status->st_mode & 07777);
    json_unsigned("uid", status->st_uid);
    json_unsigned("gid", status->st_gid);
    if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) {
        char device[32];
        snprintf(device, sizeof device, "%u:%u", major(status->st_rdev), minor(status->st_rdev));
        json_text("device", device);
    }
    if (S_ISLNK(status->st_mode))
        json_link("target", path);
}

void show_devices(void)
{
    DIR *directory = opendir("/dev");
    json_open("dev", '{');
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[512];
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        json_open(entry->d_name, '{');
        if (lstat(path, &status) == 0)
            show_status(path, &status);
        json_close('}');
    }
    json_close('}');
    if (directory != NULL)
        closedir(directory);
}

/* 0, or the errno of an attempt to read the first byte of a file or the first entry of a directory. */
static int try_read(const char *path, int is_directory, char *first, ssize_t *got)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno;
    int error = 0;
    if (!is_directory) {
        *got = read(fd, first, 256);
        error = *got < 0 ? errno : 0;
    }
    close(fd);
    return error;
}

/* 0, or the errno of opening: what a device's own driver says to read(2) is another matter. */
static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

/* 0, or the errno of an attempt to open a file for writing, or to make an entry in a directory. */
static int try_write(const char *path, int is_directory)
{
    char name[4096];
    if (is_directory) {
        snprintf(name, sizeof name, "%s/.probe", path);
        if (mkdir(name, 0700) != 0)
            return errno;
        rmdir(name);
        return 0;
    }
    return try_open(path, O_WRONLY);
}

static void show_entries(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        json_null("entries");
        return;
    }
    int count = 0;
    json_open("entries", '[');
    for (struct dirent *entry; (entry = readdir(directory)) != NULL && count < 256;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            json_text(NULL, entry->d_name);
            count++;
        }
    json_close(']');
    closedir(directory);
}

void show_path(const char *path)
{
    struct stat status;
    struct statfs filesystem;
    json_open(path, '{');
    if (lstat(path, &status) != 0) {
        json_integer("errno", errno);
        json_close('}');
        return;
    }
    json_integer("errno", 0);
    show_status(path, &status);
    if (stat(path, &status) != 0) {
        json_integer("follow_errno", errno);
        json_close('}');
        return;
    }
    json_text("followed_type", kind_of(status.st_mode));
    json_integer("size", status.st_size);
    if (statfs(path, &filesystem) == 0) {
        json_unsigned("filesystem", (unsigned long)filesystem.f_type);
        json_boolean("filesystem_readonly", (filesystem.f_flags & ST_RDONLY) != 0);
    }
    char first[256];
    ssize_t got = -1;
    int is_directory = S_ISDIR(status.st_mode);
    json_integer("read_errno", try_read(path, is_directory, first, &got));
    if (got >= 0)
        json_bytes("content", first, (size_t)got);
    if (is_directory)
        show_entries(path);
    json_integer("write_errno", try_write(path, is_directory));
    json_close('}');
}

/* `device` is TYPE:MAJOR:MINOR; a node is made in the working directory, tried and removed. */
void show_device_access(const char *device)
{
    const char *node = ".probe-device";
    char type = 0;
    unsigned int large = 0, small = 0;
    json_open(device, '{');
    if (sscanf(device, "%c:%u:%u", &type, &large, &small) != 3) {
        json_integer("mknod_errno", EINVAL);
        json_close('}');
        return;
    }
    int made = mknod(node, (type == 'b' ? S_IFBLK : S_IFCHR) | 0600, makedev(large, small));
    json_integer("mknod_errno", made == 0 ? 0 : errno);
    if (made == 0) {
        json_integer("read_errno", try_open(node, O_RDONLY));
        json_integer("write_errno", try_open(node, O_WRONLY));
        unlink(node);
    }
    json_close('}');
}
