/// HTTP/2 frames by hand (RFC 9113 section 4.1).
public struct Frame: Equatable, Sendable {
    public var type: UInt8
    public var flags: UInt8
    public var stream: UInt32
    public var payload: [UInt8]

    public init(type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, payload: [UInt8] = []) {
        self.type = type
        self.flags = flags
        self.stream = stream
        self.payload = payload
    }

    public static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    public static let endStream: UInt8 = 1
    public static let endHeaders: UInt8 = 4

    public var bytes: [UInt8] {
        let count = payload.count
        return [UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff), type, flags]
            + Self.word(stream) + payload
    }

    public static func word(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
    }

    public static func data(_ stream: UInt32, _ payload: [UInt8], ends: Bool = false) -> Frame {
        Frame(type: 0, flags: ends ? endStream : 0, stream: stream, payload: payload)
    }

    /// Literal fields without indexing and without Huffman (RFC 7541 6.2.2).
    public static func headers(_ stream: UInt32, _ fields: [(String, String)], ends: Bool = false) -> Frame {
        var block: [UInt8] = []
        for (name, value) in fields { block += [0] + text(name) + text(value) }
        return Frame(type: 1, flags: endHeaders | (ends ? endStream : 0), stream: stream, payload: block)
    }

    private static func text(_ string: String) -> [UInt8] {
        var length: [UInt8] = []
        var left = string.utf8.count
        if left < 127 {
            length = [UInt8(left)]
        } else {
            length = [127]
            left -= 127
            while left >= 128 {
                length.append(UInt8(left & 127) | 128)
                left >>= 7
            }
            length.append(UInt8(left))
        }
        return length + string.utf8
    }

    public static func parse(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let count = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let stream = head[5...].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            frames.append(
                Frame(type: head[3], flags: head[4], stream: stream, payload: Array(rest.dropFirst(9).prefix(count))))
            rest = rest.dropFirst(9 + count)
        }
        return frames
    }
}
