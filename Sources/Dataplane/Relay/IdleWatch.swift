import LinuxNetworking

/// Ends a connection on which no byte moved for as long as the configuration allows: a quarter of that late at most.
///
/// It looks at the connection's own counters now and then, so that moving bytes costs nothing.
final class IdleWatch {
    private unowned let worker: Worker
    private let limit: Duration
    private let moved: () -> UInt64
    private let expired: (ConnectionFailure) -> Void
    private var last: UInt64
    private var since: ContinuousClock.Instant
    private var timer: TimerToken?

    /// `nil` where nothing is limited.
    init?(_ worker: Worker, moved: @escaping () -> UInt64, expired: @escaping (ConnectionFailure) -> Void) {
        guard let limit = worker.configuration.streamIdleTimeout else { return nil }
        self.worker = worker
        self.limit = limit
        self.moved = moved
        self.expired = expired
        last = moved()
        since = worker.loop.now
        lookLater()
    }

    func stop() {
        if let timer { worker.loop.cancel(timer) }
        timer = nil
    }

    private func lookLater() {
        timer = worker.loop.schedule(after: limit / 4) { [weak self] in self?.look() }
    }

    private func look() {
        let count = moved()
        if count != last { (last, since) = (count, worker.loop.now) }
        guard since.duration(to: worker.loop.now) >= limit else { return lookLater() }
        timer = nil
        expired(ConnectionFailure(.timeout, "nothing was sent either way for \(limit)"))
    }
}
