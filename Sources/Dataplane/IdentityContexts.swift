internal import FoundationEssentials
import HBONE
import SPIFFE

/// The TLS contexts of one identity for one generation of its certificate and of the trust bundle.
final class IdentityContexts: Sendable {
    let client: TLSContext
    let server: TLSContext
    private let notAfter: Date

    var isExpired: Bool { notAfter <= Date() }

    init(svid: X509SVID, bundles: TrustBundleSet, records: TLSRecords) throws {
        let chain = try svid.certificatesDER()
        let key = try svid.privateKeyDER()
        let verifier = PeerVerifier(bundles: bundles)
        // The role named to the verifier is the peer's.
        client = try TLSContext(role: .client, certificateChainDER: chain, privateKeyDER: key, records: records) {
            verifier.tlsVerdict(chainDER: $0, role: .server)
        }
        server = try TLSContext(role: .server, certificateChainDER: chain, privateKeyDER: key, records: records) {
            verifier.tlsVerdict(chainDER: $0, role: .client)
        }
        notAfter = svid.notAfter
    }
}

extension PeerVerifier {
    fileprivate func tlsVerdict(chainDER: [[UInt8]], role: Role) -> TLSPeerVerdict {
        switch verify(chainDER: chainDER, role: role, now: Date()) {
        case .verified(let peer): .accept(peer.id)
        case .refused(let refusal): .refuse(refusal.description)
        }
    }
}
