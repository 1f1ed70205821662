import FoundationEssentials
import NIOCore
import NIOSSL
import SPIFFE
import Synchronization

/// Decides in the handshake whether the other side may stay: by its SPIFFE ID, never by a host name.
final class PeerCheck: Sendable {
    private let verifier: @Sendable () -> PeerVerifier
    private let role: PeerVerifier.Role
    /// For so long after its end a certificate is let in, if nothing else is wrong with it.
    private let grace: TimeInterval
    /// Why an ID that was proven is not acceptable; nil when it is.
    private let objection: @Sendable (SPIFFEID) -> String?
    private let onRefusal: @Sendable (String) -> Void
    private let refusal = Mutex<String?>(nil)

    /// `role` is the peer's. Whoever gives a `grace` has to ask each call whether it may be made with an expired certificate.
    ///
    /// `verifier` is asked for each handshake, so that a new bundle counts at once.
    init(
        role: PeerVerifier.Role,
        grace: Duration = .zero,
        verifier: @escaping @Sendable () -> PeerVerifier,
        objection: @escaping @Sendable (SPIFFEID) -> String?,
        onRefusal: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.role = role
        self.grace = TimeInterval(grace.components.seconds)
        self.verifier = verifier
        self.objection = objection
        self.onRefusal = onRefusal
    }

    /// The outcome of the last handshake; nil when the peer was accepted.
    var lastRefusal: String? { refusal.withLock { $0 } }

    /// For NIOSSL, which calls it on the connection's event loop and takes its word for the chain.
    func callAsFunction(_ chain: [NIOSSLCertificate], _ promise: EventLoopPromise<NIOSSLVerificationResultWithMetadata>)
    {
        let reason = reasonToRefuse(chain)
        refusal.withLock { $0 = reason }
        if let reason {
            onRefusal(reason)
            promise.succeed(.failed)
        } else {
            promise.succeed(.certificateVerified(VerificationMetadata(nil)))
        }
    }

    private func reasonToRefuse(_ chain: [NIOSSLCertificate]) -> String? {
        guard let der = try? chain.map({ try $0.toDERBytes() }) else {
            return "a certificate of the peer cannot be read"
        }
        let verifier = verifier()
        let now = Date()
        var verdict = verifier.verify(chainDER: der, role: role, now: now)
        if case .refused(.expired(_, let end, _)) = verdict, now.timeIntervalSince(end) <= grace {
            // As it was at its last moment: under a root that is published still, with all else as ever.
            verdict = verifier.verify(chainDER: der, role: role, now: end)
        }
        switch verdict {
        case .refused(let refusal): return refusal.description
        case .verified(let peer): return objection(peer.id)
        }
    }
}
