// What the programs here and the agent's Swift code both read and write: the layout of map keys and values, and the numbers in
// them. Everything is in the machine's byte order unless it says otherwise. A change to a layout changes CULVERT_BPF_VERSION.
#ifndef CULVERT_BPF_H
#define CULVERT_BPF_H

#include <linux/types.h>

// The directory of the pins has this in its name, so that no agent takes another layout's maps for its own.
#define CULVERT_BPF_VERSION 2

// HBONE: the one TCP port between enrolled addresses.
#define CULVERT_TUNNEL_PORT 15008

// An address as IPv6 writes it; IPv4 as ::ffff:a.b.c.d.
struct culvert_address {
    __u8 bytes[16];
};

// SO_MARK of the proxy's sockets, of what is led to the loopback interface, and of the kubelet's connections where rules capture; under
// the mask.
#define CULVERT_PROXY_MARK 0x539
#define CULVERT_LOOP_MARK 0x53a
#define CULVERT_PROBE_MARK 0x53b
#define CULVERT_MARK_MASK 0xfff

// Where the proxy takes what a pod sends, on its loopback addresses.
#define CULVERT_OUTBOUND_PORT 15001

#define CULVERT_OWN_ADDRESSES 4

// Cgroups of proxies: during an upgrade there are two, and of those that were killed the kernel may hold some for a while.
#define CULVERT_PROXIES 64

// A pod whose connections are captured.
struct culvert_captured {
    __u64 pod;  // a digest of its UID, by which the entry is found when the namespace is gone
    struct culvert_address own[CULVERT_OWN_ADDRESSES];  // connections to these are the pod's with itself; the rest is zero
};

#define CULVERT_EXCLUDED_PORTS 64
#define CULVERT_EXCLUDED_PREFIXES 32

struct culvert_prefix {
    struct culvert_address first, mask;
    __u32 is_v4;
};

// In the flags of a policy: the kubelet's connections reach the application; and they may be known by their source.
#define CULVERT_PROBED 1
#define CULVERT_PROBED_BY_SOURCE 2

// Of IPv4 and of IPv6.
#define CULVERT_PROBE_SOURCES 2

// A TCP connection as one of its packets has it.
struct culvert_flow {
    struct culvert_address source, destination;
    __u16 source_port, destination_port;
};

// SYNs of the kubelet's to probed pods.
enum culvert_probe_count {
    CULVERT_PROBE_NOTED = 0,   // by the guard
    CULVERT_PROBE_PASSED = 1,  // in the pod, to the application
    CULVERT_PROBE_COUNTS = 2,
};

// What of a pod goes around the proxy and past the guard. One value in every map that has it: whoever replaces it replaces all of it
// in one moment.
struct culvert_policy {
    __u32 flags;
    __u32 inbound_count, outbound_count, prefix_count;
    __u16 inbound_ports[CULVERT_EXCLUDED_PORTS];   // of the pod
    __u16 outbound_ports[CULVERT_EXCLUDED_PORTS];  // of whom it connects to
    struct culvert_prefix outbound_prefixes[CULVERT_EXCLUDED_PREFIXES];
    struct culvert_address probe_sources[CULVERT_PROBE_SOURCES];  // which the node gives to the kubelet alone
};

// The proxy's listeners in a pod, as it puts them into the pod's map.
enum culvert_listener {
    CULVERT_OUTBOUND_V4 = 0,
    CULVERT_OUTBOUND_V6 = 1,
    CULVERT_INBOUND = 2,
    CULVERT_LISTENERS = 3,
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
    CULVERT_FORGED = 4,     // from a pod, with the source that the node gives to the kubelet
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
