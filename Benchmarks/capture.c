// What the benchmark of the capture needs: something that listens as the proxy does, and something that connects to it. No echo and no
// proxy: what is left is the connection itself, and how it got there.
//
//   capture serve MARK [MAP]           takes connections at 127.0.0.1:15001 and closes them; with MAP, a pinned map of listeners, its
//                                      first one
//   capture connect HOST PORT SECONDS  one connection after the other, each until the other side has closed it; one line of JSON
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "clock.h"

enum { OUTBOUND = 15001 };

// Slot 0 of the map is the proxy's outbound listener of IPv4.
static void put(int listener, const char *path) {
    union bpf_attr open = {.pathname = (uint64_t)(uintptr_t)path};
    int map = (int)syscall(SYS_bpf, BPF_OBJ_GET, &open, sizeof open);
    if (map < 0) die(path);
    uint32_t slot = 0;
    uint64_t socket = (uint64_t)listener;
    union bpf_attr update = {.map_fd = (uint32_t)map, .key = (uint64_t)(uintptr_t)&slot, .value = (uint64_t)(uintptr_t)&socket};
    if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &update, sizeof update) < 0) die("update map");
}

static void serve(unsigned mark, const char *map) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(OUTBOUND), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (mark && setsockopt(listener, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) die("mark");
    if (map && setsockopt(listener, IPPROTO_IP, 19 /* IP_TRANSPARENT */, &one, sizeof one) < 0) die("transparent");
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) die("listen");
    if (map) put(listener, map);
    for (;;) {
        int made = accept4(listener, 0, 0, SOCK_CLOEXEC);
        if (made >= 0) close(made);
    }
}

static void connections(const struct sockaddr_in *target, double seconds) {
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), count = 0, failed = 0;
    for (uint64_t before = start; before < end;) {
        char byte;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0) die("socket");
        int isWell = connect(fd, (const struct sockaddr *)target, sizeof *target) == 0 && recv(fd, &byte, 1, 0) == 0;
        close(fd);
        uint64_t after = now();
        if (isWell) {
            count++;
            sample(after - before);
        } else failed++;
        before = after;
    }
    report(count, failed, (now() - start) / 1e9, used());
}

int main(int count, char **words) {
    if ((count == 3 || count == 4) && !strcmp(words[1], "serve")) serve((unsigned)strtoul(words[2], 0, 0), count == 4 ? words[3] : 0);
    if (count != 5 || strcmp(words[1], "connect")) {
        fputs("capture serve MARK [MAP] | connect HOST PORT SECONDS\n", stderr);
        return 2;
    }
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    if (inet_pton(AF_INET, words[2], &target.sin_addr) != 1) die(words[2]);
    connections(&target, atof(words[4]));
    return 0;
}
