// The kernel calls that Swift's Glibc module cannot see (it is built without _GNU_SOURCE), as functions that return
// a result or a negated errno: errno itself may be overwritten before Swift gets to read it. Only the .c files define
// _GNU_SOURCE: a header that does would disagree with the Glibc module about the types they share.
#ifndef CULVERT_CLINUX_H
#define CULVERT_CLINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

// Descriptors

int clinux_open(const char *path, int flags, unsigned mode);
int clinux_open_below(int directory, const char *path, int flags);
// The root of a proc file system of this process's own, mounted nowhere; or -errno (Linux 5.2, CAP_SYS_ADMIN).
int clinux_proc(void);
int clinux_duplicate(int fd);

// Retried by nobody: on Linux the descriptor is gone even after EINTR.
void clinux_close(int fd);

// Namespaces

int clinux_setns_network(int fd);
int clinux_setns_cgroup(int fd);
int clinux_unshare_network(void);

// NS_GET_NSTYPE: 0 when `fd` is a network namespace, -EINVAL when it is anything else.
int clinux_check_network_namespace(int fd);

// Event loop

int clinux_epoll_create(void);
int clinux_eventfd(void);
int clinux_epoll_add(int epoll, int fd, uint32_t events, void *context);
int clinux_epoll_delete(int epoll, int fd);
int clinux_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds);
void *clinux_event_context(const struct epoll_event *event);
void clinux_eventfd_signal(int fd);
void clinux_eventfd_drain(int fd);

// Sockets

// Always non-blocking and close-on-exec.
int clinux_socket(int domain, int type, int protocol);
int clinux_accept(int listener);
int clinux_set_option(int fd, int level, int name, int value);

// The value, which is never negative for the options asked here, or a negated errno.
int clinux_option(int fd, int level, int name);
int clinux_listen(int fd, int backlog);
int clinux_shutdown_write(int fd);
ssize_t clinux_receive(int fd, void *bytes, size_t count);
ssize_t clinux_send(int fd, const void *bytes, size_t count);
// Vectored, in the order of the `struct iovec`s, which the Glibc module is to own.
ssize_t clinux_receive_pieces(int fd, void *pieces, size_t count);
ssize_t clinux_send_pieces(int fd, void *pieces, size_t count);

// SO_LINGER of zero seconds: close() sends RST and leaves nothing behind.
int clinux_abort_on_close(int fd);

// An IP endpoint in the form Swift builds easily.
struct clinux_endpoint {
    bool v6;
    uint8_t address[16];  // network byte order; IPv4 uses the first 4 bytes
    uint16_t port;        // host byte order
};
int clinux_bind(int fd, const struct clinux_endpoint *endpoint);
int clinux_connect(int fd, const struct clinux_endpoint *endpoint);
int clinux_local_endpoint(int fd, struct clinux_endpoint *endpoint);
int clinux_peer_endpoint(int fd, struct clinux_endpoint *endpoint);
// SO_ORIGINAL_DST of conntrack, IPv4 first.
int clinux_original_destination(int fd, struct clinux_endpoint *endpoint);
int clinux_keep_alive(int fd, int idle, int interval, int count);
// IP_TRANSPARENT and IP_FREEBIND, with their IPv6 counterparts on an IPv6 socket.
int clinux_transparent(int fd, bool v6);
int clinux_free_bind(int fd, bool v6);
// The port is chosen by connect(), when the whole 4-tuple is known, and so is not taken from other destinations.
int clinux_bind_address_no_port(int fd);

// SIOCGSKNS: a descriptor of the network namespace that the socket belongs to. Needs CAP_NET_ADMIN there.
int clinux_socket_network(int fd);

// Puts a socket into a map of sockets that is pinned at `map_path`; -ENOENT when there is none.
int clinux_put_socket(const char *map_path, uint32_t slot, int fd);

// Memory

// Unmaps the read-only parts of the program and its libraries: they stay in the page cache, and what is run next is mapped
// again. Parts that relocation has written to are left alone.
void clinux_release_program_text(void);

// Blocks from 256 KiB on go back to the system when they are freed. By itself the C library learns from the first such block that
// they are to be kept.
void clinux_keep_no_large_blocks(void);

// Threads

// Those that the calling thread's affinity allows: at least one.
int clinux_usable_cores(void);
// The first 15 bytes count; shown by ps and debuggers.
void clinux_name_thread(const char *name);

// Packets between processes (unix(7), SOCK_SEQPACKET)

// Makes the socket's file with `mode`, at no moment with more. -ENAMETOOLONG beyond 107 bytes.
int clinux_unix_bind(int fd, const char *path, unsigned mode);
int clinux_unix_connect(int fd, const char *path);
// One packet, with `descriptor` unless it is negative.
ssize_t clinux_send_packet(int fd, const void *bytes, size_t count, int descriptor);
// One packet; `*descriptor` is the one that came with it, or -1. 0 is the end. -EMSGSIZE for a packet longer than
// `capacity` and -EPROTO for one with more than one descriptor: what came with those is closed.
ssize_t clinux_receive_packet(int fd, void *bytes, size_t capacity, int *descriptor);

struct clinux_credentials {
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
};
int clinux_peer_credentials(int fd, struct clinux_credentials *credentials);

// Waits until `fd` has one of `events` (poll(2)) or `wake` is readable: 0 at the timeout, else a bit set of 1 for `fd` and
// 2 for `wake`. A negative timeout waits for ever.
int clinux_poll(int fd, short events, int wake, int milliseconds);

// Netlink (netlink(7)), in host byte order

// A raw netlink socket with extended acknowledgements off: an acknowledgement is a header and a code.
int clinux_netlink_socket(int family);
// One datagram; -EMSGSIZE when it is longer than `capacity`, -EPERM when it is not from the kernel.
ssize_t clinux_netlink_receive(int fd, void *bytes, size_t capacity);
// 0 for an unknown name, as no interface has that index.
uint32_t clinux_interface_index(const char *name);

// Packets of one interface, both directions (packet(7))

// A socket that has seen nothing but packets of this interface, with up to `buffer_bytes` of them waiting.
int clinux_packet_socket(uint32_t interface, int buffer_bytes);
// The first `capacity` bytes of one frame; the result is the frame's whole length.
ssize_t clinux_packet_receive(int fd, void *bytes, size_t capacity);
// Packets that found no room since the last call.
int64_t clinux_packet_drops(int fd);

// Child processes

// An anonymous file in memory.
int clinux_memory_file(const char *name);
// Starts `path` in the calling thread's namespaces with these descriptors as 0, 1 and 2 and no others, no signal blocked
// or ignored, and only PATH and LC_ALL=C in its environment. `*pid` is the child's.
int clinux_spawn(const char *path, char *const arguments[], int input, int output, int errors, pid_t *pid);
// The exit status, or 128 and the signal that ended it; after `milliseconds` it is killed, and the result -ETIMEDOUT.
int clinux_await_child(pid_t pid, int milliseconds);

#endif
