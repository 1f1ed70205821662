import Synchronization

/// Runs `async` code that never really waits to its end on the calling thread, and says so when it did wait.
///
/// swift-certificates' verifier is `async` for the sake of stores that look certificates up elsewhere; ours hold them.
/// The
/// TLS handshake on an event loop needs the verdict before it returns, without blocking on another thread.
final class InlineTaskExecutor: TaskExecutor {
    private static let shared = InlineTaskExecutor()

    func enqueue(_ job: consuming ExecutorJob) {
        UnownedJob(job).runSynchronously(on: asUnownedTaskExecutor())
    }

    /// `nil` when the operation suspended for something that this thread does not drive: then its result is lost.
    static func run<Result: Sendable>(_ operation: @escaping @Sendable () async -> Result) -> Result? {
        let outcome = Outcome<Result>()
        Task.detached(executorPreference: shared) {
            let result = await operation()
            outcome.value.withLock { $0 = result }
        }
        return outcome.value.withLock { $0 }
    }

    private final class Outcome<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
    }
}
