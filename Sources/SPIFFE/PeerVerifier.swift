public import FoundationEssentials
import SwiftASN1
@_spi(DisableValidityCheck) public import X509

/// Decides who a peer is from the certificates it sent in the TLS handshake (X509-SVID section 5).
///
/// The roots are those of the peer's own trust domain and no others. Synchronous and without I/O: it is called inside
/// the
/// handshake, on the event loop's thread. What a peer can make it do is bounded by `Limits`.
public struct PeerVerifier: Sendable {
    /// What the peer is in the connection.
    public enum Role: Sendable, CaseIterable {
        case client, server
    }

    public struct Limits: Sendable {
        public var intermediates = 4
        public var certificateBytes = 16 * 1024
        /// How many certificates may be examined as a tip of a chain while searching.
        public var searchSteps = 16

        public init() {}
    }

    public let limits: Limits
    private let authorities: [TrustDomain: [DistinguishedName: [Certificate]]]
    private let revocations: [TrustDomain: [DistinguishedName: [RevocationList]]]

    public init(bundles: TrustBundleSet, limits: Limits = Limits()) {
        self.limits = limits
        authorities = bundles.bundles.mapValues { Dictionary(grouping: $0.authorities, by: \.subject) }
        revocations = bundles.bundles.mapValues { Dictionary(grouping: $0.revocations, by: \.issuer) }
    }

    /// The chain as the peer sent it: leaf first, then intermediates in any order, root not needed.
    public func verify(chainDER: [[UInt8]], role: Role, now: Date) -> PeerVerdict {
        do {
            return .verified(try verified(chainDER: chainDER, role: role, now: now))
        } catch {
            return .refused(error)
        }
    }

    private func verified(chainDER: [[UInt8]], role: Role, now: Date) throws(PeerRefusal) -> VerifiedPeer {
        let certificates = try decode(chainDER)
        let leaf = certificates[0]
        let id = try Self.identity(leaf, purpose: role.purpose)
        guard let roots = authorities[id.trustDomain] else { throw .unknownTrustDomain(id.trustDomain) }
        guard !roots.isEmpty else { throw .noAuthorities(id.trustDomain) }
        guard now >= leaf.notValidBefore else { throw .notYetValid(id, from: leaf.notValidBefore, now: now) }
        guard now <= leaf.notValidAfter else { throw .expired(id, at: leaf.notValidAfter, now: now) }
        let search = AuthoritySearch(roots, steps: limits.searchSteps)
        let policy = SVIDChainPolicy(
            purpose: role.purpose, now: now, revocations: revocations[id.trustDomain] ?? [:])
        switch InlineTaskExecutor.run({ await Self.chain(certificates, search, policy) }) {
        case nil: throw .unfinished
        case .failure(let reason): throw .chain(id.trustDomain, reason.text)
        case .success(let chain):
            let end = chain.map(\.notValidAfter).min() ?? leaf.notValidAfter
            return VerifiedPeer(id: id, leaf: leaf, notAfter: end)
        }
    }

    private func decode(_ chainDER: [[UInt8]]) throws(PeerRefusal) -> [Certificate] {
        guard !chainDER.isEmpty else { throw .noCertificate }
        let limit = limits.intermediates + 1
        guard chainDER.count <= limit else { throw .tooManyCertificates(chainDER.count, limit: limit) }
        var certificates: [Certificate] = []
        for (index, der) in chainDER.enumerated() {
            guard der.count <= limits.certificateBytes else {
                throw .certificateTooLarge(position: index + 1, bytes: der.count, limit: limits.certificateBytes)
            }
            guard let certificate = try? Certificate(derEncoded: der) else {
                throw .malformedCertificate(position: index + 1)
            }
            let kind = PublicKeyKind(certificate.publicKey)
            guard kind.isAcceptable else { throw .unacceptableKey(position: index + 1, kind) }
            certificates.append(certificate)
        }
        return certificates
    }

    /// The leaf's own rules (X509-SVID sections 4 and 5), before anything is spent on signatures.
    private static func identity(_ leaf: Certificate, purpose: ExtendedKeyUsage.Usage) throws(PeerRefusal) -> SPIFFEID {
        let id: SPIFFEID
        do { id = try leaf.spiffeID() } catch { throw .identity(error) }
        guard !id.path.isEmpty else { throw .identityWithoutPath(id) }
        do {
            if case .isCertificateAuthority? = try leaf.extensions.basicConstraints {
                throw PeerRefusal.leaf("it is a CA certificate")
            }
            guard let usage = try leaf.extensions.keyUsage else { throw PeerRefusal.leaf("it has no key usage") }
            guard !usage.keyCertSign else { throw PeerRefusal.leaf("its key usage includes keyCertSign") }
            guard !usage.cRLSign else { throw PeerRefusal.leaf("its key usage includes cRLSign") }
            guard usage.digitalSignature else { throw PeerRefusal.leaf("its key usage lacks digitalSignature") }
            if let purposes = try leaf.extensions.extendedKeyUsage, !purposes.contains(purpose) {
                throw PeerRefusal.leaf("its extended key usage lacks \(purpose)")
            }
        } catch let refusal as PeerRefusal {
            throw refusal
        } catch {
            throw .leaf("one of its extensions cannot be read")
        }
        for member in leaf.extensions where member.critical {
            guard SVIDChainPolicy.understoodExtensions.contains(member.oid) else {
                throw .leaf("critical extension \(member.oid) is not understood")
            }
        }
        return id
    }

    private struct ChainProblem: Error {
        let text: String
    }

    private static func chain(
        _ certificates: [Certificate], _ authorities: AuthoritySearch, _ policy: SVIDChainPolicy
    ) async -> Result<[Certificate], ChainProblem> {
        var verifier = Verifier(rootCertificates: CertificateStore(custom: authorities)) {
            policy
            RFC5280Policy.withValidityCheckDisabled()
        }
        let intermediates = CertificateStore(certificates.dropFirst())
        switch await verifier.validate(leaf: certificates[0], intermediates: intermediates) {
        case .validCertificate(let chain): return .success(Array(chain))
        case .couldNotValidate(let failures):
            guard let reason = failures.last?.policyFailureReason else {
                let reason = "none of them signed it, directly or through the certificates that came with it"
                return .failure(ChainProblem(text: reason))
            }
            return .failure(ChainProblem(text: printable("\(reason)")))
        }
    }

    /// The library's reasons quote certificates, which the peer wrote: shortened, and printable ASCII only.
    private static func printable(_ reason: String) -> String {
        String(
            decoding: reason.utf8.prefix(200).map { (0x20...0x7e).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self
        )
    }
}

extension PeerVerifier.Role {
    /// The extended key usage that a certificate must have for this role, when it has any.
    var purpose: ExtendedKeyUsage.Usage {
        switch self {
        case .client: .clientAuth
        case .server: .serverAuth
        }
    }
}

public enum PeerVerdict: Sendable {
    case verified(VerifiedPeer)
    case refused(PeerRefusal)
}

/// A peer whose identity was proven. Only `PeerVerifier` makes one.
public struct VerifiedPeer: Sendable {
    public let id: SPIFFEID
    public let leaf: Certificate
    /// The earliest end of validity in the chain, root included.
    public let notAfter: Date

    init(id: SPIFFEID, leaf: Certificate, notAfter: Date) {
        self.id = id
        self.leaf = leaf
        self.notAfter = notAfter
    }
}
