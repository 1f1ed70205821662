import HBONE
import Testing

/// How streams and connections end before their time.
@Suite struct EndingTests {
    @Test("a refusal carries its status and reason, and closes the stream", arguments: [400, 401, 503])
    func refusal(status: Int) {
        let pair = Pair()
        pair.server.answer = .refuse(status, "ip mismatch: 10.0.0.1 != 10.0.0.2")
        let stream = pair.open()
        #expect(
            pair.client.events.contains(.responded(stream, status, "ip mismatch: 10.0.0.1 != 10.0.0.2")))
        #expect(pair.client.events.last == .closed(stream, HTTP2ErrorCode.noError))
        #expect(pair.server.events.last == .closed(stream, HTTP2ErrorCode.noError))
        #expect(pair.client.end == nil && pair.server.end == nil)
    }

    @Test("a refusal later than the client's end is whole too")
    func lateRefusal() {
        let pair = Pair()
        pair.server.answer = .later
        let stream = pair.open()
        pair.client.reset(stream: stream, code: HTTP2ErrorCode.cancel)
        pair.server.refuse(stream: stream, status: 503, reason: "late")
        pair.run()
        #expect(pair.client.events.last == .closed(stream, HTTP2ErrorCode.cancel))
        #expect(pair.server.activeStreams == 0)
    }

    @Test("a reason unfit for a header is made fit")
    func unfitReason() {
        let pair = Pair()
        pair.server.answer = .refuse(503, "no\r\nway: é" + String(repeating: "x", count: 1000))
        let stream = pair.open()
        guard case .responded(stream, 503, let reason?)? = pair.client.events.dropLast().last else {
            return #expect(Bool(false), "\(pair.client.events)")
        }
        #expect(reason.hasPrefix("no??way: ??xxx") && reason.utf8.count == 256)
    }

    @Test("a reset arrives with its code", arguments: [true, false])
    func reset(byClient: Bool) {
        let pair = Pair()
        let stream = pair.open()
        let (from, to) = byClient ? (pair.client, pair.server) : (pair.server, pair.client)
        from.send(stream, "cut")
        from.reset(stream: stream, code: HTTP2ErrorCode.connectError)
        pair.run()
        #expect(from.events.last == .closed(stream, HTTP2ErrorCode.connectError))
        #expect(to.events.last == .closed(stream, HTTP2ErrorCode.connectError))
        #expect(pair.open() > stream)
    }

    @Test("a body that fails resets its stream with CONNECT_ERROR")
    func bodyFails() {
        let pair = Pair()
        let stream = pair.open()
        pair.server.send(stream, Array("part".utf8), fails: true)
        pair.run()
        #expect(pair.client.text(stream) == "part")
        #expect(pair.client.events.last == .closed(stream, HTTP2ErrorCode.connectError))
        #expect(pair.server.events.last == .closed(stream, HTTP2ErrorCode.connectError))
    }

    @Test("a request that was reset before it left is never seen by the server")
    func resetBeforeHandshake() {
        let pair = Pair()
        let first = pair.client.connect(ConnectRequest(authority: "10.0.0.1:1"))
        let second = pair.client.connect(ConnectRequest(authority: "10.0.0.1:2"))
        pair.client.reset(stream: first, code: HTTP2ErrorCode.cancel)
        pair.run()
        #expect(pair.client.events.contains(.closed(first, HTTP2ErrorCode.cancel)))
        #expect(pair.server.events.contains(.requested(second, ConnectRequest(authority: "10.0.0.1:2"))))
        #expect(pair.server.activeStreams == 1)
    }

    @Test("a server that goes away finishes its streams, then closes")
    func serverGoesAway() {
        let pair = Pair()
        let stream = pair.open()
        pair.server.sendGoAway()
        pair.run()
        #expect(pair.client.goAwayReceived)
        #expect(pair.client.events.last == .goneAway(HTTP2ErrorCode.noError))
        #expect(pair.client.connect(ConnectRequest(authority: "10.0.0.1:9")) < 0)
        pair.client.send(stream, "still here", ends: true)
        pair.server.send(stream, "yes", ends: true)
        pair.run()
        #expect(pair.server.text(stream) == "still here" && pair.client.text(stream) == "yes")
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }

    @Test("a request under way while the server goes away is still served")
    func requestCrossesGoAway() {
        let pair = Pair().run()
        let stream = pair.client.connect(ConnectRequest(authority: "10.0.0.1:1"))
        let request = pair.client.speak()
        pair.server.sendGoAway()
        pair.client.receive(pair.server.speak())
        pair.server.receive(request)
        pair.run()
        #expect(pair.client.events.contains(.responded(stream, 200, nil)))
        pair.client.send(stream, "x", ends: true)
        pair.server.send(stream, "y", ends: true)
        pair.run()
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }

    @Test("a client that goes away finishes its streams, then closes")
    func clientGoesAway() {
        let pair = Pair()
        let stream = pair.open()
        pair.client.sendGoAway()
        pair.run()
        #expect(pair.client.connect(ConnectRequest(authority: "10.0.0.1:9")) < 0)
        pair.client.send(stream, ends: true)
        pair.server.send(stream, ends: true)
        pair.run()
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }

    @Test("an idle connection that goes away ends at once", arguments: [true, false])
    func idleGoesAway(byClient: Bool) {
        let pair = Pair().run()
        (byClient ? pair.client : pair.server).sendGoAway()
        pair.run()
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }

    @Test("requests that the server will not serve any more are closed as refused")
    func goAwayRefusesLaterRequests() {
        let pair = Pair().run()
        let stream = pair.client.connect(ConnectRequest(authority: "10.0.0.1:1"))
        pair.server.sendGoAway()
        pair.client.receive(pair.server.speak())
        pair.run()
        #expect(pair.client.events.contains(.closed(stream, HTTP2ErrorCode.refusedStream)))
        #expect(pair.server.activeStreams == 0)
    }

    @Test("close ends both sides in good order", arguments: [true, false])
    func close(byClient: Bool) {
        let pair = Pair()
        let stream = pair.open()
        let (from, to) = byClient ? (pair.client, pair.server) : (pair.server, pair.client)
        from.close()
        #expect(from.events.suffix(2) == [.closed(stream, HTTP2ErrorCode.internalError), .ended(.clean)])
        pair.run()
        #expect(to.events.suffix(2) == [.closed(stream, HTTP2ErrorCode.internalError), .ended(.clean)])
        from.close()
        from.receiveEnd()
    }

    @Test("a refusal just before close still reaches the client")
    func refuseThenClose() {
        let pair = Pair()
        pair.server.answer = .refuse(503, "draining")
        pair.server.onEvent = { if case .requested = $1 { $0.close() } }
        let stream = pair.open()
        #expect(pair.client.events.contains(.responded(stream, 503, "draining")))
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }

    @Test("end of file is told apart by when it comes")
    func endOfFile() {
        let scanned = Pair().server
        scanned.receiveEnd()
        #expect(scanned.events == [.ended(.handshakeAbandoned)])

        let pair = Pair()
        let stream = pair.open()
        pair.server.receiveEnd()
        #expect(
            pair.server.events.suffix(2) == [.closed(stream, HTTP2ErrorCode.internalError), .ended(.peerClosed)])
        pair.server.receiveEnd()
        pair.server.receive([1, 2, 3])
    }

    @Test("after the end nothing can be asked for, and nothing is said")
    func afterTheEnd() {
        let pair = Pair()
        let stream = pair.open()
        pair.client.close()
        let said = pair.client.events
        #expect(pair.client.connect(ConnectRequest(authority: "10.0.0.1:1")) < 0)
        pair.client.resume(stream)
        pair.client.consumed(stream: stream, 10)
        pair.client.reset(stream: stream, code: 8)
        pair.client.ping()
        pair.client.sendGoAway()
        pair.client.produce()
        #expect(pair.client.events == said && !pair.client.wantsProduce)
    }

    @Test("a stream limit refuses the next stream and frees it with the last")
    func streamLimit() {
        var limits = HBONELimits()
        limits.maxConcurrentStreams = 3
        let pair = Pair(serverLimits: limits).run()
        #expect(pair.client.peerMaxConcurrentStreams == 3)
        let streams = (1...3).map { _ in pair.open() }
        #expect(pair.client.connect(ConnectRequest(authority: "10.0.0.1:1")) < 0)
        pair.client.reset(stream: streams[0], code: HTTP2ErrorCode.cancel)
        pair.run()
        #expect(pair.open() > 0)
    }

    @Test("streams beyond the limit, opened before it was known, are refused one by one or wait")
    func streamLimitBeforeSettings() {
        var limits = HBONELimits()
        limits.maxConcurrentStreams = 3
        let pair = Pair(serverLimits: limits)
        let streams = (0..<10).map { _ in pair.client.connect(ConnectRequest(authority: "10.0.0.1:1")) }
        pair.run()
        #expect(pair.server.activeStreams == 3)
        #expect(pair.client.end == nil && pair.server.end == nil)
        for _ in streams {
            for stream in streams { pair.client.reset(stream: stream, code: HTTP2ErrorCode.cancel) }
            pair.run()
        }
        #expect(pair.client.activeStreams == 0 && pair.server.activeStreams == 0)
    }

    @Test(
        "an authority that is no text is not sent",
        arguments: ["", "a b", "x\n", "é", String(repeating: "a", count: 513)])
    func badAuthority(authority: String) {
        #expect(Pair().client.connect(ConnectRequest(authority: authority)) < 0)
    }

    @Test("hooks may call back")
    func reentrancy() {
        let pair = Pair()
        var second: Int32 = 0
        pair.client.onEvent = { client, event in
            switch event {
            case .responded(let stream, 200, _):
                client.send(stream, "x", ends: true)
                if second == 0 { second = client.connect(ConnectRequest(authority: "10.0.0.1:2")) }
            case .closed(let stream, _) where stream == second: client.close()
            default: break
            }
        }
        pair.server.onEvent = { server, event in
            guard case .receivedEnd(let stream) = event else { return }
            if stream == second { server.reset(stream: stream, code: 8) } else { server.send(stream, ends: true) }
        }
        let first = pair.open()
        #expect(pair.client.events.contains(.closed(first, HTTP2ErrorCode.noError)))
        #expect(pair.client.events.contains(.closed(second, HTTP2ErrorCode.cancel)))
        #expect(pair.client.end == .clean && pair.server.end == .clean)
    }
}
