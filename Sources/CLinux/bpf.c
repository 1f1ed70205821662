#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attributes) {
    long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return result < 0 ? -errno : (int)result;
}

int clinux_put_socket(const char *map_path, uint32_t slot, int fd) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.pathname = (uintptr_t)map_path;
    int map = bpf(BPF_OBJ_GET, &attributes);
    if (map < 0) return map;
    uint64_t value = (uint64_t)fd;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = (uintptr_t)&slot;
    attributes.value = (uintptr_t)&value;
    attributes.flags = BPF_ANY;
    int result = bpf(BPF_MAP_UPDATE_ELEM, &attributes);
    close(map);
    return result;
}
