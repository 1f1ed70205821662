import HBONE
import HTTP2Frames
import SPIFFE
import Testing

/// Peers that are no HBONE peers: each is refused once, with a reason an operator can act on.
@Suite struct RefusedPeerTests {
    private func meet(_ setup: ForeignTLS.Setup) -> (Endpoint, ForeignTLS) {
        let foreign = ForeignTLS(setup)
        let endpoint = Endpoint(
            role: setup.isServer ? .client : .server, context: setup.isServer ? Pair.clientContext : Pair.serverContext)
        foreign.run(with: endpoint)
        return (endpoint, foreign)
    }

    @Test("a foreign client and a foreign server are let in when they do everything right", arguments: [true, false])
    func foreignPeers(isServer: Bool) {
        let (endpoint, foreign) = meet(.init(isServer: isServer))
        #expect(foreign.isEstablished && endpoint.end == nil)
        #expect(endpoint.events == [.established(TestIdentity.web.uri)])
    }

    @Test("a foreign server that demands P-256 or AES-256, or sends tickets, is fine")
    func foreignVariants() {
        let (endpoint, foreign) = meet(
            .init(isServer: true, groups: "P-256", suites: "TLS_AES_256_GCM_SHA384", tickets: 4))
        #expect(foreign.isEstablished && endpoint.end == nil)
        #expect(endpoint.peer?.group == "P-256")
        #expect(endpoint.peer?.cipher == "TLS_AES_256_GCM_SHA384")
    }

    @Test("a client without a certificate is refused with certificate_required")
    func noCertificate() {
        let (server, client) = meet(.init(presentsCertificate: false))
        #expect(server.events == [.ended(.tls("the peer presented no certificate"))])
        #expect(client.error?.contains("certificate required") == true)
    }

    @Test("a client that offers another protocol, or none, is refused", arguments: [nil, [8] + Array("http/1.1".utf8)])
    func wrongALPN(alpn: [UInt8]?) {
        let (server, client) = meet(.init(alpn: alpn))
        #expect(server.events == [.ended(.alpn)])
        #expect(client.error?.contains("application protocol") == true)
    }

    @Test("a server that does not agree to h2 is left")
    func serverWithoutALPN() {
        let (client, _) = meet(.init(isServer: true, alpn: nil))
        #expect(client.events == [.ended(.alpn)])
    }

    @Test("a client of TLS 1.2 is refused with protocol_version", arguments: [nil, [2] + Array("h2".utf8)])
    func oldTLS(alpn: [UInt8]?) {
        let (server, client) = meet(.init(versionMax: TLSVersion.tls12, alpn: alpn))
        #expect(server.events == [.ended(.tls("unsupported protocol version: the peer does not speak TLS 1.3"))])
        #expect(client.error?.contains("protocol version") == true)
    }

    @Test("a server of TLS 1.2 is left")
    func oldServer() {
        let (client, _) = meet(.init(isServer: true, versionMax: TLSVersion.tls12))
        #expect(client.end != nil && client.peer == nil)
    }

    @Test("a client with no group or cipher suite in common is refused")
    func nothingInCommon() {
        #expect(
            meet(.init(suites: "TLS_CHACHA20_POLY1305_SHA256")).0.events == [.ended(.tls("no cipher suite in common"))])
        #expect(meet(.init(groups: "P-521")).0.events == [.ended(.tls("no key exchange group in common"))])
    }

    @Test("a peer that verify refuses gets bad_certificate, and the reason stays here", arguments: [true, false])
    func refusedByVerify(byServer: Bool) {
        let refuse: @Sendable ([[UInt8]]) -> TLSPeerVerdict = { _ in .refuse("trust domain other.test is not ours") }
        let pair =
            byServer
            ? Pair(server: TestIdentity.api.context(.server, verify: refuse))
            : Pair(client: TestIdentity.web.context(.client, verify: refuse))
        let stream = pair.client.connect(ConnectRequest(authority: "10.0.0.1:1"))
        pair.run()
        let (refuser, refused) = byServer ? (pair.server, pair.client) : (pair.client, pair.server)
        #expect(refuser.events.last == .ended(.peerRefused("trust domain other.test is not ours")))
        #expect(refused.events.last == .ended(.tls("the peer sent the alert bad_certificate")))
        #expect(pair.client.events.contains(.closed(stream, HTTP2ErrorCode.internalError)))
        #expect(refuser.peer == nil)
    }

    @Test("verify sees the chain as it was sent, leaf first")
    func chain() {
        let pair = Pair(
            server: TestIdentity.api.context(.server) { chain in
                chain == TestIdentity.web.chain ? TestIdentity.acceptAny(chain) : .refuse("\(chain.count)")
            })
        pair.run()
        #expect(pair.server.peer?.id.description == TestIdentity.web.uri)
    }

    @Test("a chain beyond the bound is not even looked at")
    func longChain() throws {
        let long = TestIdentity.web.chain + [[UInt8]](repeating: TestIdentity.web.chain[1], count: 9)
        let client = try TLSContext(
            role: .client, certificateChainDER: long, privateKeyDER: TestIdentity.web.keyDER,
            verify: TestIdentity.acceptAny)
        let pair = Pair(client: client).run()
        #expect(pair.server.end == .peerRefused("11 certificates, at most 10 are read"))
    }

    @Test(
        "what is not TLS is named",
        arguments: [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not TLS: got an HTTP/1 request"),
            ("OPTIONS * HTTP/1.1\r\n\r\n", "not TLS: got an HTTP/1 request"),
            ("CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n", "not TLS: got an HTTP/1 request"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not TLS: got an HTTP/2 preface in plaintext"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "not TLS: got an SSH banner"),
            ("\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}", "not TLS: the first byte is 0x00"),
            ("hello, is anybody there?", "not TLS: the first byte is 0x68"),
        ])
    func notTLS(text: String, reason: String) {
        for bytewise in [false, true] {
            let server = Endpoint(role: .server, context: Pair.serverContext)
            if bytewise {
                for byte in text.utf8 { server.receive([byte]) }
            } else {
                server.receive(Array(text.utf8))
            }
            #expect(server.events == [.ended(.tls(reason))])
        }
    }

    @Test("a server that answers in HTTP/1 is named")
    func plaintextServer() {
        let client = Endpoint(role: .client, context: Pair.clientContext)
        _ = client.speak()
        client.receive(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        #expect(client.events == [.ended(.tls("not TLS: got an HTTP/1 response"))])
    }

    @Test("a forged record ends the connection with bad_record_mac", arguments: [true, false])
    func forged(toServer: Bool) {
        let pair = Pair()
        let stream = pair.open()
        let (from, to) = toServer ? (pair.client, pair.server) : (pair.server, pair.client)
        from.send(stream, "secret")
        var record = from.speak()
        record[record.count - 1] ^= 1
        to.receive(record)
        #expect(to.events.suffix(2) == [.closed(stream, 2), .ended(.tls("a record was forged or damaged"))])
        #expect(to.text(stream) == "")
        pair.run()
        #expect(from.events.last == .ended(.tls("the peer sent the alert bad_record_mac")))
    }

    @Test("keys are updated in mid-stream, whoever asks", arguments: [true, false])
    func keyUpdate(both: Bool) {
        let client = RawPeer(Endpoint(role: .server, context: Pair.serverContext))
        client.open(stream: 1)
        for round in 0..<5 {
            client.tls.updateKeys(both: both)
            client.send(Frame.data(1, Array("round \(round) ".utf8)))
        }
        #expect(client.server.text(1) == "round 0 round 1 round 2 round 3 round 4 ")
        client.server.send(1, "answer")
        client.tls.run(with: client.server)
        #expect(client.frames().contains { $0.type == 0 && $0.payload == Array("answer".utf8) })
    }

    @Test("a context with a key or certificate that does not fit is not made")
    func badContext() {
        let accept = TestIdentity.acceptAny
        #expect(throws: TLSError.noCertificate) {
            try TLSContext(role: .client, certificateChainDER: [], privateKeyDER: [], verify: accept)
        }
        #expect(throws: TLSError.keyMismatch) {
            try TLSContext(
                role: .client, certificateChainDER: TestIdentity.web.chain, privateKeyDER: TestIdentity.api.keyDER,
                verify: accept)
        }
        for (chain, key) in [
            ([[UInt8](repeating: 0x30, count: 9)], TestIdentity.web.keyDER), (TestIdentity.web.chain, [1, 2]),
        ] {
            #expect(throws: TLSError.self) {
                try TLSContext(role: .server, certificateChainDER: chain, privateKeyDER: key, verify: accept)
            }
        }
        #expect(throws: TLSError.self) {
            try TLSContext(
                role: .server, certificateChainDER: [TestIdentity.web.chain[0] + [0]],
                privateKeyDER: TestIdentity.web.keyDER, verify: accept)
        }
    }
}
