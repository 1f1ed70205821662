public import FoundationEssentials
public import X509

/// One root or intermediate as the store keeps it.
public struct AuthorityRecord: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable {
        case root, intermediate
    }

    /// prepared: published, not signing yet. active: signing. old: signs no more, its leaves are valid. tainted: its leaves are to be
    /// re-issued. revoked: out of the bundle.
    public enum State: String, Sendable, CaseIterable, Codable {
        case prepared, active, old, tainted, revoked
    }

    public let id: AuthorityID
    public let kind: Kind
    public var state: State
    public let certificate: Certificate
    /// The private key, sealed; nil once the authority signs no more.
    public var sealedKey: [UInt8]?
    public let createdAt: Date

    public init(
        id: AuthorityID,
        kind: Kind,
        state: State,
        certificate: Certificate,
        sealedKey: [UInt8]?,
        createdAt: Date
    ) {
        self.id = id
        self.kind = kind
        self.state = state
        self.certificate = certificate
        self.sealedKey = sealedKey
        self.createdAt = createdAt
    }

    /// Whether verifiers are to trust it: every root that is not revoked.
    public var isInBundle: Bool { kind == .root && state != .revoked }

    /// In seconds.
    var life: TimeInterval { certificate.notValidAfter.timeIntervalSince(certificate.notValidBefore) }
}
