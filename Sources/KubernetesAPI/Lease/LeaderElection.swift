public import FoundationEssentials
public import Logging

/// Does something while we hold a lease, and only then.
public struct LeaderElection: Sendable {
    private let client: KubernetesClient
    private let key: ObjectKey
    private let identity: String
    private let now: @Sendable () -> Date
    private let logger: Logger
    private let timing: LeaseObservation.Timing

    /// `identity` is ours alone: a pod's name.
    public init(
        client: KubernetesClient, lease key: ObjectKey, identity: String, now: @escaping @Sendable () -> Date,
        logger: Logger
    ) {
        self.init(client: client, lease: key, identity: identity, now: now, logger: logger, timing: .init())
    }

    init(
        client: KubernetesClient, lease key: ObjectKey, identity: String, now: @escaping @Sendable () -> Date,
        logger: Logger, timing: LeaseObservation.Timing
    ) {
        self.client = client
        self.key = key
        self.identity = identity
        self.now = now
        self.logger = logger
        self.timing = timing
    }

    /// Until its task is cancelled: waits for the lease, runs `lead`, cancels it when the lease could not be renewed in time, and
    /// waits again. Gives the lease up at the end, so that another need not wait for it to run out.
    public func run(_ lead: @escaping @Sendable () async -> Void) async {
        var observation = LeaseObservation(key: key, identity: identity, timing: timing)
        while !Task.isCancelled {
            guard await acquired(&observation) else { break }
            logger.notice("Leading", metadata: ["lease": "\(key)"])
            observation = await leading(observation, lead)
            if !Task.isCancelled { logger.warning("No longer leading", metadata: ["lease": "\(key)"]) }
        }
        await release(&observation)
    }

    private func acquired(_ observation: inout LeaseObservation) async -> Bool {
        while !Task.isCancelled {
            if await attempt(&observation) { return true }
            // client-go's factor: those who wait do not ask in step.
            let jitter = 1 + Double.random(in: 0..<1.2)
            do { try await Task.sleep(for: timing.retryPeriod * jitter) } catch { return false }
        }
        return false
    }

    /// Until the lease is lost or the task is cancelled. `lead` has ended when it returns; one that ends by itself leaves the lease.
    private func leading(
        _ observation: LeaseObservation, _ lead: @escaping @Sendable () async -> Void
    ) async -> LeaseObservation {
        await withTaskGroup(of: LeaseObservation?.self) { group in
            group.addTask {
                await lead()
                return nil
            }
            group.addTask { await renewing(observation) }
            let first = await group.next() ?? nil
            group.cancelAll()
            let second = await group.next() ?? nil
            return first ?? second ?? observation
        }
    }

    private func renewing(_ start: LeaseObservation) async -> LeaseObservation {
        var observation = start
        while observation.isLeading(now: ContinuousClock.now) {
            do { try await Task.sleep(for: timing.retryPeriod) } catch { break }
            let attempt = observation
            let deadline = timing.retryPeriod * 2
            // One request that hangs must not outlast the lease.
            let next = try? await Deadline.race(deadline) {
                var attempt = attempt
                _ = await self.attempt(&attempt)
                return attempt
            }
            if let next { observation = next }
        }
        return observation
    }

    /// True when the lease is ours.
    private func attempt(_ observation: inout LeaseObservation) async -> Bool {
        let start = ContinuousClock.now
        do {
            let lease = try await current()
            switch observation.decide(lease, now: ContinuousClock.now, date: now()) {
            case .held: return false
            case .create(let lease): observation.written(try await client.create(lease), at: start)
            case .update(let lease): observation.written(try await client.update(lease), at: start)
            }
            return true
        } catch let error as KubernetesError {
            // Somebody was faster: ordinary.
            if error.reason != .conflict, error.reason != .alreadyExists {
                logger.warning("The lease cannot be had", metadata: ["lease": "\(key)", "reason": "\(error)"])
            }
            return false
        } catch { return false }
    }

    private func current() async throws -> Lease? {
        do {
            return try await client.get(Lease.self, name: key.name, namespace: key.namespace)
        } catch let error as KubernetesError where error.reason == .notFound { return nil }
    }

    private func release(_ observation: inout LeaseObservation) async {
        guard let lease = observation.release(date: now()) else { return }
        // Our own task is cancelled already.
        let client = client
        _ = await Task.detached { try? await Deadline.race(.seconds(5)) { try await client.update(lease) } }.value
    }
}
