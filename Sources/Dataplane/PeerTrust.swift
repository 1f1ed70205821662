internal import FoundationEssentials
import HBONE
import SPIFFE

/// Who peers may be, by one generation of the trust bundles: for all identities of the node, and for live connections, too.
final class PeerTrust: Sendable {
    private let servers: VerifiedPeers
    private let clients: VerifiedPeers

    init(_ bundles: TrustBundleSet) {
        let verifier = PeerVerifier(bundles: bundles)
        servers = VerifiedPeers { verifier.verify(chainDER: $0, role: .server, now: $1) }
        clients = VerifiedPeers { verifier.verify(chainDER: $0, role: .client, now: $1) }
    }

    /// In the handshake; `role` is ours.
    func verdict(_ chainDER: [[UInt8]], role: HBONERole) -> TLSPeerVerdict {
        switch peers(of: role).identity(ofChain: chainDER, now: Date()) {
        case .success(let id): .accept(id)
        case .failure(let refusal): .refuse(refusal.description)
        }
    }

    /// Why a peer that was accepted once would not be today: its certificate was revoked, or nobody is trusted any more who vouched
    /// for it. That it has run out meanwhile is no reason: a connection may outlive its certificates.
    func objection(to proof: PeerProof, role: HBONERole) -> PeerRefusal? {
        guard case .failure(let refusal) = peers(of: role).identity(ofChain: proof.chainDER, now: proof.acceptedAt)
        else {
            return nil
        }
        return refusal
    }

    private func peers(of role: HBONERole) -> VerifiedPeers { role == .client ? servers : clients }
}

/// What a peer was accepted for, and when.
struct PeerProof: Sendable {
    let chainDER: [[UInt8]]
    let acceptedAt: Date

    init(_ peer: HBONEPeer) {
        chainDER = peer.certificateChainDER
        acceptedAt = Date()
    }
}
