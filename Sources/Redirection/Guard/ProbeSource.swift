public import IPAddressing

/// The addresses that the node gives to the kubelet's connections towards strict pods: link-local or unique-local ones, which nobody has.
public struct ProbeSource: Hashable, Sendable {
    public let v4: IPAddress
    public let v6: IPAddress

    /// As Istio has them, so that what lets probes through there (network policies, firewalls) does here.
    public static let standard = ProbeSource(
        v4: IPAddress(v4: 0xa9fe_077f), v6: IPAddress(v6High: 0xfd16_9254_7127_1337, low: 0xffff_ffff_ffff_ffff))!

    /// nil for what can be the address of somebody else: only 169.254.0.0/16, and fc00::/7 or fe80::/10.
    public init?(v4: IPAddress, v6: IPAddress) {
        let first = v6.bytes[0]
        guard let value = v4.v4, value >> 16 == 0xa9fe, v6.family == .v6,
            first & 0xfe == 0xfc || (first == 0xfe && v6.bytes[1] & 0xc0 == 0x80)
        else { return nil }
        self.v4 = v4
        self.v6 = v6
    }

    func address(_ family: IPAddress.Family) -> IPAddress { family == .v4 ? v4 : v6 }
}

extension ProbeSource: LosslessStringConvertible {
    /// Such as `169.254.7.127,fd16:9254:7127:1337:ffff:ffff:ffff:ffff`.
    public var description: String { "\(v4),\(v6)" }

    public init?(_ description: String) {
        let parts = description.split(separator: ",", omittingEmptySubsequences: false).map { IPAddress(String($0)) }
        guard parts.count == 2, let v4 = parts[0], let v6 = parts[1] else { return nil }
        self.init(v4: v4, v6: v6)
    }
}

/// The netfilter rules of a node whose kubelet's connections to strict pods get a source of their own, as nft(8) reads them; one
/// transaction that replaces what was there.
///
/// A socket's cgroup can be asked where packets leave the node's sockets, and a source can be changed only later, behind the routing: a
/// set of the connections that were just opened joins the two. No mark is used: others set them, too.
struct ProbeRuleset: Hashable, Sendable {
    static let table = "culvert_probes"
    static let families = ["inet", "bridge"]
    static let givenCounter = "given"
    static let forgedCounter = "forged"

    let source: ProbeSource
    /// nil: nobody is given the source, and nobody may use it.
    let kubelet: NFTCgroup?
    /// Those of the strict pods on this node.
    let pods: Set<IPAddress>

    /// Succeeds whether the tables are there or not.
    static let removal = families.map { "add table \($0) \(table)\ndelete table \($0) \(table)\n" }.joined()

    func text(_ counts: ProbeTranslationCounts) -> String {
        """
        \(Self.removal)
        table inet \(Self.table) {
            counter \(Self.givenCounter) { packets \(counts.given) bytes 0 }
            counter \(Self.forgedCounter) { packets \(counts.forged) bytes 0 }
            \(opened(.v4))
            \(opened(.v6))
            chain arriving {
                type filter hook prerouting priority -300; policy accept;
                \(lines(claims))
            }
            chain leaving {
                type filter hook output priority 0; policy accept;
                \(lines(claims + leaving))
            }
            chain translated {
                type nat hook postrouting priority 90; policy accept;
                \(lines([translation(.v4), translation(.v6)]))
            }
        }
        table bridge \(Self.table) {
            counter \(Self.forgedCounter) { packets \(counts.bridged) bytes 0 }
            chain arriving {
                type filter hook prerouting priority -300; policy accept;
                \(lines(claims))
            }
        }

        """
    }

    /// Whatever comes with that source, from a pod or from elsewhere, was not given it here: that happens behind these rules.
    private var claims: [String] {
        ["ip saddr \(source.v4)", "ip6 saddr \(source.v6)"].map { "\($0) counter name \(Self.forgedCounter) drop" }
    }

    private var leaving: [String] {
        guard let kubelet else { return [] }
        // A rule about a level that the socket's cgroup is not as deep as does not match: this one only those below the kubelet's.
        return [
            "meta l4proto != tcp return",
            "tcp flags & (fin | syn | rst | ack) != syn return",
            "\(kubelet.below) != \"\(kubelet.path)\" return",
        ]
            + [IPAddress.Family.v4, .v6].compactMap { family in
                let addresses = pods.filter { $0.family == family }.map(\.description).sorted()
                guard !addresses.isEmpty else { return nil }
                let word = Self.word(family)
                return "\(word) daddr { \(addresses.joined(separator: ", ")) } \(kubelet.match("\"\(kubelet.path)\"")) "
                    + "add @\(Self.set(family)) { \(Self.flow(family)) }"
            }
    }

    /// Before the node's masquerading (100), which finds them translated, and leaves them alone.
    private func translation(_ family: IPAddress.Family) -> String {
        "\(Self.flow(family)) @\(Self.set(family)) counter name \(Self.givenCounter) "
            + "snat \(Self.word(family)) to \(source.address(family))"
    }

    private func opened(_ family: IPAddress.Family) -> String {
        let type = family == .v4 ? "ipv4_addr" : "ipv6_addr"
        return
            "set \(Self.set(family)) { type \(type) . inet_service . \(type) . inet_service; flags dynamic, timeout; "
            + "timeout 1s; size 16384; }"
    }

    private static func word(_ family: IPAddress.Family) -> String { family == .v4 ? "ip" : "ip6" }
    private static func set(_ family: IPAddress.Family) -> String { family == .v4 ? "opened_v4" : "opened_v6" }
    private static func flow(_ family: IPAddress.Family) -> String {
        let word = word(family)
        return "\(word) saddr . tcp sport . \(word) daddr . tcp dport"
    }

    private func lines(_ rules: [String]) -> String { rules.joined(separator: "\n        ") }
}

/// What the node did with the source that it gives to the kubelet; packets.
public struct ProbeTranslationCounts: Hashable, Sendable {
    /// Connections that were given it.
    public var given: UInt64 = 0
    /// Refused, since they had it already.
    public var forged: UInt64 = 0
    /// The same, between ports of a bridge of the node.
    public var bridged: UInt64 = 0

    public init() {}
}
