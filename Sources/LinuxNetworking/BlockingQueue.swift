/// Runs jobs that block, one after the other, on a thread of its own that starts with the first job.
///
/// Dropping the queue ends the thread once it has done what it was given.
final class BlockingQueue: Sendable {
    private enum Entry {
        case job(@Sendable () -> Void)
        case end
    }

    private struct State {
        var entries: [Entry] = []
        var isStarted = false
    }

    private let name: String
    private let state: Condition<State>

    init(name: String) {
        self.name = name
        state = Condition(State())
    }

    deinit { state.update { $0.entries.append(.end) } }

    func enqueue(_ job: @escaping @Sendable () -> Void) throws(Errno) {
        var mustStart = false
        state.update { state in
            state.entries.append(.job(job))
            mustStart = !state.isStarted
            state.isStarted = true
        }
        guard mustStart else { return }
        // The thread holds the state, not the queue, whose end it awaits.
        let state = state
        do {
            _ = try SystemThread(name: name) {
                while case .job(let job) = state.take({ $0.entries.isEmpty ? nil : $0.entries.removeFirst() }) { job() }
            }
        } catch {
            state.update { $0 = State() }
            throw error
        }
    }
}
