import FoundationEssentials
import MeshAPI
import SPIFFE
import Synchronization
import X509

/// The certificates that this node and its pods use, summed up by issuer for the authority: what still depends on which of its
/// keys.
final class LeafRegister: Sendable {
    private struct Entry {
        let issuer: String
        let notAfter: Date
        /// Leaf first.
        let certificates: [Certificate]

        init(_ svid: X509SVID) {
            issuer = svid.leaf.signerKeyIdentifier ?? ""
            notAfter = svid.notAfter
            certificates = svid.certificates
        }
    }

    private struct State {
        var leaves: [SPIFFEID: Entry] = [:]
        var node: Entry?
    }

    private let state = Mutex(State())

    func add(_ svid: X509SVID) {
        let entry = Entry(svid)
        state.withLock { $0.leaves[svid.id] = entry }
    }

    /// The node's own, which counts, and which no pod is served under.
    func replaceNode(_ svid: X509SVID) {
        let entry = Entry(svid)
        state.withLock { $0.node = entry }
    }

    func remove(_ identity: SPIFFEID) { state.withLock { $0.leaves[identity] = nil } }

    /// PEM, one chain for each identity in the order of their names.
    func chains() -> [String] {
        let entries = state.withLock { Array($0.leaves) }.sorted { $0.key.description < $1.key.description }
        return entries.map { _, entry in entry.certificates.map { $0.pem() }.joined() }
    }

    /// How many pods' identities there are, and when the first of their certificates ends.
    var identities: (count: Int, firstExpiry: Date?) {
        state.withLock { ($0.leaves.count, $0.leaves.values.map(\.notAfter).min()) }
    }

    /// `connections` are counted by root.
    func summary(connections: [String: Int]) -> [BundleReport.Leaves] {
        let all = state.withLock { Array($0.leaves.values) + ($0.node.map { [$0] } ?? []) }
        let byIssuer = Dictionary(grouping: all, by: \.issuer)
        return Set(byIssuer.keys).union(connections.keys).sorted().map { id in
            let leaves = byIssuer[id] ?? []
            return BundleReport.Leaves(
                authorityID: id, count: leaves.count, oldestExpiry: leaves.map(\.notAfter).min(),
                connections: connections[id] ?? 0)
        }
    }
}
