#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void clinux_name_thread(const char *name) {
    char text[16];
    strncpy(text, name, sizeof text - 1);
    text[sizeof text - 1] = 0;
    pthread_setname_np(pthread_self(), text);
}

static int unix_address(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) return -ENAMETOOLONG;
    strcpy(address->sun_path, path);
    return 0;
}

int clinux_unix_bind(int fd, const char *path, unsigned mode) {
    struct sockaddr_un address;
    int result = unix_address(path, &address);
    if (result < 0) return result;
    // bind() gives the file the mode of the socket's own inode: no umask games, no moment in which it is open to all.
    if (fchmod(fd, mode) < 0) return -errno;
    return bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

int clinux_unix_connect(int fd, const char *path) {
    struct sockaddr_un address;
    int result = unix_address(path, &address);
    if (result < 0) return result;
    return connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

ssize_t clinux_send_packet(int fd, const void *bytes, size_t count, int descriptor) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    ssize_t result;
    do result = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_receive_packet(int fd, void *bytes, size_t capacity, int *descriptor) {
    // Room for more than are allowed: so those too many are seen and closed here, not by the kernel's silence.
    enum { room_for = 4 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * room_for)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    *descriptor = -1;
    ssize_t result;
    do result = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    int received[room_for];
    int count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < here && count < room_for; index++) {
            memcpy(&received[count++], CMSG_DATA(header) + index * sizeof(int), sizeof(int));
        }
    }
    int refusal = message.msg_flags & MSG_TRUNC ? -EMSGSIZE
                  : message.msg_flags & MSG_CTRUNC || count > 1 ? -EPROTO
                                                                : 0;
    if (refusal < 0) {
        while (count > 0) close(received[--count]);
        return refusal;
    }
    if (count == 1) *descriptor = received[0];
    return result;
}

int clinux_peer_credentials(int fd, struct clinux_credentials *credentials) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
    *credentials = (struct clinux_credentials){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    return 0;
}

int clinux_poll(int fd, short events, int wake, int milliseconds) {
    struct pollfd both[2] = {{.fd = fd, .events = events}, {.fd = wake, .events = POLLIN}};
    int count = poll(both, 2, milliseconds);
    if (count < 0) return -errno;
    return (both[0].revents ? 1 : 0) | (both[1].revents ? 2 : 0);
}
