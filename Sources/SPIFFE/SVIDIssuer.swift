public import X509

/// Where SVIDs come from: a certificate authority, near or far.
public protocol SVIDIssuer: Sendable {
    /// The certificates for the request's key, leaf first, root left out. Of the request only the public key counts.
    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate]
}

/// Who goes first when not everybody can be served at once.
public enum IssuanceUrgency: Int, Hashable, Sendable, Comparable, CaseIterable {
    /// Nothing waits for it: it was asked for ahead of its time.
    case background
    /// What is held is still good.
    case renewal
    /// Connections wait for it.
    case firstUse

    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// Why no SVID was issued, and whether asking again helps.
public struct IssuanceError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The authority decided against it; do not ask again soon.
        case denied
        /// The pod is over: do not ask in its name again.
        case ended
        /// Ask again for this, not before this long; `nil`: by one's own back-off.
        case retry(after: Duration?)
        /// Ask for nothing before this long: the authority has more to do than it can.
        case slowDown(Duration?)
        /// The node itself has to attest again first.
        case attestAgain
        /// The authority did not answer.
        case unreachable
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String {
        switch kind {
        case .denied, .ended, .attestAgain: "the authority refuses: \(message)"
        case .retry, .slowDown: "the authority cannot issue now: \(message)"
        case .unreachable: "the authority is unreachable: \(message)"
        }
    }
}
