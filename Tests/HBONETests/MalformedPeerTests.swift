import HBONE
import HTTP2Frames
import Testing

/// Peers inside good TLS that break HTTP/2, or ask for what is not served.
@Suite struct MalformedPeerTests {
    private static let connect = [(":method", "CONNECT"), (":authority", "10.0.0.1:8080")]

    struct BadRequest: Sendable {
        let fields: [(String, String)]
        let reason: String
    }

    private static let badRequests: [BadRequest] = [
        BadRequest(
            fields: [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x:1")],
            reason: "expected method CONNECT, got GET"),
        BadRequest(fields: [(":method", "CONNECT")], reason: "no valid authority pseudo header"),
        BadRequest(fields: [(":method", "CONNECT"), (":authority", "")], reason: "pseudo-header with no proper value"),
        BadRequest(
            fields: [(":method", "CONNECT"), (":authority", "a b:1")], reason: "no valid authority pseudo header"),
        BadRequest(
            fields: [(":method", "CONNECT"), (":authority", String(repeating: "a", count: 513))],
            reason: "no valid authority pseudo header"),
        BadRequest(fields: [(":authority", "x:1")], reason: "no method pseudo header"),
        BadRequest(
            fields: connect + [(":scheme", "https"), (":path", "/")], reason: "CONNECT with a :scheme, :path or :status"
        ),
        BadRequest(
            fields: connect + [(":protocol", "websocket"), (":scheme", "https"), (":path", "/")],
            reason: "extended CONNECT is not served"),
        BadRequest(fields: connect + [(":method", "CONNECT")], reason: "pseudo-header given twice"),
        BadRequest(fields: connect + [(":unknown", "x")], reason: "unknown pseudo-header"),
        BadRequest(
            fields: [(":method", "CONNECT"), ("baggage", "x"), (":authority", "x:1")],
            reason: "pseudo-header after a header"),
        BadRequest(fields: connect + [("Upper", "x")], reason: "malformed header name"),
        BadRequest(fields: connect + [("x", "a\nb")], reason: "malformed header value"),
    ]

    @Test("a request that is no plain CONNECT is answered 400 and reported", arguments: badRequests)
    func badRequest(_ bad: BadRequest) {
        let peer = RawPeer()
        peer.send(Frame.headers(1, bad.fields))
        #expect(peer.server.events.last == .malformed(1, bad.reason))
        // HEADERS with END_STREAM, whose first field is ":status: 400" of the static table; then RST_STREAM NO_ERROR.
        #expect(
            peer.frames().contains { $0.type == 1 && $0.stream == 1 && $0.flags & 1 == 1 && $0.payload.first == 0x8c })
        #expect(peer.frames().last == Frame(type: 3, stream: 1, payload: [0, 0, 0, 0]))
        #expect(peer.server.end == nil && peer.server.activeStreams == 0 && peer.server.isBare)
        peer.open(stream: 3)
        #expect(peer.server.activeStreams == 1)
    }

    @Test("header bytes and fields are bounded: 431")
    func largeHeader() {
        for fields in [
            (0..<9).map { ("x-\($0)", String(repeating: "v", count: 8000)) },
            (0..<200).map { ("x-\($0)", "v") },
        ] {
            let peer = RawPeer()
            peer.send(Frame.headers(1, Self.connect + fields))
            guard case .malformed(1, let reason)? = peer.server.events.last else {
                return #expect(Bool(false), "\(peer.server.events)")
            }
            #expect(reason.hasPrefix("the request header is more than"))
            #expect(peer.server.end == nil)
        }
    }

    @Test("a value that is too long is left out, the request stands")
    func longValue() {
        let peer = RawPeer()
        peer.send(
            Frame.headers(
                1,
                Self.connect + [
                    ("baggage", String(repeating: "b", count: 8193)), ("forwarded", "for=a"), ("forwarded", "for=b"),
                ]))
        #expect(
            peer.server.events.last
                == .requested(1, ConnectRequest(authority: "10.0.0.1:8080", forwarded: "for=a,for=b")))
    }

    @Test("data for a refused request is dropped, and its window given back")
    func dataAfterRefusal() {
        let peer = RawPeer()
        for stream in stride(from: UInt32(1), to: 401, by: 2) {
            let get = Frame.headers(stream, [(":method", "GET"), (":authority", "x:1")])
            // 200 times 100 KiB: more than the connection window.
            peer.send(get.bytes + Frame.data(stream, [UInt8](repeating: 1, count: 100 << 10)).bytes)
        }
        #expect(peer.server.end == nil && peer.server.receivedCount == 0)
        peer.open(stream: 1001)
        peer.send(Frame.data(1001, Array("through".utf8)))
        #expect(peer.server.text(1001) == "through")
    }

    @Test("trailers are ignored, their END_STREAM counts")
    func trailers() {
        let peer = RawPeer()
        peer.open(stream: 1)
        peer.send(Frame.headers(1, [("x-trailer", "1")], ends: true))
        #expect(peer.server.events.last == .receivedEnd(1))
    }

    @Test("padding is not passed on, and given back")
    func padding() {
        let peer = RawPeer()
        peer.open(stream: 1)
        for _ in 0..<10 {
            peer.send(Frame(type: 0, flags: 8, stream: 1, payload: [5] + Array("abc".utf8) + [0, 0, 0, 0, 0]))
        }
        #expect(peer.server.text(1) == String(repeating: "abc", count: 10))
    }

    @Test(
        "a preface that is none ends the connection with a reason",
        arguments: [
            ("GET / HTTP/1.1\r\nHost: api\r\n\r\n", "got an HTTP/1 request inside TLS"),
            ("CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n", "got an HTTP/1 request inside TLS"),
            ("garbage", "bad connection preface"),
        ])
    func preface(text: String, reason: String) {
        let peer = RawPeer(greets: false)
        peer.send(Array(text.utf8))
        #expect(peer.server.events.last == .ended(.http2(reason)))
        #expect(peer.tls.sawCloseNotify)
    }

    struct BrokenFrame: Sendable {
        let name: String
        let frame: Frame
        let code: UInt8
    }

    private static let brokenFrames: [BrokenFrame] = [
        BrokenFrame(
            name: "oversized", frame: Frame(type: 4, payload: [UInt8](repeating: 0, count: (1 << 20) + 1)), code: 6),
        BrokenFrame(name: "DATA on stream 0", frame: .data(0, [1]), code: 1),
        BrokenFrame(name: "DATA on an idle stream", frame: .data(7, [1]), code: 1),
        BrokenFrame(name: "HEADERS on an even stream", frame: .headers(2, connect), code: 1),
        BrokenFrame(name: "PING of the wrong size", frame: Frame(type: 6, payload: [1]), code: 6),
        BrokenFrame(name: "WINDOW_UPDATE of zero", frame: Frame(type: 8, payload: [0, 0, 0, 0]), code: 1),
        BrokenFrame(name: "a window beyond 2^31", frame: Frame(type: 8, payload: [0x7f, 0xff, 0xff, 0xff]), code: 3),
        BrokenFrame(
            name: "a broken header block",
            frame: Frame(type: 1, flags: 4, stream: 1, payload: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), code: 9),
        BrokenFrame(name: "CONTINUATION alone", frame: Frame(type: 9, flags: 4, stream: 1), code: 1),
        BrokenFrame(name: "PUSH_PROMISE", frame: Frame(type: 5, flags: 4, stream: 1, payload: [0, 0, 0, 2]), code: 1),
    ]

    @Test("frames against the rules end the connection with GOAWAY and a reason", arguments: brokenFrames)
    func brokenFrame(_ broken: BrokenFrame) {
        let (name, code) = (broken.name, broken.code)
        let peer = RawPeer()
        peer.send(broken.frame)
        guard case .ended(.http2(let reason))? = peer.server.events.last else {
            return #expect(Bool(false), "\(name): \(peer.server.events)")
        }
        #expect(reason.hasPrefix(HTTP2ErrorCode.name(UInt32(code))), "\(name): \(reason)")
        #expect(peer.frames().contains { $0.type == 7 && $0.payload[4...7].elementsEqual([0, 0, 0, code]) }, "\(name)")
        #expect(peer.tls.sawCloseNotify)
    }

    @Test("a peer that goes away with an error is quoted")
    func peerError() {
        let peer = RawPeer()
        peer.send(Frame(type: 7, payload: [0, 0, 0, 0, 0, 0, 0, 11]))
        #expect(peer.server.events.suffix(2) == [.goneAway(11), .ended(.goAway(code: 11))])
        #expect(peer.server.end?.description == "HTTP/2: the peer went away with ENHANCE_YOUR_CALM")
    }

    @Test("floods are cut off", arguments: ["empty DATA", "PRIORITY", "trailers", "PING", "SETTINGS", "rapid reset"])
    func flood(kind: String) {
        var limits = HBONELimits()
        limits.streamResetBurst = 1000
        limits.streamResetsPerSecond = 1
        let peer = RawPeer(Endpoint(role: .server, context: Pair.serverContext, limits: limits))
        peer.open(stream: 1)
        var bytes: [UInt8] = []
        for round in UInt32(1)...3000 {
            switch kind {
            case "empty DATA": bytes += Frame.data(1, []).bytes
            case "PRIORITY": bytes += Frame(type: 2, stream: 1, payload: [0, 0, 0, 0, 15]).bytes
            case "trailers": bytes += Frame.headers(1, [("x", "y")]).bytes
            case "PING": bytes += Frame(type: 6, payload: [0, 0, 0, 0, 0, 0, 0, 0]).bytes
            case "SETTINGS": bytes += Frame(type: 4).bytes
            default:
                let stream = 2 * round + 1
                bytes += Frame.headers(stream, Self.connect).bytes
                bytes += Frame(type: 3, stream: stream, payload: [0, 0, 0, 8]).bytes
            }
        }
        peer.send(bytes)
        guard case .ended(.http2(let reason))? = peer.server.events.last else {
            return #expect(Bool(false), "\(kind): \(peer.server.events.suffix(3))")
        }
        #expect(!reason.isEmpty)
        #expect(peer.server.events.filter { if case .closed(1, _) = $0 { true } else { false } }.count == 1)
        #expect(peer.tls.sawCloseNotify)
    }

    @Test("a client's stream beyond the limit is refused")
    func tooManyStreams() {
        let peer = RawPeer()
        peer.server.answer = .later
        for index in UInt32(0)..<201 { peer.open(stream: 2 * index + 1) }
        #expect(peer.server.activeStreams <= 200)
        #expect(peer.frames().contains { $0.type == 3 && $0.stream == 401 } || peer.server.end != nil)
    }
}
