import Synchronization
import Testing

@testable import SPIFFE

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Verification stays on the calling thread")
struct InlineTaskExecutorTests {
    /// Records the thread each time it is asked; `async`, as the library's stores are.
    private final class ThreadRecorder: Sendable {
        let seen = Mutex<[UInt]>([])

        func record() async {
            let thread = UInt(pthread_self())
            seen.withLock { $0.append(thread) }
        }
    }

    @Test("async code that waits for nothing is done on return, all of it on this thread")
    func staysOnThread() async {
        let recorder = ThreadRecorder()
        // A thread of our own: not one of the concurrency runtime's pool.
        let outcome = await onNewThread {
            let result = InlineTaskExecutor.run {
                for _ in 0..<100 {
                    await recorder.record()
                    async let child: Void = recorder.record()
                    await child
                }
                return 42
            }
            return (result: result, thread: UInt(pthread_self()))
        }
        #expect(outcome.result == 42)
        #expect(Set(recorder.seen.withLock { $0 }) == [outcome.thread])
        #expect(recorder.seen.withLock { $0.count } == 200)
    }

    @Test("code that waits for another thread gives nothing, and does not block")
    func waiting() {
        let result = InlineTaskExecutor.run {
            try? await Task.sleep(for: .milliseconds(20))
            return 1
        }
        #expect(result == nil)
    }

    @Test("a peer is verified on a plain thread, many at a time")
    func verifiesOnPlainThreads() async throws {
        let root = try TestAuthority.root()
        let intermediate = try root.intermediate()
        let chain = [try intermediate.leaf().der(), intermediate.certificate.der()]
        let verifier = PeerVerifier(bundles: TrustBundleSet([try bundle("td.test", root)]))
        let verified = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    await onNewThread {
                        (0..<25).count { _ in
                            if case .verified = verifier.verify(chainDER: chain, role: .client, now: testNow) {
                                true
                            } else {
                                false
                            }
                        }
                    }
                }
            }
            return await group.reduce(0, +)
        }
        #expect(verified == 100)
    }

    /// Runs the body on a new thread and waits for it without blocking this one.
    private func onNewThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            let box = Unmanaged.passRetained(Body { continuation.resume(returning: body()) })
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { argument in
                    if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                    return nil
                }, box.toOpaque())
            precondition(code == 0, "pthread_create: \(code)")
            pthread_detach(thread)
        }
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
