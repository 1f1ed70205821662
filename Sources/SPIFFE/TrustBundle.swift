public import X509

/// The roots of one trust domain (SPIFFE Trust Domain and Bundle section 4).
///
/// Bundles of different trust domains are never merged. No authorities means that the domain has revoked all of them:
/// every
/// SVID of it is then untrusted.
public struct TrustBundle: Sendable, Equatable {
    /// Always from configuration, never from the bundle's content or from where it was fetched.
    public private(set) var trustDomain: TrustDomain
    /// Without repetition, in the order given.
    public let authorities: [Certificate]
    /// What the authorities, and the CAs under them, have taken back. A list counts for what its own signer issued, and for nothing else.
    public let revocations: [RevocationList]
    /// Rises whenever the content changes.
    public let sequence: UInt64
    /// How often to look for a newer one, in seconds; `nil` means that the publisher does not say.
    public let refreshHint: Int?

    /// Authorities whose DER is the same are kept once. Refuses a certificate that is not a CA: it could vouch for
    /// nobody,
    /// and is there by mistake.
    public init(
        trustDomain: TrustDomain, authorities: [Certificate], revocations: [RevocationList] = [], sequence: UInt64 = 0,
        refreshHint: Int? = nil
    ) throws(TrustBundleError) {
        let bytes = revocations.reduce(0) { $0 + $1.der.count }
        guard revocations.count <= Self.maximumRevocationLists, bytes <= RevocationList.bytesMax else {
            throw .tooManyRevocations(lists: revocations.count, bytes: bytes)
        }
        var seen: Set<Certificate> = []
        let unique = authorities.filter { seen.insert($0).inserted }
        guard unique.count <= Self.maximumAuthorities else { throw .tooManyAuthorities(unique.count) }
        for (index, certificate) in unique.enumerated() where !certificate.isAuthority {
            throw .notAnAuthority(position: index + 1)
        }
        self.trustDomain = trustDomain
        self.authorities = unique
        self.revocations = revocations
        self.sequence = sequence
        self.refreshHint = refreshHint
    }

    /// The same authorities for another trust domain.
    func renamed(_ name: TrustDomain) -> TrustBundle {
        var bundle = self
        bundle.trustDomain = name
        return bundle
    }

    /// Every one of them may be tried against a peer's chain when they share a name.
    public static let maximumAuthorities = 256
    /// Together of at most `RevocationList.bytesMax` bytes.
    public static let maximumRevocationLists = 16
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
        return Set(next.authorities) == Set(authorities) && Set(next.revocations) == Set(revocations)
            ? .unchanged : .conflicting
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
    case tooManyRevocations(lists: Int, bytes: Int)
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
        case .tooManyRevocations(let lists, let bytes):
            "\(lists) revocation lists of \(bytes) bytes in one bundle; at most \(TrustBundle.maximumRevocationLists) of "
                + "\(RevocationList.bytesMax) bytes are accepted"
        case .json(let problem): "the bundle is not acceptable JSON: \(problem)"
        case .missingKeys: "the bundle has no \"keys\" array; a JWKS document is expected"
        case .member(let name, let expected): "\"\(name)\" is not \(expected)"
        case .entry(let position, let problem): "entry \(position) of \"keys\": \(problem)"
        case .trustDomain(let name, let error): "trust domain \"\(name)\": \(error)"
        }
    }
}

extension TrustBundleSet {
    /// Whether somebody whom `earlier` had trusted may be trusted no longer: an authority is gone, or a revocation list is new.
    /// More authorities, and lists that are gone, withdraw nothing.
    public func withdraws(from earlier: TrustBundleSet) -> Bool {
        earlier.bundles.contains { trustDomain, earlier in
            guard let bundle = self[trustDomain] else { return true }
            return !Set(bundle.authorities).isSuperset(of: earlier.authorities)
                || !Set(earlier.revocations).isSuperset(of: bundle.revocations)
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
