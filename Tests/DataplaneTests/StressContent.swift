import Crypto
import Glibc
import LinuxNetworking
import SeededRandom
import Synchronization

/// What streams carry under stress: bytes of which no two places within a period are alike.
enum StressContent {
    /// A prime, so that no window, frame or buffer is a multiple of it: what is lost, repeated or swapped shows.
    static let period = 1_048_573

    /// Twice the period: from each place one whole period in one piece.
    private static let bytes: [UInt8] = {
        var random = SeededGenerator(seed: 27)
        let words = (0...period / 8).map { _ in random.next() }
        let once = words.withUnsafeBytes { Array($0.prefix(period)) }
        return once + once
    }()

    /// `count` bytes from `position` on, a period at most.
    static func withBytes<R>(at position: Int, count: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let start = position % period
        return try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<start + count])) }
    }

    static func matches(_ received: [UInt8], at position: Int) -> Bool {
        received.count <= period
            && withBytes(at: position, count: received.count) { expected in
                received.withUnsafeBytes { memcmp($0.baseAddress!, expected.baseAddress!, received.count) == 0 }
            }
    }
}

/// One direction of a connection, as one of its ends saw it.
struct Transfer: Equatable, Sendable {
    var count = 0
    var digest: [UInt8] = []
}

private final class Sending: Sendable {
    let outcome = Mutex<Result<Transfer, any Error>?>(nil)
}

extension BlockingSocket {
    enum Order: Sendable {
        /// Sends, finishes, and receives then what the other sends.
        case first
        case last
        case together
    }

    /// Sends so much and receives all that comes; each side ends its direction alone.
    func exchange(_ count: Int, from position: Int, _ order: Order) throws -> (sent: Transfer, received: Transfer) {
        switch order {
        case .first:
            let sent = try sendContent(count, from: position)
            return (sent, try receiveContent())
        case .last:
            let received = try receiveContent()
            return (try sendContent(count, from: position), received)
        case .together:
            let sending = Sending()
            let thread = try SystemThread(name: "test-sender") { [self] in
                let result = Result { try sendContent(count, from: position) }
                sending.outcome.withLock { $0 = result }
            }
            let received = try receiveContent()
            thread.join()
            guard let sent = try sending.outcome.withLock({ try $0?.get() }) else {
                throw Errno(code: EPIPE, call: "send")
            }
            return (sent, received)
        }
    }

    private func sendContent(_ count: Int, from position: Int) throws -> Transfer {
        var hash = SHA256()
        var sent = 0
        while sent < count {
            let part = min(1 << 18, count - sent)
            try StressContent.withBytes(at: position + sent, count: part) { bytes in
                hash.update(bufferPointer: bytes)
                guard send(bytes) else { throw Errno(code: EPIPE, call: "send after \(sent) bytes") }
            }
            sent += part
        }
        finish()
        return Transfer(count: sent, digest: Array(hash.finalize()))
    }

    private func receiveContent() throws -> Transfer {
        var hash = SHA256()
        var count = 0
        while case let bytes = try received(1 << 18), !bytes.isEmpty {
            hash.update(data: bytes)
            count += bytes.count
        }
        return Transfer(count: count, digest: Array(hash.finalize()))
    }
}
