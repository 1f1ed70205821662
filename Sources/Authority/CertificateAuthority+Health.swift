internal import Crypto
public import FoundationEssentials
internal import SPIFFE
internal import Synchronization
internal import X509

/// What the authority has counted since it started.
public struct AuthorityCounts: Sendable, Equatable {
    public var deniedByReason: [String: UInt64]
    /// Writes and reads that the store did not do.
    public var storeErrors: UInt64
    public var maintenance: FailureStreak
}

extension CertificateAuthority {
    public var counts: AuthorityCounts {
        let counters = state.withLock { $0.counters }
        return AuthorityCounts(
            deniedByReason: counters.deniedByReason, storeErrors: counters.storeErrors,
            maintenance: counters.maintenance)
    }

    /// Counts whether maintenance got through.
    func noted(_ maintenance: () async throws(AuthorityError) -> Void) async throws(AuthorityError) {
        do {
            try await maintenance()
            state.withLock { $0.counters.maintenance.succeeded() }
        } catch {
            state.withLock { $0.counters.maintenance.failed("\(error)") }
            throw error
        }
    }

    /// Signs for a key that is thrown away, and verifies that as any peer would: with the bundle that is published. Neither recorded nor
    /// released. The reason if it fails.
    public func signatureObstacle() -> String? {
        let now = clock()
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        do throws(Denial) {
            let id = try healthIdentity
            guard let certifiable = try? CertifiableKey(key.publicKey) else { return "a key cannot be encoded" }
            let svid = try sign(id, key: certifiable, podUID: nil, node: nil, now: now)
            let verifier = PeerVerifier(bundles: TrustBundleSet([bundle.current]))
            for role in PeerVerifier.Role.allCases {
                if case .refused(let reason) = verifier.verify(chainDER: svid.chain, role: role, now: now) {
                    return "what it signs does not verify under the published bundle: \(reason)"
                }
            }
            return nil
        } catch {
            return "\(error)"
        }
    }

    private var healthIdentity: SPIFFEID {
        get throws(Denial) {
            do {
                return try SPIFFEID(trustDomain: trustDomain, path: "\(ReservedIdentity.prefix)/health-check")
            } catch {
                throw .identityRefused("\(error)")
            }
        }
    }

    /// When the newest signature in the store was made; nil if there is none, or the store cannot be read.
    public func newestSignature() async -> Date? {
        do throws(StoreError) {
            return try await store.issuances(limit: 1).first?.issuedAt
        } catch {
            state.withLock { $0.counters.storeErrors += 1 }
            return nil
        }
    }

    /// The reason if the store cannot be read.
    public func storeObstacle() async -> String? {
        do throws(StoreError) {
            _ = try await store.authorities()
            return nil
        } catch {
            state.withLock { $0.counters.storeErrors += 1 }
            return "the store cannot be read: \(error)"
        }
    }
}

/// Whether the authority can do its work, found out at most every few seconds however often it is asked.
public actor AuthorityHealth {
    /// One failure is tried again before anybody is told: it may have been a moment's.
    public static let maintenanceFailuresMax: UInt64 = 3

    private let authority: CertificateAuthority
    private let interval: Duration
    private let now: @Sendable () -> ContinuousClock.Instant
    private var examined: (at: ContinuousClock.Instant, obstacle: String?)?
    private var examination: Task<String?, Never>?

    public init(
        _ authority: CertificateAuthority, interval: Duration = .seconds(3),
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.authority = authority
        self.interval = interval
        self.now = now
    }

    /// Every reason why it cannot, in one line; nil when it can.
    public var obstacle: String? {
        get async {
            if let examined, now() < examined.at + interval { return examined.obstacle }
            if let examination { return await examination.value }
            let examination = Task { await examine() }
            self.examination = examination
            let obstacle = await examination.value
            examined = (now(), obstacle)
            self.examination = nil
            return obstacle
        }
    }

    private func examine() async -> String? {
        var obstacles = [authority.signatureObstacle(), await authority.storeObstacle()]
        let maintenance = authority.counts.maintenance
        if maintenance.consecutive >= Self.maintenanceFailuresMax {
            obstacles.append(
                "maintenance has failed \(maintenance.consecutive) times in a row: \(maintenance.reason ?? "")")
        }
        let found = obstacles.compactMap { $0 }
        return found.isEmpty ? nil : found.joined(separator: "; ")
    }
}
