public import X509

/// Where SVIDs come from: a certificate authority, near or far.
public protocol SVIDIssuer: Sendable {
    /// The certificates for the request's key, leaf first, root left out. Of the request only the public key counts.
    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest
    ) async throws(IssuanceError) -> [Certificate]
}

/// Why no SVID was issued, and whether asking again helps.
public struct IssuanceError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The authority decided against it; do not ask again soon.
        case denied
        /// Ask again, not before this long; `nil`: by one's own back-off.
        case retry(after: Duration?)
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
        case .denied: "the authority refuses: \(message)"
        case .retry: "the authority cannot issue now: \(message)"
        case .unreachable: "the authority is unreachable: \(message)"
        }
    }
}
