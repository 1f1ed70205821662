extension AuthorityStatus {
    /// A node that a replaced root has left behind: it was away for too long, or an emergency did not wait for it.
    public struct CutOffNode: Sendable, Equatable {
        public let name: NodeName
        /// What it lacks, or still holds, as it said last.
        public let because: String
    }

    /// Nodes that attested and that, by what they said last, do not know the root that signs, or depend on one that was revoked. They are
    /// here until they attest anew, catch up, or are banned or evicted.
    public var cutOff: [CutOffNode] {
        guard let active = rotation.active else { return [] }
        let roots = StoredAuthorities(trustDomain: nil, records: authorities, sequence: 0).roots
        let revoked = Set(rotation.authorities.filter { $0.state == .revoked }.map(\.id))
        return nodes.compactMap { node in
            guard node.hasAttested, !node.banned else { return nil }
            let said = node.acknowledgement
            let held = said?.sequence ?? 0
            // Who attested after it began to sign was given it then.
            if node.attestedAt < active.since, held < active.publishedIn {
                let bundle = held == 0 ? "no bundle" : "bundle \(held)"
                return CutOffNode(
                    name: node.name,
                    because: "it has \(bundle), and the root that signs is in bundle \(active.publishedIn) and later")
            }
            let depends = said.map { said in
                said.at > node.attestedAt
                    && said.leaves.contains { leaves in
                        leaves.count > 0
                            && AuthorityID(leaves.authority).map { revoked.contains(roots[$0] ?? $0) } ?? false
                    }
            }
            guard depends == true else { return nil }
            return CutOffNode(name: node.name, because: "it uses certificates under a root that was revoked")
        }
    }

    private static let namedMax = 5

    /// At most one line, however many there are.
    var cutOffWarnings: [String] {
        let all = cutOff
        guard !all.isEmpty else { return [] }
        let named = all.prefix(Self.namedMax).map { "\($0.name) (\($0.because))" }.joined(separator: ", ")
        let more = all.count > Self.namedMax ? " and \(all.count - Self.namedMax) more" : ""
        return [
            "\(all.count == 1 ? "1 node is" : "\(all.count) nodes are") cut off: \(named)\(more); \(Self.wayBack); evict those that are gone"
        ]
    }

    /// What the operator does for a node that is cut off.
    public static let wayBack =
        "a node that comes back needs this authority's bundle (“culvert ca bundle”) in its --ca-bundle file, and, unless it "
        + "renews by itself then, a new join token (“culvert ca token create --node NAME”)"
}
