import LinuxNetworking

extension EventLoop {
    /// Runs `body` on the loop's thread and returns what it returned.
    func call<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            execute { continuation.resume(with: Result(catching: body)) }
        }
    }
}
