import SeededRandom
import Testing

@testable import LinuxNetworking

@Suite("Timer heap")
struct TimerHeapTests {
    @Test("fires in order of deadlines, ties in the order they were set, and never early")
    func order() {
        var heap = TimerHeap<Int, String>()
        for (deadline, name) in [(5, "e"), (1, "a"), (3, "c1"), (3, "c2"), (2, "b")] { _ = heap.insert(deadline, name) }
        #expect(heap.popExpired(at: 0) == nil)
        #expect(heap.earliest == 1)
        var fired: [String] = []
        while let name = heap.popExpired(at: 4) { fired.append(name) }
        #expect(fired == ["a", "b", "c1", "c2"])
        #expect(heap.count == 1)
    }

    @Test("a cancelled timer never fires, and its token does not reach the timer that takes its slot")
    func cancelled() {
        var heap = TimerHeap<Int, String>()
        let first = heap.insert(1, "first")
        #expect(heap.cancel(first) == "first")
        let second = heap.insert(2, "second")
        #expect(heap.cancel(first) == nil)
        #expect(heap.popExpired(at: 2) == "second")
        #expect(heap.cancel(second) == nil)
    }

    @Test("agrees with a sorted array through random insertions, cancellations and expiries")
    func randomised() {
        var random = SeededGenerator(seed: 7)
        var heap = TimerHeap<Int, Int>()
        var model: [(deadline: Int, id: Int, token: TimerHeap<Int, Int>.Token)] = []
        var now = 0
        for id in 0..<5_000 {
            switch random.next() % 4 {
            case 0, 1:
                let deadline = now + Int(random.next() % 100)
                model.append((deadline, id, heap.insert(deadline, id)))
            case 2 where !model.isEmpty:
                let victim = model.remove(at: Int(random.next() % UInt64(model.count)))
                #expect(heap.cancel(victim.token) == victim.id)
            default:
                now += Int(random.next() % 20)
                var expected = model.filter { $0.deadline <= now }
                expected.sort { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
                model.removeAll { $0.deadline <= now }
                var fired: [Int] = []
                while let fire = heap.popExpired(at: now) { fired.append(fire) }
                #expect(fired == expected.map(\.id))
            }
            #expect(heap.count == model.count)
        }
    }
}
