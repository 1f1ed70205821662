// What the programs here and the agent's Swift code both read and write: the layout of map keys and values, and the numbers in
// them. Everything is in the machine's byte order unless it says otherwise. A change to a layout changes CULVERT_BPF_VERSION.
#ifndef CULVERT_BPF_H
#define CULVERT_BPF_H

#include <linux/types.h>

// The directory of the pins has this in its name, so that no agent takes another layout's maps for its own.
#define CULVERT_BPF_VERSION 1

// HBONE: the one TCP port between enrolled addresses.
#define CULVERT_TUNNEL_PORT 15008

// An address as IPv6 writes it; IPv4 as ::ffff:a.b.c.d.
struct culvert_address {
    __u8 bytes[16];
};

// Why an address counts as enrolled; the entry goes when neither is left.
struct culvert_enrolled {
    __u32 is_published;  // by the cluster
    __u32 interface;     // of the pod on this node that has it; 0 without
};

enum culvert_guard_reason {
    CULVERT_PLAINTEXT = 0,  // TCP that is not the tunnel
    CULVERT_FRAGMENT = 1,   // ports are in the first fragment only
    CULVERT_OPTIONS = 2,    // IPv4 options or IPv6 extension headers before TCP
    CULVERT_MALFORMED = 3,  // headers that end too soon, or lie about their length
};

enum culvert_direction {
    CULVERT_FROM_POD = 0,
    CULVERT_TO_POD = 1,
};

struct culvert_guard_key {
    __u32 interface;  // the host's end of the pod's veth
    __u16 direction;
    __u16 reason;
};

struct culvert_guard_count {
    __u64 packets;
    __u64 bytes;
    __u64 sampled_at;  // nanoseconds of the monotonic clock: the last event of this key
};

// At most one a second of each key.
struct culvert_guard_event {
    struct culvert_guard_key key;
    __u32 is_dropped;  // 0 in audit mode
    __u16 source_port, destination_port;  // 0 where the packet does not tell
    struct culvert_address source, destination;
};

#endif
