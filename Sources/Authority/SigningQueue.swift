internal import Glibc
internal import SPIFFE
internal import Synchronization

/// Who signs next when more is asked for than can be signed at once: a value without I/O.
///
/// What connections wait for goes first, then renewals, then the rest; among equals whoever came first. Nobody is kept longer than
/// makes sense for him: who would have to wait too long is told at once when to come back, so that calls do not run into their
/// deadlines and come again on top. Times are of a clock that only goes forward.
struct SigningQueue: Sendable {
    enum Admission: Sendable, Equatable {
        case now
        case wait(ticket: UInt64)
        case refused(retryAfter: Duration)
    }

    /// Well under a client's deadline, which is 10 s.
    static func waitMax(_ urgency: IssuanceUrgency) -> Duration {
        switch urgency {
        case .firstUse: .seconds(4)
        case .renewal: .seconds(2)
        case .background: .milliseconds(500)
        }
    }

    /// Whatever their waits would be.
    static let waitingMax = 16_384
    static let retryMin: Duration = .milliseconds(500)
    static let retryMax: Duration = .seconds(60)
    /// Of the newest interval in the average.
    private static let weight = 0.05

    private let concurrency: Int
    private var running = 0
    private var waiting: [IssuanceUrgency: Line] = [:]
    private var lastTicket: UInt64 = 0
    /// Between two that are done while others wait; in seconds. 0: not known yet.
    private var interval = 0.0
    private var lastDone: Duration?

    /// Tickets in the order of their coming.
    private struct Line {
        private var tickets: [UInt64] = []
        private var head = 0

        var count: Int { tickets.count - head }

        mutating func append(_ ticket: UInt64) { tickets.append(ticket) }

        mutating func next() -> UInt64? {
            guard head < tickets.count else { return nil }
            defer {
                head += 1
                if head > 1024, head * 2 > tickets.count {
                    tickets.removeFirst(head)
                    head = 0
                }
            }
            return tickets[head]
        }
    }

    init(concurrency: Int) { self.concurrency = max(1, concurrency) }

    var waitingCount: Int { waiting.values.reduce(0) { $0 + $1.count } }

    mutating func enter(_ urgency: IssuanceUrgency) -> Admission {
        if running < concurrency {
            running += 1
            return .now
        }
        let ahead = waiting.reduce(running) { $1.key >= urgency ? $0 + $1.value.count : $0 }
        let all = waitingCount
        guard all < Self.waitingMax, time(for: ahead) <= Self.waitMax(urgency) else {
            return .refused(retryAfter: min(Self.retryMax, max(Self.retryMin, time(for: all))))
        }
        lastTicket += 1
        waiting[urgency, default: Line()].append(lastTicket)
        return .wait(ticket: lastTicket)
    }

    /// One is done; the ticket that takes its place.
    mutating func leave(at now: Duration) -> UInt64? {
        for urgency in IssuanceUrgency.allCases.reversed() {
            guard let ticket = waiting[urgency]?.next() else { continue }
            if let lastDone {
                let passed = max(0, (now - lastDone) / .seconds(1))
                interval = interval == 0 ? passed : interval + (passed - interval) * Self.weight
            }
            lastDone = now
            return ticket
        }
        running -= 1
        lastDone = nil
        return nil
    }

    private func time(for count: Int) -> Duration { .milliseconds(Int64((Double(count) * interval * 1000).rounded())) }
}

/// Lets as many sign at once as there are cores, in the queue's order.
final class SigningGate: Sendable {
    private struct State {
        var queue: SigningQueue
        var waiters: [UInt64: CheckedContinuation<Denial?, Never>] = [:]
    }

    private let state: Mutex<State>

    init(concurrency: Int = sysconf(Int32(_SC_NPROCESSORS_ONLN))) {
        state = Mutex(State(queue: SigningQueue(concurrency: concurrency)))
    }

    /// Runs `body` when it is its turn.
    func signing<Value>(
        _ urgency: IssuanceUrgency, _ body: () throws(Denial) -> Value
    ) async throws(Denial) -> Value {
        if let denial = await enter(urgency) { throw denial }
        defer { leave() }
        // Its caller may have given up meanwhile.
        guard !Task.isCancelled else { throw .notReady("the caller has gone") }
        return try body()
    }

    private func enter(_ urgency: IssuanceUrgency) async -> Denial? {
        await withCheckedContinuation { turn in
            let outcome = state.withLock { state in
                let outcome = state.queue.enter(urgency)
                if case .wait(let ticket) = outcome { state.waiters[ticket] = turn }
                return outcome
            }
            switch outcome {
            case .now: turn.resume(returning: nil)
            case .wait: break
            case .refused(let after): turn.resume(returning: .rateLimited(retryAfter: after))
            }
        }
    }

    private func leave() {
        let now = Self.start.duration(to: ContinuousClock.now)
        let next = state.withLock { state in
            state.queue.leave(at: now).flatMap { state.waiters.removeValue(forKey: $0) }
        }
        next?.resume(returning: nil)
    }

    private static let start = ContinuousClock.now
}
