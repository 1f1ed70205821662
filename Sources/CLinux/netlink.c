#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

int clinux_netlink_socket(int family) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, family);
    if (fd < 0) return -errno;
    int result = clinux_set_option(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

ssize_t clinux_netlink_receive(int fd, void *bytes, size_t capacity) {
    struct sockaddr_nl sender;
    struct iovec part = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {
        .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t result;
    do result = recvmsg(fd, &message, 0);
    while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    if (message.msg_flags & MSG_TRUNC) return -EMSGSIZE;
    // Any process may send to a netlink socket; only the kernel has port 0.
    return sender.nl_pid == 0 ? result : -EPERM;
}

uint32_t clinux_interface_index(const char *name) { return if_nametoindex(name); }

int clinux_packet_socket(uint32_t interface, int buffer_bytes) {
    // Protocol 0 takes nothing until bind() names the interface.
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    // Not refused without CAP_NET_ADMIN only: then the default must do.
    (void)clinux_set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes);
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)interface};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

ssize_t clinux_packet_receive(int fd, void *bytes, size_t capacity) {
    ssize_t result;
    do result = recv(fd, bytes, capacity, MSG_TRUNC);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int64_t clinux_packet_drops(int fd) {
    struct tpacket_stats statistics;
    socklen_t length = sizeof statistics;
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) return -errno;
    return statistics.tp_drops;
}
