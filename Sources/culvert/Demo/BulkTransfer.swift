import Crypto
import IPAddressing
import LinuxNetworking

/// Many bytes to a sink and as many back, each way compared by SHA-256.
struct BulkTransfer {
    enum Failure: Error, CustomStringConvertible {
        case ended
        case differs(direction: String)

        var description: String {
            switch self {
            case .ended: "the connection ended early"
            case .differs(let direction): "the bytes \(direction) are not those that were sent"
            }
        }
    }

    static let clientSeed: UInt64 = 1
    static let serverSeed: UInt64 = 2

    /// In each direction.
    let bytes: Int

    func run(over socket: BlockingSocket) throws {
        var reader = LineReader(socket)
        try socket.write("PUT \(bytes)\n")
        let sent = try BulkTransfer.send(bytes, seed: BulkTransfer.clientSeed, socket)
        guard let confirmed = try reader.line() else { throw Failure.ended }
        guard confirmed == sent.hexadecimal else { throw Failure.differs(direction: "received by the server") }
        try socket.write("GET \(bytes)\n")
        let received = try BulkTransfer.receive(bytes, &reader)
        guard let stated = try reader.line() else { throw Failure.ended }
        guard stated == received.hexadecimal else { throw Failure.differs(direction: "received by the client") }
    }

    static func send(_ count: Int, seed: UInt64, _ socket: BlockingSocket) throws -> SHA256.Digest {
        var pattern = BulkPattern(seed: seed)
        var hash = SHA256()
        var left = count
        while left > 0 {
            try Interruption.check()
            let part = min(left, BulkPattern.blockBytes)
            try pattern.withNextBlock { block in
                let bytes = UnsafeRawBufferPointer(rebasing: block[..<part])
                hash.update(bufferPointer: bytes)
                try socket.write(bytes)
            }
            left -= part
        }
        return hash.finalize()
    }

    static func receive(_ count: Int, _ reader: inout LineReader) throws -> SHA256.Digest {
        var hash = SHA256()
        var left = count
        while left > 0 {
            try Interruption.check()
            let part = try reader.bytes(atMost: left) { hash.update(bufferPointer: $0) }
            guard part > 0 else { throw Failure.ended }
            left -= part
        }
        return hash.finalize()
    }
}
