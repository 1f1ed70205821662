public import FoundationEssentials
public import SPIFFE
public import X509

/// Proves that what an authority answered is what was asked for, before anything is done with it.
public enum ReceivedSVID {
    /// An SVID with less than this left is of no use: it would expire on its way.
    public static let remainingMin: TimeInterval = 5
    /// Nothing short-lived lives this long; an authority that says so is misconfigured.
    public static let lifetimeMax: TimeInterval = 90 * 24 * 3600

    /// The certificates with the key, if they are `identity`'s, fit the key and the X509-SVID profile, and chain up to the trust
    /// bundle in use.
    public static func check(
        _ certificates: [Certificate],
        key: Certificate.PrivateKey,
        identity: SPIFFEID,
        bundles: TrustBundleSet,
        now: Date
    ) throws(UnfitSVID) -> X509SVID {
        let svid: X509SVID
        do { svid = try X509SVID(certificates: certificates, privateKey: key) } catch { throw .malformed(error) }
        guard svid.id == identity else { throw .otherIdentity(svid.id) }
        guard svid.notBefore <= now else {
            throw .clock("the certificate is valid from \(svid.notBefore.formatted(.iso8601))", now: now)
        }
        guard svid.notAfter.timeIntervalSince(now) >= remainingMin else {
            throw .clock("the certificate is valid until \(svid.notAfter.formatted(.iso8601))", now: now)
        }
        guard svid.notAfter.timeIntervalSince(svid.notBefore) <= lifetimeMax else { throw .tooLong }
        let verifier = PeerVerifier(bundles: bundles)
        let chain = certificates.map { $0.der() }
        for role in [PeerVerifier.Role.client, .server] {
            if case .refused(let reason) = verifier.verify(chainDER: chain, role: role, now: now) {
                throw .untrusted("\(reason)")
            }
        }
        return svid
    }
}

/// Why an authority's answer is not used.
public enum UnfitSVID: Error, Sendable, Equatable, CustomStringConvertible {
    case malformed(SVIDError)
    case otherIdentity(SPIFFEID)
    case clock(String, now: Date)
    case tooLong
    case untrusted(String)

    public var description: String {
        switch self {
        case .malformed(let error): return "the authority's answer is unusable: \(error)"
        case .otherIdentity(let id): return "the authority issued \(id) instead"
        case .clock(let validity, let now):
            return "\(validity), and the clock here says \(now.formatted(.iso8601)): check the clocks (NTP)"
        case .tooLong: return "the certificate lives longer than \(Int(ReceivedSVID.lifetimeMax / 86400)) days"
        case .untrusted(let reason):
            return "the issued certificate does not verify with our own trust bundle: \(reason)"
        }
    }
}
