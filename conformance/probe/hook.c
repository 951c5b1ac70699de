/* The probe as a hook: one line of JSON for each time it was run. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* Everything on standard input, which a runtime closes when the state has been written. */
static size_t read_input(char *buffer, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length < size && (got = read(0, buffer + length, size - length)) > 0)
        length += (size_t)got;
    return length;
}

/* Where the process that the state calls `pid` is: seen while the hook runs, it may be gone after. */
static void show_target(const char *state)
{
    static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    const char *member = strstr(state, "\"pid\"");
    long pid = member == NULL ? 0 : strtol(member + strcspn(member, "0123456789"), NULL, 10);
    json_open("target_namespaces", '{');
    for (size_t i = 0; pid > 0 && i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%ld/ns/%s", pid, kinds[i]);
        json_link(kinds[i], path);
    }
    json_close('}');
}

void record_hook(const char *log, const char *name, int argc, char **argv)
{
    static char input[65536];
    size_t length = read_input(input, sizeof input - 1);
    input[length] = 0;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    json_out = fd < 0 ? NULL : fdopen(fd, "a");
    if (json_out == NULL) {
        fprintf(stderr, "probe: %s: %s\n", log, strerror(errno));
        exit(125);
    }
    /* One write for the whole line: hooks that run at the same time must not mix theirs. */
    static char line[1 << 20];
    setvbuf(json_out, line, _IOFBF, sizeof line);
    json_open(NULL, '{');
    json_text("hook", name);
    json_bytes("input", input, length);
    json_open("argv", '[');
    for (int i = 0; i < argc; i++)
        json_text(NULL, argv[i]);
    json_close(']');
    json_open("env", '[');
    for (char **entry = environ; *entry != NULL; entry++)
        json_text(NULL, *entry);
    json_close(']');
    show_identity();
    show_namespaces();
    char *cwd = getcwd(NULL, 0);
    json_text("cwd", cwd);
    free(cwd);
    show_target(input);
    json_boolean("in_container_root", access("/.conformance-container", F_OK) == 0);
    json_close('}');
    fputc('\n', json_out);
    fclose(json_out);
}
