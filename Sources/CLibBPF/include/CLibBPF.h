// The few calls of libbpf that the agent needs, as functions that return a result or a negated errno.
//
// The library is opened when the first object is loaded: the proxy and the authority, which load none, never have it in memory, and
// an agent on a machine without it can say what is missing.
#ifndef CULVERT_CLIBBPF_H
#define CULVERT_CLIBBPF_H

#include <stddef.h>
#include <stdint.h>

#include "../../../bpf/culvert.h"

// -ELIBACC when the library or one of its functions is not there. Threads may call it at the same time.
int cbpf_open_library(void);

// Objects

struct cbpf_object;

// Loads every program of an object file in memory. Maps are taken from `pins` (a directory on a BPF file system), under their own
// names, where they are; pinned there where they are not; those whose names begin with "node_" in `node_pins`. `log` gets what libbpf and the verifier have to say, as a C string. The
// result is nil with `*error` negated.
struct cbpf_object *cbpf_load(
    const void *bytes, size_t count, const char *name, const char *pins, const char *node_pins, char *log,
    size_t log_capacity, int *error);
void cbpf_unload(struct cbpf_object *object);
// Descriptors that the object owns; -ENOENT.
int cbpf_program(const struct cbpf_object *object, const char *name);
int cbpf_map(const struct cbpf_object *object, const char *name);

// Links and pins

// 1 when `path` is on a BPF file system, 0 when it is on another; -ENOENT.
int cbpf_is_on_file_system(const char *path);

// A program on an interface of the calling thread's network namespace, before all others: `type` is BPF_TCX_INGRESS (46) or
// BPF_TCX_EGRESS (47). -EINVAL from a kernel without tcx.
int cbpf_attach_interface(int program, unsigned interface, int type);
// A program on a cgroup or a network namespace, `target`: `type` is BPF_CGROUP_INET*_CONNECT or BPF_SK_LOOKUP.
int cbpf_attach(int program, int target, int type);
// At once, whoever else holds the link.
int cbpf_detach(int link);
// In place: no packet passes unseen.
int cbpf_replace_program(int link, int program);
int cbpf_pin(int fd, const char *path);
int cbpf_open_pin(const char *path);

struct cbpf_link_info {
    uint32_t type;
    uint32_t id;
    uint32_t program;
    uint32_t target;       // the interface, or the namespace's inode: 0 when it is gone; of a cgroup half of its id
    uint32_t attach_type;  // of an interface's link
};
int cbpf_describe_link(int link, struct cbpf_link_info *info);
// The kernel's number of a program, as links name it; and its name, of 16 bytes at most.
int cbpf_describe_program(int program, uint32_t *id, char name[16]);
int cbpf_open_program(uint32_t id);

// Filters of the traffic control, where the kernel has no tcx. `egress` is towards the pod.

struct cbpf_filter {
    unsigned interface;
    int egress;
    uint32_t handle, priority;
    uint32_t program;  // as the kernel numbers it; what cbpf_filter_query found
};
// 1 when the queueing discipline that holds filters was made, 0 when it was there.
int cbpf_make_hook(unsigned interface);
// With every filter in it.
int cbpf_remove_hook(unsigned interface);
int cbpf_filter_attach(const struct cbpf_filter *filter, int program);
int cbpf_filter_detach(const struct cbpf_filter *filter);
int cbpf_filter_query(struct cbpf_filter *filter);

// Maps

int cbpf_map_update(int map, const void *key, const void *value);
int cbpf_map_lookup(int map, const void *key, void *value);
int cbpf_map_delete(int map, const void *key);
// -ENOENT behind the last one; `key` may be null for the first.
int cbpf_map_next_key(int map, const void *key, void *next);

// Ring buffers

struct cbpf_ring;
struct cbpf_ring *cbpf_ring_open(int map, void *context, int (*body)(void *context, void *bytes, size_t count), int *error);
void cbpf_ring_close(struct cbpf_ring *ring);
// Hands over all that waits.
int cbpf_ring_consume(struct cbpf_ring *ring);

#endif
