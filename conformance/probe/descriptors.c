/* Open descriptors, and what there is of a terminal. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

static void show_descriptor(int fd)
{
    char path[64];
    struct stat status;
    if (fstat(fd, &status) != 0)
        return;
    json_open(NULL, '{');
    json_integer("number", fd);
    json_unsigned("mode", status.st_mode);
    json_integer("flags", fcntl(fd, F_GETFL));
    json_boolean("cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    json_link("target", path);
    json_close('}');
}

/* Must run before anything else opens a descriptor: /proc/self/fd shows what was inherited. */
void show_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    json_open("descriptors", '[');
    if (directory == NULL) {
        for (int fd = 0; fd < 1024; fd++)
            if (fd != fileno(json_out))
                show_descriptor(fd);
    } else {
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            int fd = atoi(entry->d_name);
            int own = fd == dirfd(directory) || (fd > 2 && fd == fileno(json_out));
            if (entry->d_name[0] != '.' && !own)
                show_descriptor(fd);
        }
        closedir(directory);
    }
    json_close(']');
}

void show_terminal(void)
{
    json_open("terminal", '{');
    json_open("isatty", '[');
    for (int fd = 0; fd < 3; fd++)
        json_boolean(NULL, isatty(fd));
    json_close(']');

    struct winsize size;
    if (ioctl(0, TIOCGWINSZ, &size) == 0) {
        json_integer("height", size.ws_row);
        json_integer("width", size.ws_col);
    }
    struct stat status;
    if (isatty(0) && fstat(0, &status) == 0) {
        char device[32];
        snprintf(device, sizeof device, "%u:%u", major(status.st_rdev), minor(status.st_rdev));
        json_text("device", device);
        json_unsigned("mode", status.st_mode & 07777);
        json_unsigned("uid", status.st_uid);
        json_unsigned("gid", status.st_gid);
        json_link("name", "/proc/self/fd/0");
        struct termios settings;
        if (tcgetattr(0, &settings) == 0) {
            json_boolean("onlcr", (settings.c_oflag & ONLCR) != 0);
            json_boolean("echo", (settings.c_lflag & ECHO) != 0);
        }
    }
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    json_integer("controlling_errno", fd < 0 ? errno : 0);
    if (fd >= 0) {
        json_integer("session", tcgetsid(fd));
        json_integer("foreground", tcgetpgrp(fd));
        close(fd);
    }
    json_close('}');
}
