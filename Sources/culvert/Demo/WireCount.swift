import IPAddressing
import LinuxNetworking

/// One direction of a TCP connection as a tap saw it.
struct WireFlow: Hashable, Sendable {
    let source: SocketAddress
    let destination: SocketAddress
    let payloadBytes: UInt64
    /// `nil` before any payload.
    let beginsWithTLS: Bool?

    static let tunnelPort: UInt16 = 15008

    /// The port alone proves nothing: what goes there has to look like TLS.
    var isTunnel: Bool {
        (source.port == WireFlow.tunnelPort || destination.port == WireFlow.tunnelPort) && beginsWithTLS == true
    }

    func joins(_ pair: DemoTopology.Pair) -> Bool {
        (pair.from.answers(to: source.ip) && pair.to.answers(to: destination.ip))
            || (pair.to.answers(to: source.ip) && pair.from.answers(to: destination.ip))
    }
}

/// TCP payload seen on the wire between two pods, both directions, in bytes.
struct WireCount: Hashable, Sendable {
    /// TLS to or from port 15008.
    var tunnel: UInt64 = 0
    /// Everything else.
    var plaintext: UInt64 = 0

    init(tunnel: UInt64 = 0, plaintext: UInt64 = 0) {
        self.tunnel = tunnel
        self.plaintext = plaintext
    }

    /// Of one tap; flows of other pairs do not count.
    init(_ flows: [WireFlow], of pair: DemoTopology.Pair) {
        for flow in flows where flow.joins(pair) {
            if flow.isTunnel { tunnel += flow.payloadBytes } else { plaintext += flow.payloadBytes }
        }
    }

    static func + (left: WireCount, right: WireCount) -> WireCount {
        WireCount(tunnel: left.tunnel + right.tunnel, plaintext: left.plaintext + right.plaintext)
    }
}
