// The guard: on the host's end of an enrolled pod's veth, TCP between enrolled addresses passes only to or from the tunnel's port, or
// where the pod's policy excludes it.
//
// A packet from the pod is judged by its destination alone: whatever source it claims, it comes from an enrolled pod. One towards
// the pod is judged by its source. What cannot be read is dropped, if it could be TCP between two enrolled pods.
#include "probe.h"
#include "segment.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SAMPLE_INTERVAL 1000000000ull
#define TAGS_MAX 2
#define EXTENSIONS_MAX 6

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 262144);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct culvert_address);
    __type(value, struct culvert_enrolled);
} enrolled SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u32);  // the host's end of the pod's veth
    __type(value, struct culvert_policy);
} guard_policies SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);  // the identifier of the kubelet's cgroup; 0 without
} guard_kubelet SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, CULVERT_PROBE_SOURCES);
    __type(key, __u32);
    __type(value, struct culvert_address);  // what the node gives to the kubelet's connections; zero for nothing
} guard_sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct culvert_guard_key);
    __type(value, struct culvert_guard_count);
} guard_counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} guard_events SEC(".maps");

// As far as the packet could be read.
struct packet {
    struct culvert_address source, destination;
    __u16 source_port, destination_port;
};

static __always_inline void report(
    struct __sk_buff *skb, __u16 direction, __u16 reason, int is_audit, const struct packet *packet) {
    struct culvert_guard_key key = {.interface = skb->ifindex, .direction = direction, .reason = reason};
    struct culvert_guard_count *count = bpf_map_lookup_elem(&guard_counts, &key);
    if (!count) {
        struct culvert_guard_count none = {};
        bpf_map_update_elem(&guard_counts, &key, &none, BPF_NOEXIST);
        count = bpf_map_lookup_elem(&guard_counts, &key);
        // Full: dropped all the same, only not counted.
        if (!count) return;
    }
    __sync_fetch_and_add(&count->packets, 1);
    __sync_fetch_and_add(&count->bytes, skb->len);
    __u64 now = bpf_ktime_get_ns();
    if (count->sampled_at && now - count->sampled_at < SAMPLE_INTERVAL) return;
    count->sampled_at = now;
    struct culvert_guard_event *event = bpf_ringbuf_reserve(&guard_events, sizeof *event, 0);
    if (!event) return;
    event->key = key;
    event->is_dropped = !is_audit;
    event->source_port = packet->source_port;
    event->destination_port = packet->destination_port;
    event->source = packet->source;
    event->destination = packet->destination;
    bpf_ringbuf_submit(event, 0);
}

// Whether the pod's policy excludes the connection that a segment is of. Who opens it decides which way that is.
static __noinline int is_excluded(
    const struct culvert_policy *policy, const struct packet *packet, __u32 from_pod, __u32 opens) {
    __u16 near = from_pod ? packet->source_port : packet->destination_port;
    __u16 far = from_pod ? packet->destination_port : packet->source_port;
    if (!(from_pod && opens) && has_port(policy->inbound_ports, policy->inbound_count, near)) return 1;
    if (!from_pod && opens) return 0;
    if (has_port(policy->outbound_ports, policy->outbound_count, far)) return 1;
    const struct culvert_address *address = from_pod ? &packet->destination : &packet->source;
    return has_prefix(policy, (const __u32 *)address->bytes);
}

// Whether a pod claims to be the kubelet, whose source strict pods let in.
static __always_inline int is_forged(__u16 direction, __u32 family, const struct culvert_address *source) {
    if (direction != CULVERT_FROM_POD) return 0;
    const struct culvert_address *given = bpf_map_lookup_elem(&guard_sources, &family);
    if (!given || !is_same(given, source)) return 0;
    // The unspecified address is a source, too: of who looks for an address of its own.
    const __u32 *words = (const __u32 *)given->bytes;
    return words[0] || words[1] || words[2] || words[3];
}

// The reason to drop a TCP segment that begins at `offset`; negative for none.
static __always_inline int judge_segment(
    struct __sk_buff *skb, __u32 offset, __u16 direction, struct packet *packet) {
    struct {
        __be16 source, destination;
        __be32 sequence, acknowledgement;
        __u8 data_offset, flags;
    } __attribute__((packed)) tcp;
    if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof tcp) < 0) return CULVERT_MALFORMED;
    packet->source_port = bpf_ntohs(tcp.source);
    packet->destination_port = bpf_ntohs(tcp.destination);
    if (packet->destination_port == CULVERT_TUNNEL_PORT) return -1;
    // Whoever opens a connection is to open it to the tunnel's port: one from there to elsewhere is an application's.
    int opens = (tcp.flags & 0x12) == 0x02;
    if (packet->source_port == CULVERT_TUNNEL_PORT && !opens) return -1;
    __u32 interface = skb->ifindex;
    const struct culvert_policy *policy = bpf_map_lookup_elem(&guard_policies, &interface);
    if (policy && is_excluded(policy, packet, direction == CULVERT_FROM_POD, opens)) return -1;
    return CULVERT_PLAINTEXT;
}

static __always_inline int judge_v4(struct __sk_buff *skb, __u32 offset, __u16 direction, struct packet *packet) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) < 0) return CULVERT_MALFORMED;
    map_v4(&packet->source, ip.saddr);
    map_v4(&packet->destination, ip.daddr);
    if (is_forged(direction, 0, &packet->source)) return CULVERT_FORGED;
    if (ip.protocol != IPPROTO_TCP) return -1;
    if (!bpf_map_lookup_elem(&enrolled, direction == CULVERT_FROM_POD ? &packet->destination : &packet->source)) return -1;
    if (ip.version != 4 || ip.ihl < 5) return CULVERT_MALFORMED;
    // Don't-fragment may be set; more-fragments and an offset may not.
    if (ip.frag_off & bpf_htons(0x3fff)) return CULVERT_FRAGMENT;
    // A source route among them would lead the packet elsewhere than its destination says.
    if (ip.ihl > 5) return CULVERT_OPTIONS;
    return judge_segment(skb, offset + sizeof ip, direction, packet);
}

static __always_inline int judge_v6(struct __sk_buff *skb, __u32 offset, __u16 direction, struct packet *packet) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) < 0) return CULVERT_MALFORMED;
    __builtin_memcpy(packet->source.bytes, &ip.saddr, 16);
    __builtin_memcpy(packet->destination.bytes, &ip.daddr, 16);
    if (is_forged(direction, 1, &packet->source)) return CULVERT_FORGED;
    if (ip.nexthdr == IPPROTO_UDP || ip.nexthdr == IPPROTO_ICMPV6) return -1;
    if (!bpf_map_lookup_elem(&enrolled, direction == CULVERT_FROM_POD ? &packet->destination : &packet->source)) return -1;
    if (ip.version != 6) return CULVERT_MALFORMED;
    if (ip.nexthdr == IPPROTO_TCP) return judge_segment(skb, offset + sizeof ip, direction, packet);

    // UDP and others pass behind extension headers; TCP does not.
    __u8 next = ip.nexthdr;
    offset += sizeof ip;
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        __u8 header[2];
        switch (next) {
        case IPPROTO_TCP: return CULVERT_OPTIONS;
        case IPPROTO_FRAGMENT:
            if (bpf_skb_load_bytes(skb, offset, header, sizeof header) < 0) return CULVERT_MALFORMED;
            // Only the first fragment tells what is behind further headers.
            return header[0] == IPPROTO_UDP || header[0] == IPPROTO_ICMPV6 ? -1 : CULVERT_FRAGMENT;
        case IPPROTO_HOPOPTS:
        case IPPROTO_ROUTING:
        case IPPROTO_DSTOPTS:
        case 135:  // mobility
        case 139:  // host identity
        case 140:  // shim6
            if (bpf_skb_load_bytes(skb, offset, header, sizeof header) < 0) return CULVERT_MALFORMED;
            offset += (header[1] + 1) * 8;
            break;
        case IPPROTO_AH:
            if (bpf_skb_load_bytes(skb, offset, header, sizeof header) < 0) return CULVERT_MALFORMED;
            offset += (header[1] + 2) * 4;
            break;
        default: return -1;
        }
        next = header[0];
    }
    return CULVERT_OPTIONS;
}

static __always_inline int judge(struct __sk_buff *skb, __u16 direction, struct packet *packet) {
    __be16 type;
    __u32 offset = 2 * ETH_ALEN;
    for (int tags = 0; tags <= TAGS_MAX; tags++) {
        if (bpf_skb_load_bytes(skb, offset, &type, sizeof type) < 0) return -1;
        switch (type) {
        case bpf_htons(ETH_P_IP): return judge_v4(skb, offset + 2, direction, packet);
        case bpf_htons(ETH_P_IPV6): return judge_v6(skb, offset + 2, direction, packet);
        case bpf_htons(ETH_P_8021Q):
        case bpf_htons(ETH_P_8021AD): offset += 4; break;
        default: return -1;
        }
    }
    return CULVERT_MALFORMED;
}

// Notes the kubelet's connection on its way to a pod that lets it through. What was forwarded here, whatever source it claims or was
// given, has no socket on this node.
static __always_inline void note_probe(struct __sk_buff *skb) {
    __u32 interface = skb->ifindex, zero = 0;
    const struct culvert_policy *policy = bpf_map_lookup_elem(&guard_policies, &interface);
    if (!policy || !(policy->flags & CULVERT_PROBED)) return;
    const __u64 *kubelet = bpf_map_lookup_elem(&guard_kubelet, &zero);
    if (!kubelet || !*kubelet || bpf_skb_cgroup_id(skb) != *kubelet) return;
    struct culvert_flow flow __attribute__((aligned(8))) = {};
    int flags = read_segment(skb, &flow);
    if (flags < 0 || (flags & 0x12) != 0x02) return;
    __u64 now = bpf_ktime_get_ns();
    if (bpf_map_update_elem(&node_probes, &flow, &now, BPF_ANY) == 0) count_probe(CULVERT_PROBE_NOTED);
}

static __noinline int guard(struct __sk_buff *skb, __u16 direction, int is_audit) {
    if (direction == CULVERT_TO_POD) note_probe(skb);
    struct packet packet __attribute__((aligned(8))) = {};
    int reason = judge(skb, direction, &packet);
    // The next program decides: ours only ever refuses.
    if (reason < 0) return TC_ACT_UNSPEC;
    report(skb, direction, reason, is_audit, &packet);
    return is_audit ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc") int guard_from_pod(struct __sk_buff *skb) { return guard(skb, CULVERT_FROM_POD, 0); }
SEC("tc") int guard_to_pod(struct __sk_buff *skb) { return guard(skb, CULVERT_TO_POD, 0); }
// Count only, until the operator trusts the mesh to carry everything.
SEC("tc") int audit_from_pod(struct __sk_buff *skb) { return guard(skb, CULVERT_FROM_POD, 1); }
SEC("tc") int audit_to_pod(struct __sk_buff *skb) { return guard(skb, CULVERT_TO_POD, 1); }

char _license[] SEC("license") = "Dual BSD/GPL";
