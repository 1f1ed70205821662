import COpenSSL
import Glibc
import HBONE
import SeededRandom
import Testing

@Suite struct FlowControlTests {
    /// So much of a fixed pattern as is asked for, in random pieces.
    final class Source {
        static let pattern: [UInt8] = {
            var random = SeededGenerator(seed: 99)
            return random.bytes(1 << 16)
        }()
        var left: Int
        private var offset = 0
        private var random: SeededGenerator
        var digest = Digest()

        init(_ count: Int, seed: UInt64) {
            left = count
            random = SeededGenerator(seed: seed)
        }

        func read(into buffer: UnsafeMutableRawBufferPointer) -> BodyRead {
            guard left > 0 else { return .end }
            let wanted = Int.random(in: 1...100_000, using: &random)
            let count = min(left, buffer.count, wanted, Self.pattern.count - offset)
            Self.pattern.withUnsafeBytes {
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
            }
            digest.add(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset = (offset + count) % Self.pattern.count
            left -= count
            return .bytes(count)
        }
    }

    final class Digest {
        private let context = EVP_MD_CTX_new()
        init() { EVP_DigestInit_ex(context, EVP_sha256(), nil) }
        deinit { EVP_MD_CTX_free(context) }
        func add(_ bytes: UnsafeRawBufferPointer) { EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) }
        var value: [UInt8] {
            var digest = [UInt8](repeating: 0, count: 32)
            EVP_DigestFinal_ex(context, &digest, nil)
            return digest
        }
    }

    @Test("64 MiB arrive unchanged, in pieces of random size", arguments: [true, false])
    func bulk(toServer: Bool) {
        let size = 64 << 20
        let pair = Pair()
        let stream = pair.open()
        let (from, to) = toServer ? (pair.client, pair.server) : (pair.server, pair.client)
        var random = SeededGenerator(seed: 5)
        pair.piece = { _, _ in Int.random(in: 1...200_000, using: &random) }
        let source = Source(size, seed: 6)
        from.bodySource = { source.read(into: $1) }
        let received = Digest()
        to.keepsBytes = false
        to.onBytes = { received.add($1) }
        from.resume(stream)
        pair.run()
        #expect(to.receivedCount == size)
        #expect(to.events.last == .receivedEnd(stream))
        #expect(received.value == source.digest.value)
        #expect(from.pendingOutput == 0)
    }

    @Test("a reader that takes nothing stops the writer at its window, and resumes it", arguments: [true, false])
    func slowReader(toServer: Bool) {
        let window = Int(HBONELimits().streamWindow)
        let pair = Pair()
        let stream = pair.open()
        let (from, to) = toServer ? (pair.client, pair.server) : (pair.server, pair.client)
        to.consumesAtOnce = false
        to.keepsBytes = false
        let source = Source(3 * window, seed: 1)
        from.bodySource = { source.read(into: $1) }
        from.resume(stream)
        pair.run()
        #expect(to.receivedCount == window)
        to.consumed(stream: stream, 1)
        pair.run()
        #expect(to.receivedCount == window)
        to.consumed(stream: stream, window - 1)
        pair.run()
        #expect(to.receivedCount == 2 * window)
        to.consumed(stream: stream, 10 * window)
        pair.run()
        #expect(to.receivedCount == 3 * window)
    }

    @Test("stuck streams do not stop another, however many they are", arguments: [1, 20])
    func stuckStreams(count: Int) {
        let pair = Pair()
        let stuck = (0..<count).map { _ in pair.open() }
        let free = pair.open()
        pair.server.consumesAtOnce = false
        pair.server.keepsBytes = false
        pair.server.onBytes = { [unowned pair] stream, bytes in
            if stream == free { pair.server.consumed(stream: stream, bytes.count) }
        }
        var sources = [free: Source(20 << 20, seed: 2)]
        for stream in stuck { sources[stream] = Source(8 << 20, seed: UInt64(stream)) }
        pair.client.bodySource = { sources[$0]?.read(into: $1) ?? .blocked }
        for stream in stuck + [free] { pair.client.resume(stream) }
        pair.run()
        #expect(sources[free]?.left == 0)
        #expect(pair.server.receivedCount == (20 << 20) + count * Int(HBONELimits().streamWindow))
    }

    @Test(
        "what streams leave unread when they end comes back to the connection's window",
        arguments: ["reset", "closed", "refused"])
    func windowComesBack(how: String) {
        let pair = Pair()
        pair.server.consumesAtOnce = false
        pair.server.keepsBytes = false
        // Ten times 3 MiB are far more than the connection's 16.
        for round in 0..<10 {
            let stream = pair.open()
            let source = Source(3 << 20, seed: UInt64(round))
            pair.client.bodySource = { $0 == stream ? source.read(into: $1) : .blocked }
            pair.client.resume(stream)
            if how == "reset" {
                // Some of it is on its way when the server gives up.
                let first = pair.client.speak()
                pair.server.receive(first)
                pair.server.reset(stream: stream, code: HTTP2ErrorCode.cancel)
            }
            if how == "refused" {
                pair.server.onBytes = { [unowned pair] in
                    _ = $1
                    pair.server.reset(stream: $0, code: HTTP2ErrorCode.cancel)
                }
            }
            if how == "closed" { pair.server.send(stream, ends: true) }
            pair.run()
            #expect(pair.client.events.last.map { if case .closed(stream, _) = $0 { true } else { false } } == true)
        }
        #expect(pair.client.activeStreams == 0 && pair.server.activeStreams == 0)
        #expect(pair.client.isBare && pair.server.isBare)
    }

    @Test("pending output is bounded however much there is to send")
    func boundedOutput() {
        let pair = Pair()
        let streams = (0..<8).map { _ in pair.open() }
        pair.client.bodySource = { _, buffer in .bytes(buffer.count) }
        for stream in streams { pair.client.resume(stream) }
        for _ in 0..<20 {
            pair.client.produce()
            #expect(pair.client.pendingOutput < HBONELimits().pendingOutputMax + (80 << 10))
        }
        #expect(!pair.client.wantsProduce)
        pair.client.outputSent(pair.client.withOutput { $0[0].iov_len })
        #expect(pair.client.pendingOutput < HBONELimits().pendingOutputMax)
        #expect(pair.client.wantsProduce)
    }

    @Test("a connection closed in the middle of much ciphertext drops the rest")
    func closedAmidst() {
        let pair = Pair()
        let stream = pair.open()
        let source = Source(2 << 20, seed: 3)
        pair.client.bodySource = { source.read(into: $1) }
        pair.client.resume(stream)
        let bytes = pair.client.speak()
        pair.server.onBytes = { [unowned pair] _, _ in pair.server.close() }
        pair.server.receive(bytes)
        #expect(pair.server.end == .clean && pair.server.receivedCount < 1 << 20)
        pair.run()
        #expect(pair.client.end == .clean)
    }

    @Test("a body resumed while it is being read is read again")
    func resumedWhileReading() {
        let pair = Pair()
        let stream = pair.open()
        var reads = 0
        pair.client.bodySource = { [unowned pair] stream, buffer in
            reads += 1
            switch reads {
            case 1:
                pair.client.resume(stream)
                return .blocked
            case 2:
                buffer[0] = 7
                return .bytes(1)
            default: return .blocked
            }
        }
        pair.client.resume(stream)
        pair.run()
        #expect(pair.server.received[stream] == [7])
        #expect(reads == 3)
    }

    @Test("small writes of many streams share a record")
    func coalescing() {
        let pair = Pair()
        let streams = (0..<50).map { _ in pair.open() }
        for stream in streams { pair.client.send(stream, "0123456789") }
        let bytes = pair.client.speak()
        // 50 frames of 19 bytes in one record of 5 + 950 + 1 + 16.
        #expect(bytes.count == 972)
    }

    @Test("bulk data fills whole records")
    func wholeRecords() {
        let pair = Pair()
        let stream = pair.open()
        pair.client.bodySource = { _, buffer in .bytes(buffer.count) }
        pair.client.resume(stream)
        pair.client.produce()
        var sizes: [Int] = []
        var rest = pair.client.drain()[...]
        while rest.count >= 5 {
            let size = Int(rest[rest.startIndex + 3]) << 8 | Int(rest[rest.startIndex + 4])
            sizes.append(size)
            rest = rest.dropFirst(5 + size)
        }
        #expect(sizes.count == 16 && sizes.allSatisfy { $0 == 16384 + 17 })
    }
}
