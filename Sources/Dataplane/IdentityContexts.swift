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
        let servers = VerifiedPeers { verifier.verify(chainDER: $0, role: .server, now: $1) }
        client = try TLSContext(
            role: .client, certificateChainDER: chain, privateKeyDER: key, records: records, verify: servers.tlsVerdict)
        let clients = VerifiedPeers { verifier.verify(chainDER: $0, role: .client, now: $1) }
        server = try TLSContext(
            role: .server, certificateChainDER: chain, privateKeyDER: key, records: records, verify: clients.tlsVerdict)
        notAfter = svid.notAfter
    }
}

extension VerifiedPeers {
    fileprivate func tlsVerdict(_ chainDER: [[UInt8]]) -> TLSPeerVerdict {
        switch identity(ofChain: chainDER, now: Date()) {
        case .success(let id): .accept(id)
        case .failure(let refusal): .refuse(refusal.description)
        }
    }
}
