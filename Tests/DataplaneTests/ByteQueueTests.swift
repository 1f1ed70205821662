import SeededRandom
import Testing

@testable import Dataplane

@Suite("Bytes that a socket would not take yet")
struct ByteQueueTests {
    @Test("come out in the order they went in, whatever the sizes")
    func order() {
        var queue = ByteQueue()
        var random = SeededGenerator(seed: 7)
        var (pushed, popped): (UInt8, UInt8) = (0, 0)
        for _ in 0..<2000 {
            let more = (0..<Int(random.next() % 900)).map { _ in
                defer { pushed &+= 1 }
                return pushed
            }
            more.withUnsafeBytes { queue.append($0) }
            let take = min(queue.count, Int(random.next() % 1000))
            queue.withBytes { bytes in
                for byte in bytes.prefix(take) {
                    #expect(byte == popped)
                    popped &+= 1
                }
            }
            queue.removeFirst(take)
        }
        queue.removeFirst(queue.count)
        let left = queue.count
        #expect(left == 0)
    }

    @Test("an empty queue shows no bytes")
    func empty() {
        var queue = ByteQueue()
        queue.append(UnsafeRawBufferPointer(start: nil, count: 0))
        let shown = queue.withBytes { $0.count }
        #expect(shown == 0)
        queue.removeFirst(0)
    }
}
