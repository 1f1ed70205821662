#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

// Not in the C library's headers; values are kernel ABI (linux/in.h, linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
enum { original_destination = 80, bind_address_no_port = 24, v6_free_bind = 78 };

int clinux_socket(int domain, int type, int protocol) {
    int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    return fd < 0 ? -errno : fd;
}

int clinux_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_set_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

int clinux_option(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) < 0 ? -errno : value;
}

int clinux_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

int clinux_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

ssize_t clinux_receive(int fd, void *bytes, size_t count) {
    ssize_t result;
    do result = recv(fd, bytes, count, 0);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_send(int fd, const void *bytes, size_t count) {
    ssize_t result;
    do result = send(fd, bytes, count, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_receive_pieces(int fd, void *vector, size_t count) {
    struct iovec *pieces = vector;
    ssize_t result;
    do result = count == 1 ? recv(fd, pieces->iov_base, pieces->iov_len, 0) : readv(fd, pieces, (int)count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_send_pieces(int fd, void *vector, size_t count) {
    struct iovec *pieces = vector;
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t result;
    do result = count == 1 ? send(fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL) : sendmsg(fd, &message, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int clinux_abort_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0 ? -errno : 0;
}

static socklen_t encode(const struct clinux_endpoint *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->v6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(from->port);
        memcpy(&v6->sin6_addr, from->address, 16);
        return sizeof *v6;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(from->port);
    memcpy(&v4->sin_addr, from->address, 4);
    return sizeof *v4;
}

static int decode(const struct sockaddr_storage *from, struct clinux_endpoint *to) {
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        to->v6 = true;
        to->port = ntohs(v6->sin6_port);
        memcpy(to->address, &v6->sin6_addr, 16);
        return 0;
    }
    if (from->ss_family != AF_INET) return -EAFNOSUPPORT;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    to->port = ntohs(v4->sin_port);
    memcpy(to->address, &v4->sin_addr, 4);
    return 0;
}

int clinux_bind(int fd, const struct clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = encode(endpoint, &address);
    return bind(fd, (struct sockaddr *)&address, length) < 0 ? -errno : 0;
}

int clinux_connect(int fd, const struct clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = encode(endpoint, &address);
    return connect(fd, (struct sockaddr *)&address, length) < 0 ? -errno : 0;
}

int clinux_local_endpoint(int fd, struct clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -errno;
    return decode(&address, endpoint);
}

int clinux_peer_endpoint(int fd, struct clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &length) < 0) return -errno;
    return decode(&address, endpoint);
}

int clinux_original_destination(int fd, struct clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = sizeof(struct sockaddr_in);
    memset(&address, 0, sizeof address);
    if (getsockopt(fd, SOL_IP, original_destination, &address, &length) < 0) {
        length = sizeof(struct sockaddr_in6);
        if (getsockopt(fd, SOL_IPV6, original_destination, &address, &length) < 0) return -errno;
    }
    return decode(&address, endpoint);
}

int clinux_keep_alive(int fd, int idle, int interval, int count) {
    int result = clinux_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    if (result == 0) result = clinux_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
    if (result == 0) result = clinux_set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, count);
    if (result == 0) result = clinux_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    return result;
}

int clinux_transparent(int fd, bool v6) {
    int result = clinux_set_option(fd, SOL_IP, IP_TRANSPARENT, 1);
    if (result == 0 && v6) result = clinux_set_option(fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
    return result;
}

int clinux_free_bind(int fd, bool v6) {
    int result = clinux_set_option(fd, SOL_IP, IP_FREEBIND, 1);
    if (result == 0 && v6) result = clinux_set_option(fd, SOL_IPV6, v6_free_bind, 1);
    return result;
}

int clinux_bind_address_no_port(int fd) { return clinux_set_option(fd, SOL_IP, bind_address_no_port, 1); }

int clinux_socket_network(int fd) {
    int namespace = ioctl(fd, SIOCGSKNS);
    return namespace < 0 ? -errno : namespace;
}
