internal import PostgreSQL
internal import Synchronization

extension PostgreSQLAuthorityStore {
    /// Who leads. Kept with the time until which it may be believed: a watch that hangs leads no longer.
    struct Standing {
        var leadsUntil: ContinuousClock.Instant?
    }

    /// How often the leader's connection is tried, and by others the lock.
    private static let heartbeat: Duration = .seconds(1)
    /// Without a beat for so long nobody leads.
    private static let patience: Duration = .seconds(8)
    /// How often everything is read again though nobody said anything.
    private static let polling: Duration = .seconds(5)
    /// Between two attempts to watch.
    private static let pause: Duration = .milliseconds(500)
    /// Of the advisory lock that the leader holds.
    private static let leadership: Int64 = 4_860_704_720_185_098_242

    public var isShared: Bool { true }
    public var leads: Bool { standing.withLock { $0.leadsUntil.map { .now < $0 } ?? false } }

    public func follow(_ changed: @escaping @Sendable (StoreNews) async -> Void) async {
        while !Task.isCancelled {
            // That no connection can be had is said by the pool.
            try? await watch(changed)
            standing.withLock { $0.leadsUntil = nil }
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func watch(_ changed: @escaping @Sendable (StoreNews) async -> Void) async throws {
        let watch = try await PostgreSQLWatch.open(
            pool, listen: ["LISTEN culvert_authorities", "LISTEN culvert_nodes"], lock: Self.leadership)
        defer { standing.withLock { $0.leadsUntil = nil } }
        var beatAt = ContinuousClock.now - Self.heartbeat
        var readAt = ContinuousClock.now - Self.polling
        var holdsLock = false
        while !Task.isCancelled {
            if .now - beatAt >= Self.heartbeat {
                beatAt = .now
                if holdsLock {
                    try await watch.beat()
                } else {
                    holdsLock = try await watch.tryLock()
                    // Whoever led before may have done what nobody was told.
                    if holdsLock { readAt = .now - Self.polling }
                }
            }
            if holdsLock { standing.withLock { $0.leadsUntil = beatAt + Self.patience } }
            if .now - readAt >= Self.polling {
                readAt = .now
                await changed(.anything)
            }
            let notifications = try await watch.notifications(within: .milliseconds(250))
            if notifications.contains(where: { $0.channel == "culvert_authorities" }) { await changed(.authorities) }
            for name in Set(notifications.filter { $0.channel == "culvert_nodes" }.map(\.payload)) {
                guard let node = try? NodeName(name) else { continue }
                await changed(.node(node))
            }
        }
    }
}
