import Testing

@testable import HBONE

@Suite("What a connection keeps of its input between reads")
struct InputBufferTests {
    @Test(
        "is what was left, in order, however much it is",
        arguments: [0, 1, 5, ChunkPool.recordSize - 1, ChunkPool.recordSize, ChunkPool.recordSize + 1, 100_000])
    func kept(count: Int) {
        var buffer = InputBuffer()
        // Three rounds: what the pool hands out again has been used.
        for round in 0..<3 {
            let room = buffer.room
            for index in 0..<(count + 7) { room[index] = UInt8(truncatingIfNeeded: index &* 31 &+ round) }
            let all = buffer.filled(count + 7)
            #expect(all.count == count + 7)
            buffer.keep(UnsafeMutableRawBufferPointer(rebasing: all[7...]))
            buffer.release()

            let more = buffer.room
            more[0] = 0xee
            let joined = buffer.filled(1)
            let expected = (7..<(count + 7)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ round) } + [0xee]
            #expect(joined.elementsEqual(expected), "round \(round)")
            buffer.keep(UnsafeMutableRawBufferPointer(rebasing: joined[joined.count...]))
            buffer.release()
        }
    }
}
