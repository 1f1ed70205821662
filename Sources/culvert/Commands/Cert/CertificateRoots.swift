import FoundationEssentials
import SPIFFE
@_spi(FixedExpiryValidationTime) import X509

/// The roots that `--roots` names, whatever trust domain a certificate is of: the user says that they are its roots.
struct CertificateRoots: Sendable {
    private let authorities: [Certificate]

    init(_ source: CertificateSource) throws(CertificateProblem) {
        let content = CertificateContent(source)
        if let problem = content.problems.first { throw problem }
        // Roots of one domain must not vouch for another.
        if content.bundles.contains(where: { $0.trustDomain != nil }) {
            throw CertificateProblem(
                file: source.name, message: "a map of several trust domains' bundles",
                hint: "give the bundle of one trust domain: one member of \"trust_domains\"")
        }
        authorities = content.certificates
        if let index = authorities.firstIndex(where: { SVIDLint.Kind(of: $0) == .leaf }) {
            throw CertificateProblem(
                file: source.name, message: "certificate \(index + 1) is not a CA",
                hint: "give the roots, not what they signed")
        }
        guard !authorities.isEmpty else {
            throw CertificateProblem(
                file: source.name, message: "no root certificate in it",
                hint: "give the trust bundle: PEM certificates, or a JWKS")
        }
    }

    struct Verdict: Encodable, Sendable {
        let verified: Bool
        let message: String
    }

    /// An SVID is verified as peers do it, in both roles; anything else by RFC 5280 alone.
    func verify(_ chain: [Certificate], now: Date) async -> Verdict {
        guard let leaf = chain.first else { return Verdict(verified: false, message: "no certificate") }
        if SVIDLint.Kind(of: leaf) == .leaf, let id = try? leaf.spiffeID() {
            return verifyPeer(chain, id, now: now)
        }
        var verifier = Verifier(rootCertificates: CertificateStore(authorities)) {
            RFC5280Policy(fixedExpiryValidationTime: now)
        }
        switch await verifier.validate(leaf: leaf, intermediates: CertificateStore(chain.dropFirst())) {
        case .validCertificate(let path):
            let message = path.count == 1 ? "one of the given roots" : "verified (RFC 5280), \(path.count) certificates"
            return Verdict(verified: true, message: message)
        case .couldNotValidate:
            return Verdict(verified: false, message: "no valid chain to the given roots")
        }
    }

    /// What a peer says that has these roots: as those of `domain`, or of whatever domain the leaf is.
    func peerVerdict(
        _ chain: [Certificate], as role: PeerVerifier.Role, of domain: TrustDomain? = nil, now: Date
    ) throws(TrustBundleError) -> PeerVerdict {
        var bundles = TrustBundleSet()
        // Without an ID there is no domain to look for: the verifier says what is wrong with the leaf.
        if let domain = domain ?? (try? chain.first?.spiffeID())?.trustDomain {
            bundles.insert(try TrustBundle(trustDomain: domain, authorities: authorities))
        }
        return PeerVerifier(bundles: bundles).verify(chainDER: chain.map { $0.der() }, role: role, now: now)
    }

    private func verifyPeer(_ chain: [Certificate], _ id: SPIFFEID, now: Date) -> Verdict {
        for role in PeerVerifier.Role.allCases {
            do {
                if case .refused(let reason) = try peerVerdict(chain, as: role, now: now) {
                    return Verdict(verified: false, message: "refused as a \(role): \(reason)")
                }
            } catch {
                return Verdict(verified: false, message: "\(error)")
            }
        }
        return Verdict(
            verified: true, message: "verified as client and as server, if these are the roots of \(id.trustDomain)")
    }
}
