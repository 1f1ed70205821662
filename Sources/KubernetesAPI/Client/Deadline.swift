import AsyncHTTPClient
import NIOCore
import Synchronization

enum Deadline {
    struct Passed: Error {}

    /// What `body` brings, unless it takes longer: it is cancelled then.
    static func race<Value: Sendable>(
        _ limit: Duration, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await Task.sleep(for: limit)
                throw Passed()
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw CancellationError() }
            return value
        }
    }
}

/// Reads a body from tasks that come one after another.
final class PieceReader: @unchecked Sendable {
    // One reader at a time, which the caller's awaiting sees to.
    private var iterator: HTTPClientResponse.Body.AsyncIterator

    init(_ body: HTTPClientResponse.Body) {
        iterator = body.makeAsyncIterator()
    }

    func next() async throws -> ByteBuffer? {
        try await iterator.next()
    }
}
