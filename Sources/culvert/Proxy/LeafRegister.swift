import FoundationEssentials
import MeshAPI
import SPIFFE
import Synchronization
import X509

/// The certificates that this node's pods use, summed up by issuer for the authority: what still depends on which of its
/// keys.
final class LeafRegister: Sendable {
    private struct Entry {
        let issuer: String
        let notAfter: Date
        /// Leaf first.
        let certificates: [Certificate]
    }

    private let leaves = Mutex<[SPIFFEID: Entry]>([:])

    func add(_ svid: X509SVID) {
        let entry = Entry(
            issuer: svid.leaf.authorityKeyIdentifier, notAfter: svid.notAfter, certificates: svid.certificates)
        leaves.withLock { $0[svid.id] = entry }
    }

    func remove(_ identity: SPIFFEID) { leaves.withLock { $0[identity] = nil } }

    /// PEM, one chain for each identity in the order of their names.
    func chains() throws -> [String] {
        let entries = leaves.withLock { Array($0) }.sorted { $0.key.description < $1.key.description }
        return try entries.map { _, entry in
            try entry.certificates.map { try $0.serializeAsPEM().pemString + "\n" }.joined()
        }
    }

    var summary: [BundleReport.Leaves] {
        let byIssuer = Dictionary(grouping: leaves.withLock { Array($0.values) }, by: \.issuer)
        return byIssuer.sorted { $0.key < $1.key }.map { issuer, leaves in
            let oldest = leaves.map(\.notAfter).min() ?? .distantFuture
            return BundleReport.Leaves(authorityID: issuer, count: leaves.count, oldestExpiry: oldest)
        }
    }
}

extension Certificate {
    /// Lower-case hexadecimal, as authorities are named by; empty when there is none.
    fileprivate var authorityKeyIdentifier: String {
        let identifier = (try? extensions.authorityKeyIdentifier)??.keyIdentifier ?? []
        return CertificateOutput.hexadecimal(identifier)
    }
}
