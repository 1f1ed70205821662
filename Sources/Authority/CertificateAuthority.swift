public import FoundationEssentials
public import SPIFFE
internal import Synchronization
public import X509

/// Issues SVIDs under an intermediate that a root of its own has signed, and publishes that root.
///
/// Safe to use from many tasks at once: signing runs outside the lock. Nothing is released before the store has recorded it.
/// Decisions are values (`IssuanceDecision`, `SigningRequestPolicy`, `NodeAllowance`); this ties them to keys, store and time.
public final class CertificateAuthority: Sendable {
    public struct Configuration: Sendable {
        public var trustDomain: TrustDomain
        public var lifetimes: AuthorityLifetimes
        public var limits: AuthorityLimits
        /// For so long after its end a node's SVID is renewed still, if it is the node's last one; zero: not at all.
        public var nodeGrace: Duration
        /// What nodes that lost the bundle stream are told to wait before they ask again; in seconds.
        public var refreshHint: Int

        public init(
            trustDomain: TrustDomain,
            lifetimes: AuthorityLifetimes = AuthorityLifetimes(),
            limits: AuthorityLimits = AuthorityLimits(),
            nodeGrace: Duration = .seconds(7 * 86400),
            refreshHint: Int = 300
        ) {
            self.trustDomain = trustDomain
            self.lifetimes = lifetimes
            self.limits = limits
            self.nodeGrace = nodeGrace
            self.refreshHint = refreshHint
        }
    }

    struct State: Sendable {
        var authorities: [AuthorityRecord]
        var sequence: UInt64
        var signer: SigningAuthority
        var nodes: [NodeName: NodeRecord]
        var allowances: [NodeName: NodeAllowance] = [:]
        var attestation: AttestationAllowance
        var counters = Counters()
        var renewing = false
    }

    struct Counters: Sendable, Equatable {
        var signed: UInt64 = 0
        var denied: UInt64 = 0
        var clamped: UInt64 = 0
        var deniedByReason: [String: UInt64] = [:]
        var storeErrors: UInt64 = 0
        var maintenance = FailureStreak()
    }

    public let configuration: Configuration
    /// The trust bundle, and whenever it changes.
    public let bundle: BundleFeed
    let store: any AuthorityStore
    let seal: KeySeal
    let pods: any PodRegistry
    let clock: WallClock
    let random: RandomBytes
    let audit: AuditTrail
    let state: Mutex<State>

    public var trustDomain: TrustDomain { configuration.trustDomain }

    /// Loads the authorities, or makes root and intermediate if the store has never had any, and checks that they can be used now.
    public static func open(
        _ configuration: Configuration,
        store: any AuthorityStore,
        seal: KeySeal,
        pods: any PodRegistry,
        clock: @escaping WallClock = { Date() },
        random: @escaping RandomBytes = systemRandomBytes,
        audit: @escaping AuditTrail = { _ in }
    ) async throws(AuthorityError) -> CertificateAuthority {
        do { try configuration.lifetimes.validate() } catch { throw .lifetimes(error) }
        let stored: StoredAuthorities
        let nodes: [NodeRecord]
        do {
            stored = try await store.authorities()
            nodes = try await store.nodes()
        } catch {
            throw .store(error)
        }
        let succession = AuthoritySuccession(
            trustDomain: configuration.trustDomain, lifetimes: configuration.lifetimes, seal: seal, random: random)
        let current = try succession.atStart(stored, now: clock())
        if let change = current.change {
            do { try await store.apply(change) } catch { throw .store(error) }
        }
        let authority = try CertificateAuthority(
            configuration, store: store, seal: seal, pods: pods, clock: clock, random: random, audit: audit,
            current: current, nodes: nodes)
        for record in current.activated {
            audit(.authorityActivated(record.id, record.kind, notAfter: record.certificate.notValidAfter))
        }
        return authority
    }

    private init(
        _ configuration: Configuration,
        store: any AuthorityStore,
        seal: KeySeal,
        pods: any PodRegistry,
        clock: @escaping WallClock,
        random: @escaping RandomBytes,
        audit: @escaping AuditTrail,
        current: AuthoritySuccession.Outcome,
        nodes: [NodeRecord]
    ) throws(AuthorityError) {
        self.configuration = configuration
        self.store = store
        self.seal = seal
        self.pods = pods
        self.clock = clock
        self.random = random
        self.audit = audit
        bundle = BundleFeed(
            try Self.bundle(of: current.authorities, sequence: current.sequence, configuration),
            subscribersMax: configuration.limits.bundleSubscribersMax)
        state = Mutex(
            State(
                authorities: current.authorities,
                sequence: current.sequence,
                signer: current.signer,
                nodes: Dictionary(uniqueKeysWithValues: nodes.map { ($0.name, $0) }),
                attestation: AttestationAllowance(configuration.limits, now: clock())
            ))
    }

    static func bundle(
        of authorities: [AuthorityRecord], sequence: UInt64, _ configuration: Configuration
    ) throws(AuthorityError) -> TrustBundle {
        do {
            return try TrustBundle(
                trustDomain: configuration.trustDomain,
                authorities: authorities.filter(\.isInBundle).map(\.certificate),
                sequence: sequence,
                refreshHint: configuration.refreshHint
            )
        } catch {
            throw .unfitCertificate("\(error)")
        }
    }

    /// Counts and reports a denial on its way out.
    func denied(_ denial: Denial, caller: String, subject: String) -> Denial {
        state.withLock { state in
            state.counters.denied += 1
            state.counters.deniedByReason[denial.label, default: 0] += 1
        }
        audit(.denied(denial, caller: caller, subject: subject))
        return denial
    }
}

/// What a caller gets: certificates, leaf first, root left out.
public struct IssuedSVID: Sendable {
    public let id: SPIFFEID
    public let certificates: [Certificate]
    public let record: IssuanceRecord

    public var notAfter: Date { record.notAfter }
}
