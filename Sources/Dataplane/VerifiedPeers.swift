internal import FoundationEssentials
import SPIFFE
import Synchronization

/// What was found out about the certificate chains that peers sent lately, so that a peer that connects anew costs its handshake's
/// signatures only: verifying a chain costs as much as all the rest.
///
/// Remembers acceptance alone, byte for byte, for the roots and the role that `verify` was made with: who changes these makes a
/// new one. That the peer holds the key is proved by each handshake.
final class VerifiedPeers: Sendable {
    /// Of a few kilobytes each; only who has a valid certificate adds one. At the bound all are forgotten.
    static let countMax = 2048

    private let verify: @Sendable (_ chainDER: [[UInt8]], _ now: Date) -> PeerVerdict
    private let known = Mutex<[[[UInt8]]: Known]>([:])

    private struct Known {
        let id: SPIFFEID
        /// A clock that was set back may have come before the chain's own beginning.
        let since: Date
        let notAfter: Date
    }

    init(verify: @escaping @Sendable (_ chainDER: [[UInt8]], _ now: Date) -> PeerVerdict) { self.verify = verify }

    func identity(ofChain chainDER: [[UInt8]], now: Date) -> Result<SPIFFEID, PeerRefusal> {
        if let known = known.withLock({ $0[chainDER] }), (known.since...known.notAfter).contains(now) {
            return .success(known.id)
        }
        switch verify(chainDER, now) {
        case .refused(let refusal):
            return .failure(refusal)
        case .verified(let peer):
            known.withLock { known in
                if known.count >= Self.countMax { known = [:] }
                known[chainDER] = Known(id: peer.id, since: now, notAfter: max(now, peer.notAfter))
            }
            return .success(peer.id)
        }
    }
}
