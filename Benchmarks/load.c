// The benchmark's own clients and server: ping-pong, connect + echo + close, idle connections. One thread, no allocation per
// operation; every mode prints one line of JSON.
//
//   load serve PORT                              echoes
//   load pingpong HOST PORT SECONDS BYTES        one connection, one message at a time
//   load connect HOST PORT SECONDS CLIENTS       connections of one echo each, CLIENTS at a time
//   load idle HOST PORT COUNT                    opens COUNT, echoes once on each, holds them until standard input ends
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"

enum { BUFFER = 65536, MESSAGE = 64, EVENTS = 512 };

static struct sockaddr_in target;

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int dial(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    if (fd < 0) die("socket");
    no_delay(fd);
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) die("connect");
    return fd;
}

static void serve(int port) {
    static char buffer[BUFFER];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, epoll = epoll_create1(0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                for (int made; (made = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
                    no_delay(made);
                    event = (struct epoll_event){.events = EPOLLIN, .data.fd = made};
                    epoll_ctl(epoll, EPOLL_CTL_ADD, made, &event);
                }
                continue;
            }
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got > 0 && send(fd, buffer, (size_t)got, MSG_NOSIGNAL) == got) continue;
            if (got < 0 && errno == EAGAIN) continue;
            close(fd);
        }
    }
}

static void receive_all(int fd, char *buffer, size_t count) {
    for (size_t have = 0; have < count;) {
        ssize_t got = recv(fd, buffer + have, count - have, 0);
        if (got <= 0) die("receive");
        have += (size_t)got;
    }
}

static void pingpong(double seconds, size_t bytes) {
    static char buffer[BUFFER];
    int fd = dial(0);
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), count = 0, before = start;
    while (before < end) {
        if (send(fd, buffer, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) die("send");
        receive_all(fd, buffer, bytes);
        uint64_t after = now();
        // The first half second warms up.
        if (before - start > 500000000u) sample(after - before);
        before = after;
        count++;
    }
    report(count, 0, (now() - start) / 1e9, used());
}

struct client {
    int fd;
    uint64_t began;
    size_t have;
    int sent;
};

static void begin(struct client *client, int epoll) {
    client->began = now();
    client->have = 0;
    client->sent = 0;
    client->fd = dial(SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0) die("epoll_ctl");
}

static void connections(double seconds, int clients) {
    static char buffer[MESSAGE];
    struct client *all = calloc((size_t)clients, sizeof *all);
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), count = 0, failed = 0;
    for (int i = 0; i < clients; i++) begin(&all[i], epoll);
    while (now() < end) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            int over = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
            if (!over && !client->sent && events[i].events & EPOLLOUT) {
                client->sent = 1;
                over = send(client->fd, buffer, sizeof buffer, MSG_NOSIGNAL) != sizeof buffer;
            }
            if (!over && client->sent) {
                ssize_t got = recv(client->fd, buffer, sizeof buffer - client->have, 0);
                if (got > 0) client->have += (size_t)got;
                else if (got == 0 || errno != EAGAIN) over = 1;
            }
            if (!over && client->have < MESSAGE) continue;
            if (over) failed++;
            else {
                count++;
                sample(now() - client->began);
            }
            close(client->fd);
            begin(client, epoll);
        }
    }
    report(count, failed, (now() - start) / 1e9, used());
}

static void idle(int wanted) {
    char buffer[MESSAGE] = {0};
    uint64_t start = now();
    for (int i = 0; i < wanted; i++) {
        int fd = dial(0);
        if (send(fd, buffer, sizeof buffer, MSG_NOSIGNAL) != sizeof buffer) die("send");
        receive_all(fd, buffer, sizeof buffer);
    }
    report((uint64_t)wanted, 0, (now() - start) / 1e9, used());
    while (read(0, buffer, sizeof buffer) > 0) {}
}

int main(int count, char **words) {
    struct rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (count == 3 && !strcmp(words[1], "serve")) serve(atoi(words[2]));
    if (count < 5) {
        fputs("load serve PORT | pingpong HOST PORT SECONDS BYTES | connect HOST PORT SECONDS CLIENTS | idle HOST PORT COUNT\n",
              stderr);
        return 2;
    }
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    if (inet_pton(AF_INET, words[2], &target.sin_addr) != 1) die(words[2]);
    if (!strcmp(words[1], "pingpong") && count == 6) pingpong(atof(words[4]), (size_t)atoi(words[5]));
    else if (!strcmp(words[1], "connect") && count == 6) connections(atof(words[4]), atoi(words[5]));
    else if (!strcmp(words[1], "idle")) idle(atoi(words[4]));
    else return 2;
    return 0;
}
