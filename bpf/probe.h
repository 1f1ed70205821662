// The kubelet's connections to pods of strict namespaces: the guard, the last one that knows whose socket a packet is from, notes
// each on its way to the pod; a moment later the pod's own programs look for it there, and let it reach the application.
//
// Only what opens a connection is looked for, so that nothing depends on an entry once there is a connection.
#ifndef CULVERT_PROBE_H
#define CULVERT_PROBE_H

#include "policy.h"

#include <linux/bpf.h>

// Between host and pod there is one queue. A SYN that is sent again is noted again.
#define PROBE_LIFETIME 2000000000ull

// Of the whole node, as their names begin.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8192);
    __type(key, struct culvert_flow);
    __type(value, __u64);  // when, in nanoseconds of the monotonic clock
} node_probes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, CULVERT_PROBE_COUNTS);
    __type(key, __u32);
    __type(value, __u64);
} node_probe_counts SEC(".maps");

static __always_inline void count_probe(__u32 what) {
    __u64 *count = bpf_map_lookup_elem(&node_probe_counts, &what);
    if (count) __sync_fetch_and_add(count, 1);
}

__attribute__((unused)) static __noinline int is_probe(const struct culvert_flow *flow) {
    const __u64 *noted = bpf_map_lookup_elem(&node_probes, flow);
    return noted && bpf_ktime_get_ns() - *noted < PROBE_LIFETIME;
}

#endif
