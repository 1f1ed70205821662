public import FoundationEssentials
public import Logging
public import SPIFFE
internal import X509

/// Keeps an SVID for every identity that a pod of this node holds: issued, checked, renewed in time.
///
/// Decisions are `IdentityLedger`'s. What is published has been proven to fit its key, its identity and the trust bundle. When
/// renewal fails the old SVID stays in use until it expires.
public actor SVIDManager {
    /// Takes each new SVID; called in order per identity, must not block.
    public typealias Publish = @Sendable (SPIFFEID, X509SVID, _ generation: UInt64) -> Void
    /// Told that nobody holds an identity any more.
    public typealias Withdraw = @Sendable (SPIFFEID) -> Void

    /// Time and chance, passed in.
    public struct Surroundings: Sendable {
        public var now: @Sendable () -> Date
        public var sleep: @Sendable (Duration) async throws -> Void
        /// Uniform in 0..<1.
        public var draw: @Sendable () -> Double

        public init(
            now: @escaping @Sendable () -> Date = { Date() },
            sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) },
            draw: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) }
        ) {
            self.now = now
            self.sleep = sleep
            self.draw = draw
        }
    }

    /// Never sleeps longer: a wall clock that was set is noticed within this time.
    private static let sleepMax: Duration = .seconds(30)

    private let issuer: any SVIDIssuer
    private let bundles: @Sendable () -> TrustBundleSet
    private let surroundings: Surroundings
    private let logger: Logger
    private let publish: Publish
    private let withdraw: Withdraw
    private var ledger = IdentityLedger()
    private let wakeUps: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    public init(
        issuer: any SVIDIssuer,
        bundles: @escaping @Sendable () -> TrustBundleSet,
        surroundings: Surroundings = Surroundings(),
        logger: Logger,
        publish: @escaping Publish,
        withdraw: @escaping Withdraw = { _ in }
    ) {
        self.issuer = issuer
        self.bundles = bundles
        self.surroundings = surroundings
        self.logger = logger
        self.publish = publish
        self.withdraw = withdraw
        (wakeUps, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// The pod needs the identity from now on. Returns at once; the SVID arrives through `publish`.
    public func hold(podUID: String, identity: SPIFFEID) {
        ledger.hold(podUID: podUID, identity: identity, now: surroundings.now())
        wake.yield()
    }

    /// The pod is gone.
    public func release(podUID: String) {
        for identity in ledger.release(podUID: podUID) {
            logger.debug("Identity released", metadata: ["identity": "\(identity)"])
            withdraw(identity)
        }
    }

    /// Nothing should depend on these keys any more: what does is renewed at once, spread over a few seconds, and stays in use until then.
    public func taint(_ signers: Set<String>) {
        ledger.taint(signers, now: surroundings.now(), draw: surroundings.draw)
        wake.yield()
    }

    /// Returns when the identity's SVID has been published, at the latest after `limit`.
    public func waitForSVID(of identity: SPIFFEID, atMost limit: Duration) async {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end, !Task.isCancelled {
            let status = ledger.status(of: identity)
            if status?.isReady(now: surroundings.now()) == true { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    public var statuses: [IdentityStatus] { ledger.statuses() }

    /// One line for each identity that connections cannot be made under; empty means ready.
    public var obstacles: [String] {
        let now = surroundings.now()
        return ledger.statuses().filter { !$0.isReady(now: now) }.map { $0.description(now: now) }
    }

    /// Works until cancelled. To be run once.
    public func run() async {
        await withDiscardingTaskGroup { group in
            // A stream that ends on cancellation ends the loop.
            wake.yield()
            for await _ in wakeUps {
                // What connections wait for is not to wait for renewals.
                let requests = Dictionary(grouping: ledger.start(now: surroundings.now()), by: \.urgency)
                for together in requests.values { group.addTask { await self.perform(together) } }
                let pause = ledger.nextDue().map { due in
                    Duration.seconds(min(max(due.timeIntervalSince(surroundings.now()), 0.001), 3600))
                }
                let timer = min(pause ?? Self.sleepMax, Self.sleepMax)
                rearm(timer)
            }
            timer?.cancel()
            group.cancelAll()
        }
    }

    private var timer: Task<Void, Never>?

    private func rearm(_ pause: Duration) {
        timer?.cancel()
        timer = Task { [surroundings, wake] in
            guard (try? await surroundings.sleep(pause)) != nil else { return }
            wake.yield()
        }
    }

    /// They are asked for together.
    private func perform(_ requests: [IdentityLedger.Request]) async {
        for (request, outcome) in zip(requests, await issued(requests)) {
            switch outcome {
            case .success(let svid): accept(svid, for: request)
            case .failure(let error): refuse(error, for: request)
            }
        }
        wake.yield()
    }

    private nonisolated func issued(
        _ requests: [IdentityLedger.Request]
    ) async -> [Result<X509SVID, IssuanceError>] {
        let asked = requests.map { request in
            Result { () throws(IssuanceError) in (request, try Self.request(for: request)) }
        }
        let made = asked.compactMap { try? $0.get() }
        var answers = await issuer.issue(
            made.map { request, asked in
                IssuanceRequest(
                    podUID: request.podUID, identity: request.identity, csr: asked.csr, urgency: request.urgency)
            })[...]
        return asked.map { asked in
            asked.flatMap { request, asked in
                guard let answer = answers.popFirst() else {
                    return .failure(IssuanceError(.unreachable, "the authority's answer is incomplete"))
                }
                return answer.flatMap { certificates in
                    Result { () throws(IssuanceError) in try checked(certificates, request, asked.key) }
                }
            }
        }
    }

    private static func request(for request: IdentityLedger.Request) throws(IssuanceError) -> IdentityRequest {
        do {
            return try IdentityRequest(uri: request.identity.description)
        } catch {
            throw IssuanceError(.retry(after: nil), "the signing request could not be made: \(error)")
        }
    }

    private nonisolated func checked(
        _ certificates: [Certificate], _ request: IdentityLedger.Request, _ key: Certificate.PrivateKey
    ) throws(IssuanceError) -> X509SVID {
        do {
            return try ReceivedSVID.check(
                certificates, key: key, identity: request.identity, bundles: bundles(), now: surroundings.now())
        } catch {
            throw IssuanceError(.retry(after: nil), "\(error)")
        }
    }

    private func accept(_ svid: X509SVID, for request: IdentityLedger.Request) {
        // From now: authorities date certificates back, and of a short life that would leave nothing before the renewal.
        let generation = ledger.succeeded(
            request.identity, notBefore: min(surroundings.now(), svid.notAfter), notAfter: svid.notAfter,
            signers: svid.signers, draw: surroundings.draw())
        guard let generation else { return }
        logger.info(
            "SVID received",
            metadata: [
                "identity": "\(svid.id)", "serial": "\(svid.serialNumber)",
                "notAfter": "\(svid.notAfter.formatted(.iso8601))",
                "generation": "\(generation)", "first": "\(request.isFirst)",
            ])
        publish(request.identity, svid, generation)
    }

    private func refuse(_ error: IssuanceError, for request: IdentityLedger.Request) {
        guard !Task.isCancelled else { return }
        let now = surroundings.now()
        ledger.failed(request, error, now: now, draw: surroundings.draw())
        guard let status = ledger.status(of: request.identity) else { return }
        logger.warning(
            "SVID not received",
            metadata: [
                "identity": "\(request.identity)", "pod": "\(request.podUID)",
                "reason": "\(status.description(now: now))",
            ])
    }
}
