import CNI
import Synchronization

/// Questions of the CNI plugin's that wait for the agent's loop, each within a bound.
final class SandboxQueue: Sendable {
    struct Waiting: Sendable {
        let question: SandboxQuestion
        let since: ContinuousClock.Instant
    }

    private struct Entry {
        let waiting: Waiting
        let answers: AsyncStream<SandboxAnswer>.Continuation
        /// Why it is not answered yet.
        var obstacle: String?
    }

    private struct State {
        var next: UInt64 = 0
        var entries: [UInt64: Entry] = [:]
    }

    /// Before the plugin's own bound: the reason is to arrive there.
    static let limit = Duration.milliseconds(4000)
    private static let interval = Duration.milliseconds(20)

    private let state = Mutex(State())

    /// `wake` has the loop look at what waits, from time to time: a source may learn of a pod without having a change to deliver.
    func ask(
        _ question: SandboxQuestion, limit: Duration = limit, wake: @escaping @Sendable () -> Void
    ) async -> SandboxAnswer {
        let (answers, continuation) = AsyncStream.makeStream(of: SandboxAnswer.self)
        let id = state.withLock { state in
            state.next += 1
            let waiting = Waiting(question: question, since: .now)
            state.entries[state.next] = Entry(waiting: waiting, answers: continuation)
            return state.next
        }
        let answer = await withTaskGroup(of: SandboxAnswer?.self) { group in
            group.addTask {
                for await answer in answers { return answer }
                return nil
            }
            group.addTask {
                let deadline = ContinuousClock.now + limit
                while ContinuousClock.now < deadline {
                    wake()
                    guard (try? await Task.sleep(for: Self.interval)) != nil else { break }
                }
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
        let left = state.withLock { $0.entries.removeValue(forKey: id) }
        return answer ?? .refused(left?.obstacle ?? "the agent does not know the cluster yet")
    }

    var waiting: [UInt64: Waiting] { state.withLock { $0.entries.mapValues(\.waiting) } }

    func answer(_ id: UInt64, _ answer: SandboxAnswer) {
        let entry = state.withLock { $0.entries[id] }
        entry?.answers.yield(answer)
    }

    func explain(_ id: UInt64, _ obstacle: String) {
        state.withLock { $0.entries[id]?.obstacle = obstacle }
    }
}
