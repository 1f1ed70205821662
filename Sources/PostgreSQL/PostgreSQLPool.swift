internal import Dispatch
internal import Synchronization

/// A few connections to one database, shared by any number of tasks.
///
/// Each connection has a queue of its own, where its calls may block: Swift's own threads never do. A transaction that failed before its end
/// could have become durable is run again, so its body may be called more than once. While no connection can be had, calls fail at
/// once, and every now and then, at growing intervals, one tries again.
public final class PostgreSQLPool: Sendable {
    public struct Options: Sendable {
        public var connectionsMax = 8
        /// How many calls may wait for a connection.
        public var waitingMax = 10_000
        /// For each statement, and for each wait for an answer.
        public var answerTimeout: Duration = .seconds(7)
        /// How often a transaction is run, at most.
        public var attemptsMax = 4
        /// Between two attempts to connect; the wait doubles from the first to the second.
        public var pauses: ClosedRange<Duration> = .milliseconds(250) ... .seconds(4)

        public init() {}
    }

    /// Whether the database could be reached, the last time that it was tried.
    public enum Availability: Sendable, Equatable {
        case available
        case unavailable(String)
    }

    private struct State {
        var idle: [PooledConnection]
        var waiting = WaitingLine()
        var outage: Outage?
    }

    private struct Outage {
        let error: PostgreSQLError
        let pause: Duration
        let until: ContinuousClock.Instant
    }

    public let address: PostgreSQLAddress
    private let settings: [(name: String, value: String)]
    private let options: Options
    private let changed: @Sendable (Availability) -> Void
    private let state: Mutex<State>

    /// Connects when it has to. `changed` is told once when an outage begins and once when it ends; it must not block.
    public init(
        _ address: PostgreSQLAddress, settings: [(name: String, value: String)] = [], options: Options = Options(),
        changed: @escaping @Sendable (Availability) -> Void = { _ in }
    ) {
        self.address = address
        self.settings = settings
        self.options = options
        self.changed = changed
        state = Mutex(State(idle: (0..<options.connectionsMax).map { _ in PooledConnection() }))
    }

    public func transaction<Value: Sendable>(
        _ kind: PostgreSQLConnection.Transaction, _ body: @escaping @Sendable (PostgreSQLConnection) throws -> Value
    ) async throws -> Value {
        try await withConnection { try $0.transaction(kind, body) }
    }

    /// For what is a transaction by itself.
    public func execute(_ statement: StaticString, _ values: [PostgreSQLValue]) async throws -> PostgreSQLResult {
        try await withConnection { try $0.execute(statement, values) }
    }

    /// Runs `body`, again where it failed without doing anything.
    public func withConnection<Value: Sendable>(
        _ body: @escaping @Sendable (PostgreSQLConnection) throws -> Value
    ) async throws -> Value {
        let pooled = try await taken()
        defer { giveBack(pooled) }
        return try await withCheckedThrowingContinuation { continuation in
            pooled.queue.async { continuation.resume(with: Result { try self.attempt(pooled, body) }) }
        }
    }

    /// On the connection's queue.
    private func attempt<Value>(_ pooled: PooledConnection, _ body: (PostgreSQLConnection) throws -> Value) throws
        -> Value
    {
        var attempts = 0
        while true {
            attempts += 1
            do {
                return try body(connected(pooled))
            } catch let error as PostgreSQLError where error.isTransient && attempts < options.attemptsMax {
                continue
            }
        }
    }

    private func connected(_ pooled: PooledConnection) throws(PostgreSQLError) -> PostgreSQLConnection {
        if let connection = pooled.connection {
            if !connection.isStale() { return connection }
            pooled.connection = nil
        }
        let connection = try connect(answerTimeout: options.answerTimeout)
        pooled.connection = connection
        return connection
    }

    /// A connection that belongs to the caller; blocks. During an outage fails at once, unless it is time to try.
    func connect(answerTimeout: Duration) throws(PostgreSQLError) -> PostgreSQLConnection {
        let outage = state.withLock { $0.outage }
        if let outage, ContinuousClock.now < outage.until { throw outage.error }
        do {
            let connection = try PostgreSQLConnection(address, settings: settings, answerTimeout: answerTimeout)
            let ended = state.withLock { state in
                defer { state.outage = nil }
                return state.outage != nil
            }
            if ended { changed(.available) }
            return connection
        } catch {
            let begun = state.withLock { state in
                let pause =
                    state.outage.map { min($0.pause * 2, options.pauses.upperBound) } ?? options.pauses.lowerBound
                defer { state.outage = Outage(error: error, pause: pause, until: .now + pause) }
                return state.outage == nil
            }
            if begun { changed(.unavailable(error.description)) }
            throw error
        }
    }

    // MARK: Turns

    private func taken() async throws(PostgreSQLError) -> PooledConnection {
        let pooled: PooledConnection? = await withCheckedContinuation { continuation in
            let answer: PooledConnection?? = state.withLock { state in
                if let pooled = state.idle.popLast() { return pooled }
                guard state.waiting.count < options.waitingMax else { return .some(nil) }
                state.waiting.append(continuation)
                return nil
            }
            if let answer { continuation.resume(returning: answer) }
        }
        guard let pooled else { throw .crowded }
        return pooled
    }

    private func giveBack(_ pooled: PooledConnection) {
        let next = state.withLock { state in
            let next = state.waiting.popFirst()
            if next == nil { state.idle.append(pooled) }
            return next
        }
        next?.resume(returning: pooled)
    }
}

/// A place for a connection; what is in it is touched on its queue only.
final class PooledConnection: @unchecked Sendable {
    let queue = DispatchQueue(label: "culvert.postgresql")
    var connection: PostgreSQLConnection?
}

/// First come, first served.
private struct WaitingLine {
    typealias Continuation = CheckedContinuation<PooledConnection?, Never>
    private var line: [Continuation] = []
    private var served = 0

    var count: Int { line.count - served }

    mutating func append(_ continuation: Continuation) { line.append(continuation) }

    mutating func popFirst() -> Continuation? {
        guard served < line.count else { return nil }
        defer {
            served += 1
            if served * 2 > line.count {
                line.removeFirst(served)
                served = 0
            }
        }
        return line[served]
    }
}
