import IPAddressing

extension IPPrefix {
    fileprivate func holds(_ other: IPPrefix) -> Bool { length <= other.length && contains(other.address) }
}

/// The netfilter rules of an enrolled pod, as nft(8) reads them; one transaction that replaces what was there.
///
/// Three or four chains, each with one duty:
/// - `claims` refuses whoever has the proxy's mark and is not in its cgroup, where that can be told.
/// - `outbound` leads new TCP connections of the pod to the proxy.
/// - `inbound` leads new TCP connections from outside to the proxy, and refuses them when it does not listen.
/// - `guard` lets no TCP out of the pod but the proxy's, whatever happens to the other two and to the proxy.
///
/// Only SYNs are looked at by the first two, so a connection is led somewhere whole or not at all. UDP, and so DNS, is never touched.
public enum NFTRuleset {
    public static let table = "culvert"
    static let refusedCounter = "inbound_refused"
    static let droppedCounter = "guard_dropped"
    static let claimsCounter = "claims_refused"

    public static func render(_ plan: RedirectionPlan) -> String {
        """
        \(removal)
        table inet \(table) {
            counter \(refusedCounter) { }
            counter \(droppedCounter) { }
        \(plan.proxyCgroup.map(claims) ?? "")    chain outbound {
                type nat hook output priority -100; policy accept;
        \(lines(outbound(plan)))
            }
            chain inbound {
                type filter hook prerouting priority -150; policy accept;
        \(lines(inbound(plan)))
            }
            chain guard {
                type filter hook postrouting priority 0; policy accept;
        \(lines(guardRules(plan)))
            }
        }

        """
    }

    /// Succeeds whether the table is there or not.
    static let removal = """
        add table inet \(table)
        delete table inet \(table)
        """

    /// Leads and holds back nothing new. Connections that were led somewhere are translated as long as there is a chain of this type,
    /// and tracked as long as a rule asks for it.
    static let released = """
        \(removal)
        table inet \(table) {
            chain outbound {
                type nat hook output priority -100; policy accept;
                ct state established accept
            }
        }

        """

    /// After connection tracking, before `outbound`. The other two may then go by the mark.
    private static func claims(_ cgroup: NFTCgroup) -> String {
        let rules = [
            "meta l4proto != tcp return",
            "\(mark) != \(hexadecimal(RedirectionPlan.proxyMark)) return",
            "\(cgroup.match("\"\(cgroup.path)\"")) return",
            // The kernel's own answers in the proxy's name have no socket that is in a cgroup: to a SYN, after the end, to a stranger.
            "ct state established return",
            "tcp flags & (fin | syn | rst) == rst return",
            "counter name \(claimsCounter)",
            "meta l4proto tcp reject with tcp reset",
            "drop",
        ]
        return """
                counter \(claimsCounter) { }
                chain claims {
                    type filter hook output priority -150; policy accept;
            \(lines(rules))
                }

            """
    }

    private static let notNew = "tcp flags & (fin | syn | rst | ack) != syn return"

    private static func outbound(_ plan: RedirectionPlan) -> [String] {
        [
            "meta l4proto != tcp return",
            notNew,
            "\(mark) == { \(hexadecimal(RedirectionPlan.proxyMark)), \(hexadecimal(RedirectionPlan.loopMark)) } return",
            "oifname \"lo\" return",
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
        ] + outboundExclusions(plan.exclusions) + [
            "meta l4proto tcp redirect to :\(plan.outboundPort)"
        ]
    }

    private static func inbound(_ plan: RedirectionPlan) -> [String] {
        [
            "iifname \"lo\" return",
            "meta l4proto != tcp return",
            notNew,
            "tcp dport \(plan.tunnelPort) return",
        ] + exclusion("tcp dport", plan.exclusions.inboundPorts.sorted())
            + probes(plan, "saddr") { $0 } + [
                // Without a transparent listener the statement falls through, and the next rule would be the application:
                // hence the refusal.
                "meta l4proto tcp tproxy to :\(plan.inboundPort) accept",
                "counter name \(refusedCounter)",
                "meta l4proto tcp reject with tcp reset",
                "drop",
            ]
    }

    /// In postrouting, where the interface is the final one: in output it is still that from before the redirection.
    /// Forwarded packets, of namespaces nested in the pod, pass here too.
    private static func guardRules(_ plan: RedirectionPlan) -> [String] {
        [
            "meta l4proto != tcp return",
            "oifname \"lo\" return",
            "\(mark) == \(hexadecimal(RedirectionPlan.proxyMark)) return",
        ] + outboundExclusions(plan.exclusions)
            // Whom the pod opens a connection to has no say in it by the port that it comes from.
            + exclusion("\(answering) tcp sport", plan.exclusions.inboundPorts.sorted())
            + probes(plan, "daddr") { "\($0) \(answering)" } + [
                // The kernel's refusals, and the ends of connections that were reset at enrolment: no payload.
                "tcp flags & (fin | syn | rst) == rst return",
                "counter name \(droppedCounter) drop",
            ]
    }

    /// What is known of the kubelet's connections; `field` is where they have the kubelet's address.
    private static func probes(_ plan: RedirectionPlan, _ field: String, _ rule: (String) -> String) -> [String] {
        guard plan.isProbed else { return [] }
        let known =
            plan.probeSource.map { ["ip \(field) \($0.v4)", "ip6 \(field) \($0.v6)"] }
            ?? ["\(mark) == \(hexadecimal(RedirectionPlan.probeMark))"]
        return known.map { rule($0) + " return" }
    }

    private static let mark = "meta mark & \(hexadecimal(RedirectionPlan.markMask))"

    private static let answering = "tcp flags & (syn | ack) != syn"

    private static func outboundExclusions(_ exclusions: PodExclusions) -> [String] {
        func prefixes(_ family: IPAddress.Family) -> [String] {
            // Sets of intervals have none within another.
            exclusions.outboundPrefixes.filter { prefix in
                prefix.address.family == family
                    && !exclusions.outboundPrefixes.contains { $0 != prefix && $0.holds(prefix) }
            }.map(\.description).sorted()
        }
        return exclusion("tcp dport", exclusions.outboundPorts.sorted()) + exclusion("ip daddr", prefixes(.v4))
            + exclusion("ip6 daddr", prefixes(.v6))
    }

    private static func exclusion(_ field: String, _ values: [some CustomStringConvertible]) -> [String] {
        let list = values.map(\.description).joined(separator: ", ")
        return values.isEmpty ? [] : ["\(field) { \(list) } return"]
    }

    private static func hexadecimal(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }

    private static func lines(_ rules: [String]) -> String {
        rules.map { "        " + $0 }.joined(separator: "\n")
    }
}
