public import FoundationEssentials
public import SPIFFE
internal import Synchronization
internal import X509

extension CertificateAuthority {
    /// How often `maintain` is worth calling: often enough that the shortest-lived intermediate is replaced in time.
    public var maintenanceInterval: Duration {
        min(.seconds(60), max(.seconds(1), configuration.lifetimes.intermediate / 20))
    }

    /// Replaces the intermediate when it is time, takes the steps of rotation that are due, and forgets what has long expired. Call at
    /// start and every `maintenanceInterval`; a failure leaves everything as it was, to be tried again. Of several processes on one
    /// store only the one that leads does it.
    public func maintain() async throws(AuthorityError) {
        try await noted { () async throws(AuthorityError) in try await tend() }
    }

    private func tend() async throws(AuthorityError) {
        guard store.leads else { return }
        try await advance()
        do {
            try await store.prune(
                expiredBefore: clock().advanced(by: .zero - AuthoritySuccession.memory),
                issuancesMax: configuration.limits.issuancesMax)
        } catch {
            throw .store(error)
        }
    }

    /// Maintains until cancelled: every `maintenanceInterval`, when a step is due by time, and when a node has reported what one waits
    /// for. To be run once.
    public func keepMaintained(onFailure: @Sendable (AuthorityError) -> Void) async {
        var prunedAt = ContinuousClock.now
        var timer: Task<Void, Never>?
        defer { timer?.cancel() }
        wakeUps.continuation.yield()
        for await _ in wakeUps.stream {
            do throws(AuthorityError) {
                if .now - prunedAt >= maintenanceInterval {
                    prunedAt = .now
                    try await maintain()
                } else {
                    try await noted { () async throws(AuthorityError) in try await advance() }
                }
            } catch {
                // What was cut short by the end of the task has not failed.
                if Task.isCancelled { return }
                onFailure(error)
            }
            timer?.cancel()
            timer = Task { [wakeUps, pause = pauseBeforeMaintenance] in
                guard (try? await Task.sleep(for: pause)) != nil else { return }
                wakeUps.continuation.yield()
            }
            // However many nodes report: ten times a second at most.
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    private var pauseBeforeMaintenance: Duration {
        let (next, isRotating) = state.withLock { ($0.nextStepAt, $0.rotation.rotation != nil) }
        let due = next.map { Duration.seconds(min(max(0.1, $0.timeIntervalSince(clock())), 60)) } ?? .seconds(60)
        return min(maintenanceInterval, due, isRotating ? .seconds(1) : .seconds(60))
    }

    /// What is due by now, once: the intermediate first, as leaves wait for it.
    private func advance() async throws(AuthorityError) {
        guard store.leads else { return }
        try await turnstile.pass { () async throws(AuthorityError) in
            var failure: AuthorityError?
            do throws(AuthorityError) {
                try await replaceIntermediate()
            } catch {
                // Another process has: the next line sees it.
                if error != .store(.conflict) { failure = error }
            }
            try await settle()
            if let failure { throw failure }
        }
    }

    /// Behind the turnstile, as is all that changes the authorities.
    func replaceIntermediate() async throws(AuthorityError) {
        let now = clock()
        guard state.withLock({ $0.plugin == nil }) else { return }
        let (records, sequence) = state.withLock { ($0.authorities, $0.sequence) }
        let succession = keeper.succession
        guard let outcome = try succession.successor(of: records, sequence: sequence, now: now) else { return }
        let signer = try SigningAuthority(outcome.activated, seal: seal)
        do { try await store.apply(outcome.change) } catch { throw .store(error) }
        state.withLock { state in
            state.authorities = outcome.authorities
            state.signer = signer
        }
        auditActivation(outcome.activated)
    }

    func auditActivation(_ record: AuthorityRecord) {
        audit(.authorityActivated(record.id, record.kind, notAfter: record.certificate.notValidAfter))
    }

    private func warnings(
        _ authorities: [AuthorityRecord], now: Date
    ) -> [String] {
        let own =
            pluginStatus(now: now)?.warnings
            ?? AuthorityStatus.warnings(authorities, lifetimes: configuration.lifetimes, now: now)
        return own + (olderCopy.map { ["\($0); \($0.hint ?? "")"] } ?? [])
    }

    /// What the next step waits for. Who leads has found out; who follows would find the same.
    private func pause(_ state: State, now: Date) -> (RotationRefusal?, Date?) {
        guard state.plugin == nil, store.isShared, !store.leads else { return (state.waiting, state.nextStepAt) }
        let issuers = StoredAuthorities(trustDomain: nil, records: state.authorities, sequence: 0).roots
        let nodes = state.nodes.values.compactMap { RotationNode($0, issuers: issuers, now: now) }
        return keeper.machine.decide(.tick, in: state.rotation, RotationSituation(now: now, nodes: nodes)).pause
    }

    /// What the operator sees.
    public func status() -> AuthorityStatus {
        let now = clock()
        let state = state.withLock { $0 }
        let (authorities, counters) = (state.authorities, state.counters)
        let (waiting, nextStepAt) = pause(state, now: now)
        var status = AuthorityStatus(
            trustDomain: trustDomain,
            bundleSequence: bundle.current.sequence,
            authorities: authorities,
            nodes: state.nodes.values.sorted { $0.name < $1.name },
            signed: counters.signed,
            denied: counters.denied,
            clamped: counters.clamped,
            leafLifetime: configuration.lifetimes.leaf,
            rotation: state.rotation,
            waiting: waiting,
            nextStepAt: nextStepAt,
            follows: store.isShared && !store.leads,
            policy: keeper.machine.policy,
            plugin: pluginStatus(now: now),
            warnings: warnings(authorities, now: now)
        )
        status.warnings += status.cutOffWarnings
        return status
    }
}

/// The authority at one moment.
public struct AuthorityStatus: Sendable, Equatable {
    public let trustDomain: TrustDomain
    public let bundleSequence: UInt64
    public let authorities: [AuthorityRecord]
    public let nodes: [NodeRecord]
    /// Since the process started, as are the next two.
    public let signed: UInt64
    public let denied: UInt64
    /// Leaves that ended earlier than configured because their issuer does.
    public let clamped: UInt64
    public let leafLifetime: Duration
    /// The roots, and the rotation that is under way.
    public let rotation: RotationState
    /// What the next step, which is due, waits for.
    public let waiting: RotationRefusal?
    /// When a step will be due, by time alone.
    public let nextStepAt: Date?
    /// Another authority on the same store leads: it takes the steps.
    public let follows: Bool
    public let policy: RotationPolicy
    /// nil unless a plug-in CA signs.
    public let plugin: PluginStatus?
    /// What will go wrong if nobody acts.
    public internal(set) var warnings: [String]

    /// What live nodes say depends on each authority: on an intermediate the leaves that it signed, on a root all that chain to it.
    public var dependents: [AuthorityID: Dependents] {
        let roots = StoredAuthorities(trustDomain: nil, records: authorities, sequence: 0).roots
        var dependents: [AuthorityID: Dependents] = [:]
        for node in nodes where !node.banned {
            for leaves in node.acknowledgement?.leaves ?? [] {
                guard let id = AuthorityID(leaves.authority) else { continue }
                for id in Set([id, roots[id] ?? id]) {
                    dependents[id, default: Dependents()].leaves += UInt64(leaves.count)
                    dependents[id, default: Dependents()].connections += UInt64(leaves.connections)
                }
            }
        }
        return dependents
    }

    public struct Dependents: Sendable, Equatable {
        public var leaves: UInt64
        public var connections: UInt64

        public init(leaves: UInt64 = 0, connections: UInt64 = 0) {
            self.leaves = leaves
            self.connections = connections
        }
    }

    static func warnings(
        _ authorities: [AuthorityRecord], lifetimes: AuthorityLifetimes, now: Date
    ) -> [String] {
        authorities.filter { $0.state == .active }.compactMap { record in
            let end = record.certificate.notValidAfter
            switch record.kind {
            case .intermediate where end < now.advanced(by: lifetimes.leaf):
                return "leaves are cut short: the intermediate ends at \(end.iso8601)"
            case .root where now >= end.addingTimeInterval(-record.life / 6):
                return "the root is in the last sixth of its life, has not been replaced, and ends at \(end.iso8601)"
            default:
                return nil
            }
        }
    }
}
