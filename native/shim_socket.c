/* The shim's sockets: Python's _socket module alone would take half a millisecond of every start. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

#define MOST_POLLED 5

int shim_socket_pair(int ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
}

/* The address of a socket by way of its directory's descriptor: a sockaddr_un holds 107 characters.
 * The descriptor is returned, to be closed after use. */
static int address_of(const char *path, struct sockaddr_un *address)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    int parent;

    if (length >= sizeof directory) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(directory, path, length);
    directory[length] = '\0';
    parent = open(length ? directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -1;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", parent, name)
        >= (int)sizeof address->sun_path) {
        close(parent);
        errno = ENAMETOOLONG;
        return -1;
    }
    return parent;
}

/* Binds or connects, and makes the call's result the function's. */
static int named(const char *path, int type, int listening)
{
    struct sockaddr_un address;
    int error = 0, parent = address_of(path, &address), file;

    if (parent < 0)
        return -errno;
    file = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (file < 0)
        error = errno;
    else if (listening && (bind(file, (struct sockaddr *)&address, sizeof address) < 0 || listen(file, 8) < 0))
        error = errno;
    else if (!listening && connect(file, (struct sockaddr *)&address, sizeof address) < 0)
        error = errno;
    close(parent);
    if (error == 0)
        return file;
    if (file >= 0)
        close(file);
    return -error;
}

int shim_listen(const char *path)
{
    return named(path, SOCK_SEQPACKET, 1);
}

int shim_connect(const char *path, int stream)
{
    return named(path, stream ? SOCK_STREAM : SOCK_SEQPACKET, 0);
}

int shim_send(int socket, const char *data, size_t size, int descriptor)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    }
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    return sent < 0 ? -errno : (int)sent;
}

int shim_receive(int socket, char *data, size_t size, int *descriptor)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control = {0};
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t received;

    *descriptor = -1;
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (received < 0)
        return errno == ECONNRESET ? 0 : -errno; /* it ended with an answer of ours unread */
    if (message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_type == SCM_RIGHTS)
        memcpy(descriptor, CMSG_DATA(&control.header), sizeof *descriptor);
    return (int)received;
}

int shim_poll(int count, const int *descriptors, int *events, int milliseconds)
{
    struct pollfd polled[MOST_POLLED];
    int ready;

    if (count > MOST_POLLED)
        return -EINVAL;
    for (int i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = descriptors[i], .events = (short)events[i]};
    ready = poll(polled, (nfds_t)count, milliseconds);
    for (int i = 0; i < count; i++)
        events[i] = ready > 0 ? polled[i].revents : 0;
    return ready < 0 ? -errno : ready;
}
