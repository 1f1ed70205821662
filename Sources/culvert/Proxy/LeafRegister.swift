import FoundationEssentials
import MeshAPI
import SPIFFE
import Synchronization
import X509

/// The certificates that this node's pods use, summed up by issuer for the authority: what still depends on which of its
/// keys.
final class LeafRegister: Sendable {
    private let leaves = Mutex<[SPIFFEID: (issuer: String, notAfter: Date)]>([:])

    func add(_ svid: X509SVID) {
        let issuer = svid.leaf.authorityKeyIdentifier
        leaves.withLock { $0[svid.id] = (issuer, svid.notAfter) }
    }

    func remove(_ identity: SPIFFEID) { leaves.withLock { $0[identity] = nil } }

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
