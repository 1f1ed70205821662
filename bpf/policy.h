// What of a pod goes around the proxy and past the guard, as the programs look it up: struct culvert_policy.
#ifndef CULVERT_POLICY_H
#define CULVERT_POLICY_H

#include "culvert.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

__attribute__((unused)) static __always_inline void map_v4(struct culvert_address *address, __be32 v4) {
    __builtin_memset(address->bytes, 0, 10);
    address->bytes[10] = address->bytes[11] = 0xff;
    __builtin_memcpy(address->bytes + 12, &v4, 4);
}

__attribute__((unused)) static __always_inline int is_same(
    const struct culvert_address *one, const struct culvert_address *other) {
    const __u32 *a = (const __u32 *)one->bytes, *b = (const __u32 *)other->bytes;
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

__attribute__((unused)) static __noinline int has_port(const __u16 *ports, __u32 count, __u32 port) {
    for (__u32 i = 0; i < CULVERT_EXCLUDED_PORTS; i++) {
        if (i >= count) return 0;
        if (ports[i] == port) return 1;
    }
    return 0;
}

// `words` is an address as IPv6 writes it.
__attribute__((unused)) static __noinline int has_prefix(const struct culvert_policy *policy, const __u32 *words) {
    __u32 is_v4 = !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
    for (__u32 i = 0; i < CULVERT_EXCLUDED_PREFIXES; i++) {
        if (i >= policy->prefix_count) return 0;
        const struct culvert_prefix *prefix = &policy->outbound_prefixes[i];
        // ::/8, say, holds no IPv4 address, whatever those look like here.
        if (prefix->is_v4 != is_v4) continue;
        const __u32 *first = (const __u32 *)prefix->first.bytes, *mask = (const __u32 *)prefix->mask.bytes;
        if ((words[0] & mask[0]) == first[0] && (words[1] & mask[1]) == first[1] && (words[2] & mask[2]) == first[2] &&
            (words[3] & mask[3]) == first[3])
            return 1;
    }
    return 0;
}

#endif
