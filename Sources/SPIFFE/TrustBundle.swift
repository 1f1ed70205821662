public import X509

/// The roots of one trust domain (SPIFFE Trust Domain and Bundle section 4).
///
/// Bundles of different trust domains are never merged. No authorities means that the domain has revoked all of them:
/// every
/// SVID of it is then untrusted.
public struct TrustBundle: Sendable, Equatable {
    /// Always from configuration, never from the bundle's content or from where it was fetched.
    public let trustDomain: TrustDomain
    /// Without repetition, in the order given.
    public let authorities: [Certificate]
    /// Rises whenever the content changes.
    public let sequence: UInt64
    /// How often to look for a newer one, in seconds; `nil` means that the publisher does not say.
    public let refreshHint: Int?

    /// Authorities whose DER is the same are kept once. Refuses a certificate that is not a CA: it could vouch for
    /// nobody,
    /// and is there by mistake.
    public init(
        trustDomain: TrustDomain, authorities: [Certificate], sequence: UInt64 = 0, refreshHint: Int? = nil
    ) throws(TrustBundleError) {
        var seen: Set<Certificate> = []
        let unique = authorities.filter { seen.insert($0).inserted }
        guard unique.count <= Self.maximumAuthorities else { throw .tooManyAuthorities(unique.count) }
        for (index, certificate) in unique.enumerated() where !certificate.isAuthority {
            throw .notAnAuthority(position: index + 1)
        }
        self.trustDomain = trustDomain
        self.authorities = unique
        self.sequence = sequence
        self.refreshHint = refreshHint
    }

    /// Every one of them may be tried against a peer's chain when they share a name.
    public static let maximumAuthorities = 256
}

/// What a newly received bundle is to the one in use.
public enum BundleSuccession: Hashable, Sendable {
    case unchanged
    case newer
    /// Its sequence number is lower: an old copy. Ignore it and tell the operator.
    case older
    /// Same sequence number, other content: the publisher is at fault. Ignore it and tell the operator.
    case conflicting
}

extension TrustBundle {
    /// Compares a bundle of the same trust domain by sequence number.
    public func succession(by next: TrustBundle) -> BundleSuccession {
        if next.sequence > sequence { return .newer }
        if next.sequence < sequence { return .older }
        return Set(next.authorities) == Set(authorities) ? .unchanged : .conflicting
    }
}

/// Why something is not a trust bundle.
public enum TrustBundleError: Error, Hashable, Sendable, CustomStringConvertible {
    case pem(PEMError)
    case noCertificates
    case privateKey(line: Int)
    case unexpectedBlock(label: String, line: Int)
    case malformedCertificate(position: Int)
    case notAnAuthority(position: Int)
    case tooManyAuthorities(Int)
    case json(String)
    case missingKeys
    case member(String, expected: String)
    case entry(position: Int, problem: String)
    case trustDomain(String, SPIFFEIDError)

    public var description: String {
        switch self {
        case .pem(let error): "\(error)"
        case .noCertificates: "no certificate in the bundle; expected \"-----BEGIN CERTIFICATE-----\""
        case .privateKey(let line):
            "line \(line): a private key in a trust bundle; a bundle is public, so treat that key as disclosed"
        case .unexpectedBlock(let label, let line):
            "line \(line): a \(label) in a trust bundle; only certificates belong there"
        case .malformedCertificate(let position): "certificate \(position) of the bundle cannot be decoded"
        case .notAnAuthority(let position):
            "certificate \(position) of the bundle is not a CA (basicConstraints cA is not true); "
                + "give the root, not a leaf"
        case .tooManyAuthorities(let count):
            "\(count) authorities in one bundle; at most \(TrustBundle.maximumAuthorities) are accepted"
        case .json(let problem): "the bundle is not acceptable JSON: \(problem)"
        case .missingKeys: "the bundle has no \"keys\" array; a JWKS document is expected"
        case .member(let name, let expected): "\"\(name)\" is not \(expected)"
        case .entry(let position, let problem): "entry \(position) of \"keys\": \(problem)"
        case .trustDomain(let name, let error): "trust domain \"\(name)\": \(error)"
        }
    }
}

extension Certificate {
    /// basicConstraints with cA true.
    var isAuthority: Bool {
        guard case .isCertificateAuthority? = try? extensions.basicConstraints else { return false }
        return true
    }
}
