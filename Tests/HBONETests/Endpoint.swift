import Glibc
import HBONE
import SPIFFE

/// What the hooks said, but for the bytes.
enum Event: Equatable {
    case established(String)
    case requested(Int32, ConnectRequest)
    case malformed(Int32, String)
    case responded(Int32, Int, String?)
    case receivedEnd(Int32)
    case closed(Int32, UInt32)
    case pinged
    case pong
    case goneAway(UInt32)
    case ended(ConnectionEnd)
}

/// A connection with a small application behind it.
final class Endpoint: HBONEConnection {
    enum Answer {
        case accept
        case refuse(Int, String)
        case later
    }

    struct Body {
        var bytes: [UInt8] = []
        var offset = 0
        var ends = false
        var fails = false
    }

    private(set) var events: [Event] = []
    private var isOver = false
    var received: [Int32: [UInt8]] = [:]
    /// Bytes received, whether kept or not.
    private(set) var receivedCount = 0
    var bodies: [Int32: Body] = [:]
    var answer = Answer.accept
    var consumesAtOnce = true
    var keepsBytes = true
    /// Called before anything else is done for the event.
    var onEvent: ((Endpoint, Event) -> Void)?
    var onBytes: ((Int32, UnsafeRawBufferPointer) -> Void)?
    var bodySource: ((Int32, UnsafeMutableRawBufferPointer) -> BodyRead)?

    private func note(_ event: Event) {
        precondition(!isOver, "\(event) after the end")
        if case .ended = event { isOver = true }
        events.append(event)
        onEvent?(self, event)
    }

    func send(_ stream: Int32, _ bytes: [UInt8] = [], ends: Bool = false, fails: Bool = false) {
        bodies[stream, default: Body()].bytes += bytes
        if ends { bodies[stream, default: Body()].ends = true }
        if fails { bodies[stream, default: Body()].fails = true }
        resume(stream)
    }

    func resume(_ id: Int32) { if let stream = stream(id) { resumeBody(stream) } }

    func consumed(stream id: Int32, _ count: Int) { if let stream = stream(id) { consumed(stream, count) } }

    func send(_ stream: Int32, _ text: String, ends: Bool = false) { send(stream, Array(text.utf8), ends: ends) }

    func text(_ stream: Int32) -> String { String(decoding: received[stream] ?? [], as: UTF8.self) }

    override func established(_ peer: HBONEPeer) { note(.established(peer.id.description)) }

    override func requested(stream: Int32, _ request: ConnectRequest) {
        note(.requested(stream, request))
        switch answer {
        case .accept: accept(stream: stream)
        case .refuse(let status, let reason): refuse(stream: stream, status: status, reason: reason)
        case .later: break
        }
    }

    override func malformedRequest(stream: Int32, reason: String) { note(.malformed(stream, reason)) }

    override func responded(stream: Int32, status: Int, reason: String?) { note(.responded(stream, status, reason)) }

    override func received(stream: HBONEStream, _ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) {
        precondition(!isOver, "bytes after the end")
        receivedCount += count
        for piece in pieces {
            let data = UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
            if keepsBytes { received[stream.id, default: []] += data }
            onBytes?(stream.id, data)
        }
        if consumesAtOnce { consumed(stream, count) }
    }

    override func receivedEnd(stream: Int32) { note(.receivedEnd(stream)) }

    override func readBody(stream: HBONEStream, into pieces: UnsafeMutableBufferPointer<iovec>) -> BodyRead {
        var total = 0
        for piece in pieces {
            let buffer = UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
            switch readBody(stream.id, into: buffer) {
            case .bytes(let count):
                total += count
                guard count == buffer.count else { return .bytes(total) }
            case let other: return total > 0 ? .bytes(total) : other
            }
        }
        return .bytes(total)
    }

    private func readBody(_ stream: Int32, into buffer: UnsafeMutableRawBufferPointer) -> BodyRead {
        if let bodySource { return bodySource(stream, buffer) }
        guard let body = bodies[stream] else { return .blocked }
        let left = body.bytes.count - body.offset
        guard left > 0 else { return body.fails ? .failed : body.ends ? .end : .blocked }
        let count = min(left, buffer.count)
        buffer.copyBytes(from: body.bytes[body.offset..<body.offset + count])
        bodies[stream]?.offset += count
        return .bytes(count)
    }

    override func closed(stream: Int32, code: UInt32) { note(.closed(stream, code)) }

    override func pinged() { note(.pinged) }

    override func pongReceived() { note(.pong) }

    override func goneAway(lastStream: Int32, code: UInt32) { note(.goneAway(code)) }

    override func ended(_ end: ConnectionEnd) { note(.ended(end)) }

    /// Everything that is pending now, as a socket would take it.
    func drain() -> [UInt8] {
        var bytes: [UInt8] = []
        while hasOutput {
            let count = withOutput { pieces in
                pieces.reduce(0) {
                    bytes += UnsafeRawBufferPointer(start: $1.iov_base, count: $1.iov_len)
                    return $0 + $1.iov_len
                }
            }
            outputSent(count)
        }
        return bytes
    }

    /// As much as there is to say without an answer.
    func speak() -> [UInt8] {
        var bytes = drain()
        while wantsProduce {
            produce()
            bytes += drain()
        }
        return bytes
    }

    func receive(_ bytes: some Collection<UInt8>) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let room = inputRoom
            let part = rest.prefix(room.count)
            room.copyBytes(from: part)
            rest = rest.dropFirst(part.count)
            receive(part.count)
            inputDone()
        }
    }
}
