import LinuxNetworking

/// Lines, and after a line raw bytes, of one connection. Lines end with `\n`; a `\r` before it is dropped.
struct LineReader {
    enum Failure: Error {
        case tooLong
    }

    private let socket: BlockingSocket
    private var buffered: ArraySlice<UInt8> = []
    private var room = [UInt8](repeating: 0, count: 64 << 10)
    private static let lineBytesMax = 8 << 10

    init(_ socket: BlockingSocket) { self.socket = socket }

    /// `nil` at the end of the stream.
    mutating func line() throws -> String? {
        while true {
            if let end = buffered.firstIndex(of: UInt8(ascii: "\n")) {
                var line = buffered[..<end]
                buffered = buffered[(end + 1)...]
                if line.last == UInt8(ascii: "\r") { line.removeLast() }
                return String(decoding: line, as: UTF8.self)
            }
            guard buffered.count < LineReader.lineBytesMax else { throw Failure.tooLong }
            let count = try room.withUnsafeMutableBytes { try socket.read(into: $0) }
            guard count > 0 else { return nil }
            buffered = buffered + room[..<count]
        }
    }

    /// At most `limit` bytes, more than none except at the end of the stream.
    mutating func bytes(atMost limit: Int, _ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Int {
        if !buffered.isEmpty {
            let count = min(limit, buffered.count)
            try buffered.prefix(count).withUnsafeBytes(body)
            buffered = buffered.dropFirst(count)
            return count
        }
        let count = try room.withUnsafeMutableBytes { buffer in
            try socket.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(limit, buffer.count)]))
        }
        try room.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        return count
    }
}
