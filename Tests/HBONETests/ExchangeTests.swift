import HBONE
import SPIFFE
import SeededRandom
import Testing

@Suite struct ExchangeTests {
    static let request = ConnectRequest(
        authority: "[fd00::7]:8080", baggage: "k8s.namespace.name=shop,service.name=web",
        forwarded: "for=\"10.1.2.3:40000\";host=api.shop.svc.cluster.local",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", forwardedNetwork: "net-1")

    /// Request, an echo of both directions, half-close by the client, then by the server.
    static func exchange(_ pair: Pair) -> Int32 {
        let stream = pair.client.connect(request)
        pair.run()
        pair.client.send(stream, "ping", ends: true)
        pair.run()
        pair.server.send(stream, "pong", ends: true)
        pair.run()
        return stream
    }

    static func expectExchange(_ pair: Pair, _ stream: Int32, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(
            pair.client.events == [
                .established(TestIdentity.api.uri), .responded(stream, 200, nil), .receivedEnd(stream),
                .closed(stream, HTTP2ErrorCode.noError),
            ], sourceLocation: sourceLocation)
        #expect(
            pair.server.events == [
                .established(TestIdentity.web.uri), .requested(stream, request), .receivedEnd(stream),
                .closed(stream, HTTP2ErrorCode.noError),
            ], sourceLocation: sourceLocation)
        #expect(pair.server.text(stream) == "ping", sourceLocation: sourceLocation)
        #expect(pair.client.text(stream) == "pong", sourceLocation: sourceLocation)
        #expect(pair.client.end == nil && pair.server.end == nil, sourceLocation: sourceLocation)
    }

    @Test("a CONNECT is answered, bytes go both ways, each side ends alone")
    func exchange() {
        let pair = Pair()
        let stream = Self.exchange(pair)
        Self.expectExchange(pair, stream)
        #expect(pair.client.activeStreams == 0 && pair.server.activeStreams == 0)
    }

    @Test("both know the other's identity and what protects the bytes")
    func peers() throws {
        let pair = Pair().run()
        for (endpoint, id) in [(pair.client, TestIdentity.api.uri), (pair.server, TestIdentity.web.uri)] {
            let peer = try #require(endpoint.peer)
            #expect(peer.id.description == id)
            #expect(peer.tlsVersion == "TLSv1.3")
            #expect(["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"].contains(peer.cipher))
            #expect(["X25519", "X25519MLKEM768"].contains(peer.group))
        }
    }

    @Test("the exchange survives one byte at a time")
    func bytewise() {
        let pair = Pair()
        pair.piece = { _, _ in 1 }
        let stream = Self.exchange(pair)
        Self.expectExchange(pair, stream)
    }

    @Test("the exchange survives a split at every offset", arguments: [true, false])
    func everySplit(toServer: Bool) {
        let whole = Pair()
        _ = Self.exchange(whole)
        let total = toServer ? whole.bytesToServer : whole.bytesToClient
        for offset in 1..<total {
            let pair = Pair()
            pair.piece = { direction, before in direction == toServer && before < offset ? offset - before : .max }
            let stream = Self.exchange(pair)
            Self.expectExchange(pair, stream)
        }
    }

    @Test("random pieces, the same result", arguments: 1...20)
    func randomPieces(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let pair = Pair()
        pair.piece = { _, _ in Int.random(in: 1...100, using: &random) }
        let stream = Self.exchange(pair)
        Self.expectExchange(pair, stream)
    }

    @Test("the server may end first and still receive")
    func serverEndsFirst() {
        let pair = Pair()
        let stream = pair.open()
        pair.server.send(stream, "done", ends: true)
        pair.run()
        #expect(pair.client.events.last == .receivedEnd(stream))
        pair.client.send(stream, "more", ends: true)
        pair.run()
        #expect(pair.server.text(stream) == "more")
        #expect(pair.server.events.suffix(2) == [.receivedEnd(stream), .closed(stream, HTTP2ErrorCode.noError)])
        #expect(pair.client.events.last == .closed(stream, HTTP2ErrorCode.noError))
    }

    @Test("a client's body need not wait for the answer, the server's does")
    func bodyBeforeAnswer() {
        let pair = Pair()
        pair.server.answer = .later
        let stream = pair.client.connect(Self.request)
        pair.client.send(stream, "early")
        pair.run()
        #expect(pair.server.text(stream) == "early")
        #expect(pair.client.stream(stream)?.hasAnswer == false)
        pair.server.send(stream, "answer")
        pair.run()
        #expect(pair.client.receivedCount == 0)
        pair.server.accept(stream: stream)
        pair.run()
        #expect(pair.client.text(stream) == "answer")
        #expect(pair.client.stream(stream)?.hasAnswer == true)
    }

    @Test("many streams share the connection without mixing")
    func manyStreams() {
        let pair = Pair()
        let streams = (0..<100).map { pair.client.connect(ConnectRequest(authority: "10.0.0.1:\($0 + 1)")) }
        #expect(streams.allSatisfy { $0 > 0 })
        pair.run()
        for stream in streams {
            pair.client.send(stream, "to \(stream)", ends: true)
            pair.server.send(stream, "from \(stream)", ends: true)
        }
        pair.run()
        for stream in streams {
            #expect(pair.server.text(stream) == "to \(stream)")
            #expect(pair.client.text(stream) == "from \(stream)")
        }
        #expect(pair.client.activeStreams == 0 && pair.server.activeStreams == 0)
    }

    @Test("a thousand streams one after the other leave nothing behind")
    func sequentialStreams() {
        let pair = Pair()
        for _ in 0..<1000 {
            let stream = pair.open()
            pair.client.send(stream, "a", ends: true)
            pair.server.send(stream, "b", ends: true)
            pair.run()
        }
        for endpoint in [pair.client, pair.server] {
            #expect(endpoint.activeStreams == 0 && endpoint.isBare)
        }
    }

    @Test("a dropped connection is freed")
    func freed() {
        weak var client: Endpoint?
        weak var server: Endpoint?
        do {
            let pair = Pair()
            let stream = pair.open()
            pair.client.send(stream, "unfinished")
            pair.client.produce()
            client = pair.client
            server = pair.server
        }
        #expect(client == nil && server == nil)
    }

    @Test("PING is answered, and the answer reported")
    func ping() {
        let pair = Pair().run()
        pair.client.ping()
        pair.run()
        #expect(pair.client.events.last == .pong)
        #expect(pair.server.events.last == .pinged)
    }
}
