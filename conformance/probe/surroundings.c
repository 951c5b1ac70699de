/* Where a process is: namespaces, ids' maps, names, mounts, cgroups, clocks, network, neighbours. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <ctype.h>
#include <dirent.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

void show_namespaces(void)
{
    static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    json_open("namespaces", '{');
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];
        struct stat status;
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        if (stat(path, &status) == 0)
            json_unsigned(kinds[i], status.st_ino);
        else
            json_null(kinds[i]);
    }
    json_close('}');
    json_file("uid_map", "/proc/self/uid_map");
    json_file("gid_map", "/proc/self/gid_map");
    json_file("setgroups", "/proc/self/setgroups");
    json_file("timens_offsets", "/proc/self/timens_offsets");
    json_file("cgroup", "/proc/self/cgroup");

    struct utsname names;
    uname(&names);
    json_text("hostname", names.nodename);
    json_text("domainname", names.domainname);
    json_text("machine", names.machine);

    static const struct { const char *key; clockid_t id; } clocks[] = {
        {"clock_monotonic", CLOCK_MONOTONIC}, {"clock_boottime", CLOCK_BOOTTIME},
    };
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec now = {0, 0};
        clock_gettime(clocks[i].id, &now);
        json_integer(clocks[i].key, now.tv_sec);
    }
}

/* One line of mountinfo (proc(5)) with its octal escapes left to the reader. */
static void show_mount(char *line)
{
    static const char *const before[] = {"id", "parent", "device", "root", "point", "options"};
    static const char *const after[] = {"type", "source", "super"};
    char *rest = line;
    json_open(NULL, '{');
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        json_text(before[i], strsep(&rest, " "));
    json_open("propagation", '[');
    for (char *tag = strsep(&rest, " "); tag != NULL && strcmp(tag, "-") != 0; tag = strsep(&rest, " "))
        json_text(NULL, tag);
    json_close(']');
    for (size_t i = 0; i < sizeof after / sizeof *after; i++)
        json_text(after[i], strsep(&rest, " "));
    json_close('}');
}

void show_mounts(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) {
        json_null("mounts");
        return;
    }
    json_open("mounts", '[');
    while ((length = getline(&line, &size, file)) > 0) {
        line[length - 1] = 0;
        show_mount(line);
    }
    json_close(']');
    free(line);
    fclose(file);
}

void show_network(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct if_nameindex *all = if_nameindex();
    json_open("interfaces", '{');
    for (struct if_nameindex *one = all; one != NULL && one->if_index != 0; one++) {
        struct ifreq request;
        memset(&request, 0, sizeof request);
        strncpy(request.ifr_name, one->if_name, sizeof request.ifr_name - 1);
        if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0)
            json_text(one->if_name, request.ifr_flags & IFF_UP ? "up" : "down");
        else
            json_null(one->if_name);
    }
    json_close('}');
    if (all != NULL)
        if_freenameindex(all);
    if (fd >= 0)
        close(fd);
}

void show_processes(void)
{
    DIR *proc = opendir("/proc");
    json_open("processes", '[');
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0]))
            json_integer(NULL, atoi(entry->d_name));
    json_close(']');
    if (proc != NULL)
        closedir(proc);
}
