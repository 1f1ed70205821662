import HBONE
import HTTP2Frames
import SeededRandom
import Testing

/// Noise ends a connection at most once, and never the process.
@Suite struct FuzzTests {
    @Test("random bytes as ciphertext", arguments: [true, false])
    func randomCiphertext(toServer: Bool) {
        var random = SeededGenerator(seed: 1)
        for round in 0..<300 {
            let endpoint = Endpoint(
                role: toServer ? .server : .client, context: toServer ? Pair.serverContext : Pair.clientContext)
            _ = endpoint.speak()
            var bytes = random.bytes(Int.random(in: 1...400, using: &random))
            // Half of them look like a handshake record.
            if round % 2 == 0 { bytes.replaceSubrange(0..<min(3, bytes.count), with: [22, 3, 3].prefix(bytes.count)) }
            endpoint.receive(bytes)
            _ = endpoint.speak()
            endpoint.receiveEnd()
            #expect(endpoint.end != nil)
        }
    }

    @Test("an exchange with bytes flipped on the way", arguments: [true, false])
    func flippedCiphertext(toServer: Bool) {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<150 {
            let pair = Pair()
            let (from, to) = toServer ? (pair.client, pair.server) : (pair.server, pair.client)
            _ = pair.client.connect(ConnectRequest(authority: "10.0.0.1:1"))
            let flipped = Int.random(in: 0..<3000, using: &random)
            var sent = 0
            while true {
                var bytes = from.speak()
                if bytes.indices.contains(flipped - sent) {
                    bytes[flipped - sent] ^= UInt8.random(in: 1...255, using: &random)
                }
                sent += bytes.count
                to.receive(bytes)
                let back = to.speak()
                from.receive(back)
                if bytes.isEmpty, back.isEmpty { break }
            }
            // Whatever was flipped, nobody is taken for somebody else, and no request is altered.
            for event in pair.client.events + pair.server.events {
                switch event {
                case .established(let id): #expect([TestIdentity.web.uri, TestIdentity.api.uri].contains(id))
                case .requested(_, let request): #expect(request.authority == "10.0.0.1:1")
                default: break
                }
            }
        }
    }

    @Test("random plaintext after a good preface")
    func randomPlaintext() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            let peer = RawPeer(greets: Bool.random(using: &random))
            peer.send(random.bytes(Int.random(in: 1...300, using: &random)))
            peer.server.receiveEnd()
            #expect(peer.server.end != nil)
        }
    }

    @Test("random frames of every type on few streams")
    func randomFrames() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<200 {
            let peer = RawPeer()
            for _ in 0..<40 where peer.server.end == nil {
                peer.send(Self.frame(&random))
                if Bool.random(using: &random) { Self.stir(peer.server, &random) }
            }
            peer.server.receiveEnd()
            #expect(peer.server.end != nil && peer.server.activeStreams == 0)
        }
    }

    private static func frame(_ random: inout SeededGenerator) -> Frame {
        let stream = UInt32.random(in: 0...9, using: &random)
        switch Int.random(in: 0...5, using: &random) {
        case 0, 1: return .headers(stream | 1, [(":method", "CONNECT"), (":authority", "10.0.0.1:1")])
        case 2:
            return .data(
                stream | 1, random.bytes(Int.random(in: 0...50, using: &random)), ends: Bool.random(using: &random))
        case 3:
            return Frame(type: 3, stream: stream | 1, payload: Frame.word(UInt32.random(in: 0...14, using: &random)))
        case 4:
            return Frame(type: 8, stream: stream | 1, payload: Frame.word(UInt32.random(in: 1...9999, using: &random)))
        default:
            return Frame(
                type: UInt8.random(in: 0...12, using: &random), flags: UInt8.random(in: 0...255, using: &random),
                stream: stream, payload: random.bytes(Int.random(in: 0...30, using: &random)))
        }
    }

    /// What an application might do at any time.
    private static func stir(_ server: Endpoint, _ random: inout SeededGenerator) {
        let stream = Int32.random(in: 0...9, using: &random)
        switch Int.random(in: 0...5, using: &random) {
        case 0: server.reset(stream: stream, code: 8)
        case 1: server.send(stream, "abc", ends: Bool.random(using: &random))
        case 2: server.consumed(stream: stream, 5)
        case 3: server.accept(stream: stream)
        case 4: server.ping()
        default: server.resume(stream)
        }
    }
}
