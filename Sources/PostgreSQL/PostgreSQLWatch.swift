internal import Dispatch
internal import Synchronization

/// A connection of its own that listens, and that holds a lock as long as it lives: what its process leads by.
///
/// The server lets go of the lock with the connection, however that ends. So who has it can have lost it and not know it for a moment:
/// what is done under it has to be safe without it.
public final class PostgreSQLWatch: Sendable {
    public typealias Notification = PostgreSQLConnection.Notification

    private let pooled = PooledConnection()
    private let lock: Int64
    private let answerTimeout: Duration

    private init(lock: Int64, answerTimeout: Duration) {
        self.lock = lock
        self.answerTimeout = answerTimeout
    }

    /// Connects and runs `listen`, a LISTEN for each channel. `lock` is an advisory lock's number.
    public static func open(
        _ pool: PostgreSQLPool, listen: [StaticString], lock: Int64, answerTimeout: Duration = .seconds(3)
    ) async throws -> PostgreSQLWatch {
        let watch = PostgreSQLWatch(lock: lock, answerTimeout: answerTimeout)
        try await watch.run { pooled in
            let connection = try pool.connect(answerTimeout: answerTimeout)
            for statement in listen { try connection.execute(statement) }
            pooled.connection = connection
        }
        return watch
    }

    /// Takes the lock if nobody has it.
    public func tryLock() async throws -> Bool {
        let lock = lock
        return try await run { pooled in
            guard let connection = pooled.connection else { throw PostgreSQLError.unreachable("closed") }
            return try connection.execute("SELECT pg_try_advisory_lock($1)", [.integer(lock)]).rows[0].boolean(0)
        }
    }

    /// Asks for an answer: a connection that gives none is none.
    public func beat() async throws {
        try await run { _ = try $0.connection?.execute("SELECT 1") }
    }

    /// Waits, for `time` at most.
    public func notifications(within time: Duration) async throws -> [Notification] {
        try await run { try $0.connection?.notifications(within: time) ?? [] }
    }

    private func run<Value: Sendable>(
        _ body: @escaping @Sendable (PooledConnection) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            pooled.queue.async { [pooled] in continuation.resume(with: Result { try body(pooled) }) }
        }
    }
}
