public import FoundationEssentials

/// Why a peer's certificates do not prove an identity; one line for the log of the side that refuses.
///
/// Carries nothing that the peer wrote except what was parsed, so that a log line cannot be forged through it.
public enum PeerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case noCertificate
    case tooManyCertificates(Int, limit: Int)
    /// Position 1 is the leaf.
    case certificateTooLarge(position: Int, bytes: Int, limit: Int)
    case malformedCertificate(position: Int)
    case unacceptableKey(position: Int, PublicKeyKind)
    case identity(CertificateIdentityError)
    /// An ID without a path names the trust domain, not a workload.
    case identityWithoutPath(SPIFFEID)
    /// The leaf breaks a rule of the X509-SVID standard.
    case leaf(String)
    case unknownTrustDomain(TrustDomain)
    case noAuthorities(TrustDomain)
    case notYetValid(SPIFFEID, from: Date, now: Date)
    case expired(SPIFFEID, at: Date, now: Date)
    /// No chain of the presented certificates to an authority of the trust domain passes; the reason for the last one
    /// tried.
    case chain(TrustDomain, String)
    /// The verifier waited for something. It must not; the peer is refused rather than let in unverified.
    case unfinished

    public var description: String {
        switch self {
        case .noCertificate: "the peer sent no certificate"
        case .tooManyCertificates(let count, let limit):
            "the peer sent \(count) certificates; at most \(limit) are accepted"
        case .certificateTooLarge(let position, let bytes, let limit):
            "certificate \(position) of the peer has \(bytes) bytes; at most \(limit) are accepted"
        case .malformedCertificate(let position): "certificate \(position) of the peer cannot be decoded"
        case .unacceptableKey(let position, let kind):
            "certificate \(position) of the peer has an unacceptable key (\(kind)); RSA 2048 to 8192, P-256, "
                + "P-384, P-521 and Ed25519 are accepted"
        case .identity(let error): "the peer's certificate has no usable SPIFFE ID: \(error)"
        case .identityWithoutPath(let id): "the peer's ID \(id) has no path: it names a trust domain, not a workload"
        case .leaf(let problem): "the peer's certificate is not an X509-SVID: \(problem)"
        case .unknownTrustDomain(let domain): "the peer's trust domain \(domain) is not known here: no bundle for it"
        case .noAuthorities(let domain):
            "the bundle of the peer's trust domain \(domain) is empty: all its authorities are revoked"
        case .notYetValid(let id, let from, let now):
            "the SVID of \(id) is valid from \(timestamp(from)), now is \(timestamp(now)); compare the clocks"
        case .expired(let id, let end, let now):
            "the SVID of \(id) expired at \(timestamp(end)), now is \(timestamp(now))"
        case .chain(let domain, let reason): "no valid chain to an authority of \(domain): \(reason)"
        case .unfinished: "verification did not finish at once; this is a defect in Culvert"
        }
    }
}

/// RFC 3339 in UTC, whole seconds.
func timestamp(_ date: Date) -> String {
    date.formatted(.iso8601)
}
