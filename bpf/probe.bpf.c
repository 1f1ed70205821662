// The kubelet's connections to a pod of a strict namespace that is captured by rules: what the guard has noted on the host's end of
// the veth gets a mark on the pod's end, and the rules let the mark through. (A mark does not cross from one namespace to another.)
//
// The application's socket takes the mark of the SYN over, and so do its answers.
#include "probe.h"
#include "segment.h"

SEC("tc") int mark_probe(struct __sk_buff *skb) {
    struct culvert_flow flow __attribute__((aligned(8))) = {};
    int flags = read_segment(skb, &flow);
    if (flags < 0 || !is_probe(&flow)) return -1;
    skb->mark = (skb->mark & ~CULVERT_MARK_MASK) | CULVERT_PROBE_MARK;
    if ((flags & 0x12) == 0x02) count_probe(CULVERT_PROBE_PASSED);
    // The next program decides.
    return -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
