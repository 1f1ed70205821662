#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

int clinux_open(const char *path, int flags, unsigned mode) {
    int fd = open(path, flags | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

int clinux_open_below(int directory, const char *path, int flags) {
    int fd = openat(directory, path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_proc(void) {
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    int result = fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    int proc = result < 0 ? -1 : fsmount(context, FSMOUNT_CLOEXEC, 0);
    result = proc < 0 ? -errno : proc;
    close(context);
    return result;
}

int clinux_duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -errno : copy;
}

void clinux_close(int fd) { close(fd); }

int clinux_setns_cgroup(int fd) { return setns(fd, CLONE_NEWCGROUP) < 0 ? -errno : 0; }

int clinux_setns_network(int fd) { return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0; }

int clinux_unshare_network(void) { return unshare(CLONE_NEWNET) < 0 ? -errno : 0; }

int clinux_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_epoll_add(int epoll, int fd, uint32_t events, void *context) {
    struct epoll_event event = {.events = events | EPOLLET, .data = {.ptr = context}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int clinux_epoll_delete(int epoll, int fd) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int clinux_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds) {
    int count = epoll_wait(epoll, events, capacity, milliseconds);
    return count < 0 ? -errno : count;
}

void *clinux_event_context(const struct epoll_event *event) { return event->data.ptr; }

void clinux_eventfd_signal(int fd) { (void)eventfd_write(fd, 1); }

void clinux_eventfd_drain(int fd) {
    eventfd_t value;
    (void)eventfd_read(fd, &value);
}

int clinux_check_network_namespace(int fd) {
    int type = ioctl(fd, NS_GET_NSTYPE);
    if (type < 0) return -errno;
    return type == CLONE_NEWNET ? 0 : -EINVAL;
}
