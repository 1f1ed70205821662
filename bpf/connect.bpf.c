// Outbound capture: TCP sockets of captured pods get a mark when they connect. A rule in the pod's namespace routes that mark to the
// loopback interface, where the lookup program (lookup.bpf.c) hands the connection to the proxy. The address is not touched: both the
// application and the proxy see the true one.
//
// Attached once, to the root of the cgroups: the network namespace tells which pod it is.
#include "policy.h"

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Not in the C library's headers that this target can use.
#define SOL_SOCKET 1
#define SO_MARK 36
#define SO_BINDTOIFINDEX 62
#define SOCK_STREAM 1
#define ECONNREFUSED 111

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u64);  // the cookie of the pod's network namespace
    __type(value, struct culvert_captured);
} captured SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u64);  // as above
    __type(value, struct culvert_policy);
} captured_policies SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, CULVERT_PROXIES);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u64);  // the identifier of a cgroup, whose processes are not captured
    __type(value, __u32);
} proxies SEC(".maps");

static __always_inline int is_proxy(void) {
    __u64 cgroup = bpf_get_current_cgroup_id();
    return bpf_map_lookup_elem(&proxies, &cgroup) != 0;
}

static __always_inline int is_loopback(const __u32 *words) {
    if (words[0] || words[1]) return 0;
    if (words[2] == 0) return words[3] == 0 || words[3] == bpf_htonl(1);
    if (words[2] != bpf_htonl(0xffff)) return 0;
    return words[3] == 0 || (words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline int is_own(const struct culvert_captured *pod, const __u32 *words) {
    for (int i = 0; i < CULVERT_OWN_ADDRESSES; i++) {
        const __u32 *own = (const __u32 *)pod->own[i].bytes;
        if (own[0] == words[0] && own[1] == words[1] && own[2] == words[2] && own[3] == words[3]) return 1;
    }
    return 0;
}

// Nothing answers in the name of a foreign address unless the proxy listens: the application would wait for its timeout.
static __always_inline int has_proxy(struct bpf_sock_addr *ctx, int is_v4) {
    struct bpf_sock_tuple tuple = {};
    struct bpf_sock *listener;
    if (is_v4) {
        tuple.ipv4.saddr = tuple.ipv4.daddr = bpf_htonl(0x7f000001);
        tuple.ipv4.dport = bpf_htons(CULVERT_OUTBOUND_PORT);
        listener = bpf_sk_lookup_tcp(ctx, &tuple, sizeof tuple.ipv4, BPF_F_CURRENT_NETNS, 0);
    } else {
        tuple.ipv6.saddr[3] = tuple.ipv6.daddr[3] = bpf_htonl(1);
        tuple.ipv6.dport = bpf_htons(CULVERT_OUTBOUND_PORT);
        listener = bpf_sk_lookup_tcp(ctx, &tuple, sizeof tuple.ipv6, BPF_F_CURRENT_NETNS, 0);
    }
    if (!listener) return 0;
    bpf_sk_release(listener);
    return 1;
}

// 0 refuses, with EPERM unless it says otherwise; 1 goes on. `words` is the destination.
static __always_inline int capture(struct bpf_sock_addr *ctx, const __u32 *words) {
    if (ctx->type != SOCK_STREAM) return 1;
    __u64 cookie = bpf_get_netns_cookie(ctx);
    struct culvert_captured *pod = bpf_map_lookup_elem(&captured, &cookie);
    if (!pod || is_loopback(words) || is_own(pod, words)) return 1;
    if (is_proxy()) return 1;
    const struct culvert_policy *policy = bpf_map_lookup_elem(&captured_policies, &cookie);
    if (policy && has_port(policy->outbound_ports, policy->outbound_count, bpf_ntohs(ctx->user_port))) return 1;
    if (policy && has_prefix(policy, words)) return 1;
    // Anybody with CAP_NET_RAW can claim to be the proxy; and a proxy outside its cgroup would be led to itself for ever.
    struct bpf_sock *sk = ctx->sk;
    if (!sk || (sk->mark & CULVERT_MARK_MASK) == CULVERT_PROXY_MARK) return 0;
    if (!has_proxy(ctx, words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff))) {
        bpf_set_retval(-ECONNREFUSED);
        return 0;
    }
    // What is bound to another interface would not find the loopback's route.
    int none = 0;
    if (sk->bound_dev_if > 1 && bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTOIFINDEX, &none, sizeof none)) return 0;
    int mark = CULVERT_LOOP_MARK;
    return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
}

SEC("cgroup/connect4") int capture_connect4(struct bpf_sock_addr *ctx) {
    __u32 words[4] = {0, 0, bpf_htonl(0xffff), ctx->user_ip4};
    return capture(ctx, words);
}

// IPv4-mapped destinations come here, too.
SEC("cgroup/connect6") int capture_connect6(struct bpf_sock_addr *ctx) {
    __u32 words[4];
    words[0] = ctx->user_ip6[0];
    words[1] = ctx->user_ip6[1];
    words[2] = ctx->user_ip6[2];
    words[3] = ctx->user_ip6[3];
    return capture(ctx, words);
}

char _license[] SEC("license") = "Dual BSD/GPL";
