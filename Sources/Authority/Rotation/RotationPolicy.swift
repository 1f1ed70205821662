public import FoundationEssentials

/// When authorities are replaced, and what is waited for.
///
/// With L the authority's life: the next one is prepared when min(L/2, 30 days) are left and activated when min(L/6, 7 days) are left.
/// What lies between is the nodes' time to acknowledge it.
public struct RotationPolicy: Sendable, Equatable {
    static let day: TimeInterval = 24 * 3600

    /// The longest life of a leaf.
    public var leaf: Duration
    /// How far apart clocks may be.
    public var skew: Duration = CertificateProfile.backdating
    /// How long a connection may outlive the leaf that it was opened with.
    public var connectionAge: Duration
    /// How long an emergency waits for nodes to acknowledge the new authority.
    public var emergencyActivation: Duration = .seconds(60)
    /// How long an emergency waits for nodes to let go of the tainted authority.
    public var emergencyRevocation: Duration = .seconds(900)
    /// No bundle has more.
    public var authoritiesMax: Int = 16
    /// A clock that is behind the journal by more than this is wrong.
    public var clockTolerance: Duration = .seconds(300)
    /// The journal is condensed every so many records.
    public var recordsPerCheckpoint: UInt64 = 64

    public init(leaf: Duration, connectionAge: Duration = .seconds(3600)) {
        self.leaf = leaf
        self.connectionAge = connectionAge
    }

    public func prepareAt(_ authority: RotatingAuthority) -> Date {
        authority.notAfter.addingTimeInterval(-min(authority.life / 2, 30 * Self.day))
    }

    public func activateAt(_ authority: RotatingAuthority) -> Date {
        authority.notAfter.addingTimeInterval(-min(authority.life / 6, 7 * Self.day))
    }

    /// A started second counts.
    var leafSeconds: Int64 { leaf.components.seconds + (leaf.components.attoseconds > 0 ? 1 : 0) }

    /// What an authority must have left to begin signing: six times a leaf's life, so that its own successor comes in time.
    func needed(at now: Date) -> Date { now.advanced(by: leaf * Int(AuthorityLifetimes.issuerToSubjectRatio)) }

    /// From when on neither leaf nor connection can depend on an authority that signs no more.
    public func drainedAt(_ authority: RotatingAuthority) -> Date {
        let retired = authority.retiredAt ?? authority.since
        let last = min(authority.notAfter, retired.addingTimeInterval(TimeInterval(authority.leafLifetime)))
        return last.advanced(by: skew + connectionAge)
    }
}
