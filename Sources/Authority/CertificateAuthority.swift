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
        /// When roots follow one another, and what that waits for; nil: as the lifetimes suggest.
        public var rotation: RotationPolicy?
        /// The plug-in CA that signs; nil: the authority makes its own.
        public var plugin: PluginFiles?
        /// What nodes that lost the bundle stream are told to wait before they ask again; in seconds.
        public var refreshHint: Int
        /// Beside the authority's SPIFFE ID in the certificate that it serves under.
        public var servingNames: [ServingName] = []
        /// Who knows nodes by tokens that are no join tokens; nil: nobody.
        public var nodeTokens: (any NodeTokenReviewer)?

        public init(
            trustDomain: TrustDomain,
            lifetimes: AuthorityLifetimes = AuthorityLifetimes(),
            limits: AuthorityLimits = AuthorityLimits(),
            nodeGrace: Duration = .seconds(7 * 86400),
            rotation: RotationPolicy? = nil,
            plugin: PluginFiles? = nil,
            refreshHint: Int = 300
        ) {
            self.trustDomain = trustDomain
            self.lifetimes = lifetimes
            self.limits = limits
            self.nodeGrace = nodeGrace
            self.rotation = rotation
            self.plugin = plugin
            self.refreshHint = refreshHint
        }
    }

    struct State: Sendable {
        var authorities: [AuthorityRecord]
        var sequence: UInt64
        var signer: SigningAuthority
        var nodes: [NodeName: NodeRecord]
        var allowances: [NodeName: NodeAllowance] = [:]
        /// SVIDs of nodes whose successors have just been seen, and until when calls with them count as under way.
        var draining: [NodeName: (serial: String, until: Date)] = [:]
        /// What nodes held before they attested anew or were forgotten; calls with it are refused, and no sign of a copy until then.
        var voided: [NodeName: (serials: Set<String>, until: Date)] = [:]
        var attestation: AttestationAllowance
        var counters = Counters()
        /// Whether or not they were released.
        var signatures: UInt64 = 0
        var rotation: RotationState
        /// nil unless a plug-in CA signs.
        var plugin: PluggedIn?
        /// Why the files that lie there now are not in force.
        var pluginFlaw: PluginFlaw?
        /// A node that holds a bundle which this authority has not published yet.
        var ahead: (node: NodeName, sequence: UInt64)?
        /// What the next step, which is due, waits for.
        var waiting: RotationRefusal? { didSet { awaited = Set(waiting?.nodes ?? []) } }
        /// The nodes that it waits for, for each acknowledgement to be looked up in.
        private(set) var awaited: Set<NodeName> = []
        /// When a step will be due, by time alone.
        var nextStepAt: Date?
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
    let issuanceLog: IssuanceLog
    let gate = SigningGate()
    let seal: KeySeal
    let pods: any PodRegistry
    let clock: WallClock
    let random: RandomBytes
    let audit: AuditTrail
    let keeper: RotationKeeper
    let state: Mutex<State>
    /// Whoever changes the authorities goes through here, so that there is one writer.
    let turnstile = Turnstile()
    /// Whenever maintenance may have something to do before its time.
    let wakeUps: (stream: AsyncStream<Void>, continuation: AsyncStream<Void>.Continuation)

    public var trustDomain: TrustDomain { configuration.trustDomain }

    /// Loads the authorities, or makes root and intermediate if the store has never had any, takes the steps that are due, and checks
    /// that what there is then can be used now.
    public static func open(
        _ configuration: Configuration,
        store: any AuthorityStore & RotationJournal,
        seal: KeySeal,
        pods: any PodRegistry,
        clock: @escaping WallClock = { Date() },
        random: @escaping RandomBytes = systemRandomBytes,
        audit: @escaping AuditTrail = { _ in }
    ) async throws(AuthorityError) -> CertificateAuthority {
        var attempts = 0
        while true {
            attempts += 1
            do throws(AuthorityError) {
                return try await open(
                    configuration, store: store, journal: store, seal: seal, pods: pods, clock: clock, random: random,
                    audit: audit)
            } catch {
                // Another process has been quicker, perhaps at the very first start: what it has done is there now.
                guard error == .store(.conflict), attempts < 10 else { throw error }
            }
        }
    }

    static func open(
        _ configuration: Configuration,
        store: any AuthorityStore,
        journal: any RotationJournal,
        seal: KeySeal,
        pods: any PodRegistry,
        clock: @escaping WallClock,
        random: @escaping RandomBytes,
        audit: @escaping AuditTrail
    ) async throws(AuthorityError) -> CertificateAuthority {
        do { try configuration.lifetimes.validate() } catch { throw .lifetimes(error) }
        let nodes: [NodeRecord]
        do { nodes = try await store.nodes() } catch { throw .store(error) }
        let keeper = RotationKeeper(
            trustDomain: configuration.trustDomain, lifetimes: configuration.lifetimes, policy: configuration.rotation,
            journal: journal, seal: seal, random: random)
        if let files = configuration.plugin {
            let (plugin, current) = try await plugIn(files, configuration, store: store, nodes: nodes, now: clock())
            let authority = try CertificateAuthority(
                configuration, store: store, keeper: keeper, seal: seal, pods: pods, clock: clock, random: random,
                audit: audit, current: current, nodes: nodes, plugin: plugin)
            authority.auditSigner()
            return authority
        }
        try await checkKind(of: store)
        var current = try await keeper.recover(now: clock())
        try checkClock(clock(), current)
        // At the first start there is nobody to wait for: a root is prepared and signs at once.
        while current.state.active == nil {
            let outcome = try await keeper.handle(.tick, now: clock(), nodes: nodes)
            switch outcome.decision {
            case .commit(let record, _): audit(.rotated(record, by: nil))
            case .refuse(let refusal): throw .rotation(refusal)
            // Another process may have taken the step.
            default: guard outcome.state.active != nil else { throw .noRoot }
            }
            current = outcome
        }
        let authority = try CertificateAuthority(
            configuration, store: store, keeper: keeper, seal: seal, pods: pods, clock: clock, random: random,
            audit: audit, current: current, nodes: nodes)
        try authority.checkRoot()
        if !store.isShared { try await authority.settle() }
        try await authority.replaceIntermediate()
        return authority
    }

    private init(
        _ configuration: Configuration,
        store: any AuthorityStore,
        keeper: RotationKeeper,
        seal: KeySeal,
        pods: any PodRegistry,
        clock: @escaping WallClock,
        random: @escaping RandomBytes,
        audit: @escaping AuditTrail,
        current: RotationKeeper.Outcome,
        nodes: [NodeRecord],
        plugin: (plugin: PluggedIn, bundle: TrustBundle)? = nil
    ) throws(AuthorityError) {
        self.configuration = configuration
        self.store = store
        self.keeper = keeper
        issuanceLog = IssuanceLog(store: store)
        self.seal = seal
        self.pods = pods
        self.clock = clock
        self.random = random
        self.audit = audit
        wakeUps = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let (signer, first): (SigningAuthority, TrustBundle)
        if let plugin {
            (signer, first) = (plugin.plugin.inForce.signer, plugin.bundle)
        } else {
            signer = try Self.signer(of: current.authorities.records, seal: seal)
            first = try Self.bundle(of: current.authorities, configuration)
        }
        bundle = BundleFeed(
            first, subscribersMax: configuration.limits.bundleSubscribersMax)
        bundle.publish(bundle.current, tainted: current.state.tainted)
        state = Mutex(
            State(
                authorities: current.authorities.records,
                sequence: current.authorities.sequence,
                signer: signer,
                nodes: Dictionary(uniqueKeysWithValues: nodes.map { ($0.name, $0) }),
                attestation: AttestationAllowance(configuration.limits, now: clock()),
                rotation: current.state,
                plugin: plugin?.plugin
            ))
    }

    /// Before a step is taken: by a clock that is behind the active root nothing can be decided.
    private static func checkClock(_ now: Date, _ current: RotationKeeper.Outcome) throws(AuthorityError) {
        guard let active = current.state.active, now < active.notBefore else { return }
        throw .clockBeforeRoot(now: now, notBefore: active.notBefore)
    }

    private func checkRoot() throws(AuthorityError) {
        let records = state.withLock { $0.authorities }
        guard let root = records.first(where: { $0.kind == .root && $0.state == .active }) else { throw .noRoot }
        // Opened at every start, so that a wrong key file is found now and not when the intermediate runs out.
        _ = try SigningAuthority(root, seal: seal)
    }

    /// The one intermediate that signs leaves.
    static func signer(of records: [AuthorityRecord], seal: KeySeal) throws(AuthorityError) -> SigningAuthority {
        guard let active = records.first(where: { $0.kind == .intermediate && $0.state == .active }) else {
            throw .noRoot
        }
        return try SigningAuthority(active, seal: seal)
    }

    static func bundle(
        of stored: StoredAuthorities, _ configuration: Configuration
    ) throws(AuthorityError) -> TrustBundle {
        do {
            return try TrustBundle(
                trustDomain: configuration.trustDomain,
                authorities: stored.records.filter(\.isInBundle).map(\.certificate),
                sequence: stored.sequence,
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
    /// DER.
    public let chain: [[UInt8]]
    public let record: IssuanceRecord

    /// The same, decoded.
    public var certificates: [Certificate] { chain.compactMap { try? Certificate(derEncoded: $0) } }

    public var notAfter: Date { record.notAfter }
}
