// Which listener gets a new TCP connection of a captured pod: the proxy's outbound one for what was routed to loopback, its inbound one
// for what comes from outside, the application for what comes from the pod itself or from the proxy. Without a listener the
// connection is refused.
//
// One instance for each pod, on its network namespace, with maps of its own.
#include "probe.h"

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define LOOPBACK_INTERFACE 1

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, CULVERT_LISTENERS);
    __type(key, __u32);
    __type(value, __u64);
} listeners SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct culvert_address);
    __type(value, __u32);
} own_addresses SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u32);  // 0
    __type(value, struct culvert_policy);
} policy SEC(".maps");

static __always_inline int is_loopback(const struct culvert_address *address) {
    const __u32 *words = (const __u32 *)address->bytes;
    if (words[0] || words[1]) return 0;
    if (words[2] == 0) return words[3] == bpf_htonl(1);
    return words[2] == bpf_htonl(0xffff) && address->bytes[12] == 127;
}

SEC("sk_lookup") int choose_listener(struct bpf_sk_lookup *ctx) {
    if (ctx->protocol != IPPROTO_TCP) return SK_PASS;
    __attribute__((aligned(8))) struct culvert_address local, remote;
    int is_v4 = ctx->family == AF_INET;
    if (is_v4) {
        map_v4(&local, ctx->local_ip4);
        map_v4(&remote, ctx->remote_ip4);
    } else {
        __u32 *words = (__u32 *)local.bytes;
        words[0] = ctx->local_ip6[0], words[1] = ctx->local_ip6[1];
        words[2] = ctx->local_ip6[2], words[3] = ctx->local_ip6[3];
        words = (__u32 *)remote.bytes;
        words[0] = ctx->remote_ip6[0], words[1] = ctx->remote_ip6[1];
        words[2] = ctx->remote_ip6[2], words[3] = ctx->remote_ip6[3];
    }
    // The pod to itself. (The interface would not tell: for an address of its own the kernel names the one that has it.)
    int is_own = bpf_map_lookup_elem(&own_addresses, &local) != 0;
    if (is_loopback(&local) || (is_own && bpf_map_lookup_elem(&own_addresses, &remote))) return SK_PASS;
    // From the proxy, which binds its sockets towards the application to the loopback interface.
    int is_inside = ctx->ingress_ifindex == LOOPBACK_INTERFACE;
    if (is_inside && is_own) return SK_PASS;
    if (!is_inside && ctx->local_port == CULVERT_TUNNEL_PORT) return SK_PASS;
    __u32 zero = 0;
    const struct culvert_policy *own = bpf_map_lookup_elem(&policy, &zero);
    if (!is_inside && own && has_port(own->inbound_ports, own->inbound_count, ctx->local_port)) return SK_PASS;
    if (!is_inside && own && (own->flags & CULVERT_PROBED)) {
        __attribute__((aligned(8))) struct culvert_flow flow = {.source = remote, .destination = local};
        flow.source_port = bpf_ntohs(ctx->remote_port);
        flow.destination_port = ctx->local_port;
        // Only the node can give a packet this source.
        const struct culvert_address *source = &own->probe_sources[is_v4 ? 0 : 1];
        if ((own->flags & CULVERT_PROBED_BY_SOURCE) && is_same(source, &remote)) return SK_PASS;
        if (is_probe(&flow)) {
            count_probe(CULVERT_PROBE_PASSED);
            return SK_PASS;
        }
    }

    __u32 slot = !is_inside ? CULVERT_INBOUND : is_v4 ? CULVERT_OUTBOUND_V4 : CULVERT_OUTBOUND_V6;
    struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &slot);
    if (!listener) return SK_DROP;
    long error = bpf_sk_assign(ctx, listener, 0);
    bpf_sk_release(listener);
    return error ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
