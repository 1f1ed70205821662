import SPIFFE
import Synchronization
import Testing

@testable import Authority

@Suite("Who signs next") struct SigningQueueTests {
    private var queue = SigningQueue(concurrency: 2)

    private mutating func ticket(_ urgency: IssuanceUrgency) throws -> UInt64 {
        guard case .wait(let ticket) = queue.enter(urgency) else { throw TestFailure() }
        return ticket
    }

    struct TestFailure: Error {}

    @Test("as many as there are cores sign at once; then first use goes before renewals, and these before the rest")
    mutating func order() throws {
        #expect(queue.enter(.background) == .now)
        #expect(queue.enter(.background) == .now)
        let background = try ticket(.background)
        let renewals = [try ticket(.renewal), try ticket(.renewal)]
        let first = [try ticket(.firstUse), try ticket(.firstUse)]
        let order = (0..<5).map { _ in queue.leave(at: .zero) }
        #expect(order == first + renewals + [background])
        #expect(queue.leave(at: .zero) == nil)
        #expect(queue.leave(at: .zero) == nil)
        #expect(queue.enter(.background) == .now)
    }

    @Test("who would wait longer than makes sense for him is told when to come back, and the less urgent sooner")
    mutating func refusals() throws {
        _ = (queue.enter(.renewal), queue.enter(.renewal))
        for _ in 0..<42 { _ = try ticket(.renewal) }
        // Ten a second, as is learnt from those that were done.
        for tick in 1...20 { _ = queue.leave(at: .milliseconds(100 * tick)) }
        #expect(queue.waitingCount == 22)
        #expect(queue.enter(.renewal) == .refused(retryAfter: .milliseconds(2200)))
        #expect(queue.enter(.background) == .refused(retryAfter: .milliseconds(2200)))
        for _ in 0..<39 { _ = try ticket(.firstUse) }
        #expect(queue.enter(.firstUse) == .refused(retryAfter: .milliseconds(6100)))
    }

    @Test("the queue is bounded even before it is known how long anything takes")
    mutating func bound() throws {
        _ = (queue.enter(.firstUse), queue.enter(.firstUse))
        for _ in 0..<SigningQueue.waitingMax { _ = try ticket(.firstUse) }
        #expect(queue.enter(.firstUse) == .refused(retryAfter: SigningQueue.retryMin))
        for _ in 0..<SigningQueue.waitingMax { #expect(queue.leave(at: .zero) != nil) }
        #expect(queue.waitingCount == 0)
    }

    private final class Occupancy: Sendable {
        private let state = Mutex((now: 0, most: 0))
        var most: Int { state.withLock { $0.most } }

        func pass() {
            state.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            state.withLock { $0.now -= 1 }
        }
    }

    @Test("the gate never lets in more than its number, and everybody in the end", arguments: [1, 3])
    func gate(concurrency: Int) async throws {
        let gate = SigningGate(concurrency: concurrency)
        let inside = Occupancy()
        let done = try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<500 {
                let urgency = IssuanceUrgency.allCases[index % 3]
                group.addTask { try await gate.signing(urgency) { () throws(Denial) in inside.pass() } }
            }
            return try await group.reduce(0) { count, _ in count + 1 }
        }
        #expect(done == 500)
        #expect(inside.most <= concurrency)
    }

    @Test("who was cancelled while waiting leaves his place to the next")
    func cancelled() async throws {
        let gate = SigningGate(concurrency: 1)
        let gone = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await gate.signing(.firstUse) { () throws(Denial) in
                Issue.record("signed for nobody")
                return 0
            }
        }
        await #expect(throws: Denial.self) { try await gone.value }
        #expect(try await gate.signing(.firstUse) { () throws(Denial) in 7 } == 7)
    }
}
