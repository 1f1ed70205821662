// The TCP segment in a packet without tags, options and fragments, such as a kernel sends to a pod on the same node.
#ifndef CULVERT_SEGMENT_H
#define CULVERT_SEGMENT_H

#include "policy.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

// The flags of the segment; negative for anything else.
static __noinline int read_segment(struct __sk_buff *skb, struct culvert_flow *flow) {
    __be16 type;
    struct {
        __be16 source, destination;
        __be32 sequence, acknowledgement;
        __u8 data_offset, flags;
    } __attribute__((packed)) tcp;
    __u32 offset = ETH_HLEN;
    if (bpf_skb_load_bytes(skb, 2 * ETH_ALEN, &type, sizeof type) < 0) return -1;
    if (type == bpf_htons(ETH_P_IP)) {
        struct iphdr ip;
        if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) < 0) return -1;
        if (ip.protocol != IPPROTO_TCP || ip.ihl != 5 || (ip.frag_off & bpf_htons(0x3fff))) return -1;
        map_v4(&flow->source, ip.saddr);
        map_v4(&flow->destination, ip.daddr);
        offset += sizeof ip;
    } else if (type == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr ip;
        if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) < 0) return -1;
        if (ip.nexthdr != IPPROTO_TCP) return -1;
        __builtin_memcpy(flow->source.bytes, &ip.saddr, 16);
        __builtin_memcpy(flow->destination.bytes, &ip.daddr, 16);
        offset += sizeof ip;
    } else {
        return -1;
    }
    if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof tcp) < 0) return -1;
    flow->source_port = bpf_ntohs(tcp.source);
    flow->destination_port = bpf_ntohs(tcp.destination);
    return tcp.flags;
}

#endif
