/* report.c: the protocol with the runtime, one packet a report. */

#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct report { uint32_t kind, step; int32_t error; uint32_t length; int64_t value; char text[REPORT_TEXT]; };
enum { HEAD = 24 };
_Static_assert(__builtin_offsetof(struct report, text) == HEAD, "the head of a report is 24 bytes");

int control = -1;
uint32_t current_step;
static struct { int error; char text[REPORT_TEXT]; } failure;

int fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure.text, sizeof failure.text, format, arguments);
    va_end(arguments);
    failure.error = error;
    errno = error;
    return -1;
}

/* Static and not on the stack: a report is large, and there is one at a time. */
static struct report *fill(enum report_kind kind, int32_t error, int64_t value, const char *text)
{
    static struct report packet;
    size_t length = strnlen(text, REPORT_TEXT);
    packet = (struct report){ .kind = kind, .step = current_step, .error = error,
                              .length = (uint32_t)length, .value = value };
    memcpy(packet.text, text, length);
    return &packet;
}

/* write(2) and not send(2): a report may follow a seccomp filter, and there is no filter without
 * write. SIGPIPE is ignored until just before the program. */
static void send_packet(const struct report *packet)
{
    while (write(control, packet, HEAD + packet->length) < 0 && errno == EINTR)
        ;
}

void report(enum report_kind kind, int64_t value, const char *text)
{
    send_packet(fill(kind, 0, value, text));
}

void warn(const char *format, ...)
{
    static char text[REPORT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report(REPORT_WARNING, 0, text);
}

int report_descriptor(enum report_kind kind, int64_t value, int descriptor)
{
    struct report *packet = fill(kind, 0, value, "");
    struct iovec body = { packet, HEAD };
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } ancillary = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &body, .msg_iovlen = 1, .msg_control = ancillary.bytes,
                              .msg_controllen = sizeof ancillary.bytes };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    ssize_t sent;
    do
        sent = sendmsg(control, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? fail(errno, "send a descriptor to the runtime") : 0;
}

/* A loaded filter may answer exit_group with an errno, and libc's _exit would then try for ever. The
 * kernel's own signal for an illegal instruction can't be refused, not even by a pid namespace's first. */
_Noreturn void end_process(int status)
{
    syscall(SYS_exit_group, status);
    __builtin_trap();
}

void await_answer(void)
{
    char answer;
    ssize_t got;
    do
        got = read(control, &answer, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1 || answer != 'g')
        end_process(1);
}

_Noreturn void report_failure(void)
{
    send_packet(fill(REPORT_FAILED, failure.error, 0, failure.text));
    await_answer();                         /* the runtime may look at /proc/PID/root meanwhile */
    end_process(1);
}
