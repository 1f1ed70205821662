import COpenSSL
import HBONE

enum TLSVersion {
    static let tls12 = TLS1_2_VERSION
}

/// HTTP/2 frames by hand (RFC 9113 section 4.1).
struct Frame: Equatable, Sendable {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: UInt32 = 0
    var payload: [UInt8] = []

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let endStream: UInt8 = 1
    static let endHeaders: UInt8 = 4

    var bytes: [UInt8] {
        let count = payload.count
        return [UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff), type, flags]
            + Self.word(stream) + payload
    }

    static func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }

    static func data(_ stream: UInt32, _ payload: [UInt8], ends: Bool = false) -> Frame {
        Frame(type: 0, flags: ends ? endStream : 0, stream: stream, payload: payload)
    }

    /// Literal fields without indexing and without Huffman (RFC 7541 6.2.2).
    static func headers(_ stream: UInt32, _ fields: [(String, String)], ends: Bool = false) -> Frame {
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

    static func parse(_ bytes: [UInt8]) -> [Frame] {
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

/// A client that says exactly what a test wants, inside good TLS.
final class RawPeer {
    let tls = ForeignTLS(.init())
    let server: Endpoint

    init(_ server: Endpoint = Endpoint(role: .server, context: Pair.serverContext), greets: Bool = true) {
        self.server = server
        tls.run(with: server)
        // Its SETTINGS, and the acknowledgement of ours, which puts our limits into force.
        if greets { send(Frame.preface + Frame(type: 4).bytes + Frame(type: 4, flags: 1).bytes) }
    }

    func send(_ bytes: [UInt8]) {
        tls.send(bytes)
        tls.run(with: server)
    }

    func send(_ frame: Frame) { send(frame.bytes) }

    func open(stream: UInt32) {
        send(Frame.headers(stream, [(":method", "CONNECT"), (":authority", "10.0.0.1:8080")]))
    }

    /// What the server said.
    func frames() -> [Frame] { Frame.parse(tls.received) }
}
