internal import FoundationEssentials
public import SPIFFE
internal import Synchronization
internal import X509

extension CertificateAuthority {
    /// How often `maintain` is worth calling: often enough that the shortest-lived intermediate is replaced in time.
    public var maintenanceInterval: Duration {
        min(.seconds(60), max(.seconds(1), configuration.lifetimes.intermediate / 20))
    }

    /// Replaces the intermediate when it is time and forgets what has long expired. Call at start and every `maintenanceInterval`;
    /// a failure leaves everything as it was, to be tried again.
    public func maintain() async throws(AuthorityError) {
        try await noted { () async throws(AuthorityError) in try await tend(at: clock()) }
    }

    private func tend(at now: Date) async throws(AuthorityError) {
        guard
            state.withLock({ state in
                defer { state.renewing = true }
                return !state.renewing
            })
        else { return }
        defer { state.withLock { $0.renewing = false } }
        try await replaceIntermediate(at: now)
        do {
            try await store.prune(
                expiredBefore: now.advanced(by: .zero - AuthoritySuccession.memory),
                issuancesMax: configuration.limits.issuancesMax)
        } catch {
            throw .store(error)
        }
    }

    private func replaceIntermediate(at now: Date) async throws(AuthorityError) {
        let (records, sequence) = state.withLock { ($0.authorities, $0.sequence) }
        let succession = AuthoritySuccession(
            trustDomain: trustDomain, lifetimes: configuration.lifetimes, seal: seal, random: random)
        guard let outcome = try succession.successor(of: records, sequence: sequence, now: now) else { return }
        if let change = outcome.change {
            do { try await store.apply(change) } catch { throw .store(error) }
        }
        state.withLock { state in
            state.authorities = outcome.authorities
            state.sequence = outcome.sequence
            state.signer = outcome.signer
        }
        for record in outcome.activated {
            audit(.authorityActivated(record.id, record.kind, notAfter: record.certificate.notValidAfter))
        }
    }

    /// What the operator sees.
    public func status() -> AuthorityStatus {
        let now = clock()
        let (authorities, nodes, counters) = state.withLock { ($0.authorities, Array($0.nodes.values), $0.counters) }
        return AuthorityStatus(
            trustDomain: trustDomain,
            bundleSequence: bundle.current.sequence,
            authorities: authorities,
            nodes: nodes.sorted { $0.name < $1.name },
            signed: counters.signed,
            denied: counters.denied,
            clamped: counters.clamped,
            leafLifetime: configuration.lifetimes.leaf,
            warnings: AuthorityStatus.warnings(authorities, lifetimes: configuration.lifetimes, now: now)
        )
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
    /// What will go wrong if nobody acts.
    public let warnings: [String]

    static func warnings(
        _ authorities: [AuthorityRecord], lifetimes: AuthorityLifetimes, now: Date
    ) -> [String] {
        authorities.filter { $0.state == .active }.compactMap { record in
            let end = record.certificate.notValidAfter
            switch record.kind {
            case .intermediate where end < now.advanced(by: lifetimes.leaf):
                return "leaves are cut short: the intermediate ends at \(end.iso8601)"
            case .root where now >= end.addingTimeInterval(-record.life / 6):
                return "the root is in the last sixth of its life and ends at \(end.iso8601)"
            default:
                return nil
            }
        }
    }
}
