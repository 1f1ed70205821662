import COpenSSL
import HBONE
import HTTP2Frames

enum TLSVersion {
    static let tls12 = TLS1_2_VERSION
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
