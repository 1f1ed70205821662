import IPAddressing
import Testing

@testable import culvert

@Suite("What the taps count")
struct WireCountTests {
    private let topology = DemoTopology()

    private func flow(
        _ source: String, _ destination: String, bytes: UInt64 = 100, tls: Bool? = nil
    ) throws -> WireFlow {
        WireFlow(
            source: try #require(SocketAddress(source)), destination: try #require(SocketAddress(destination)),
            payloadBytes: bytes, beginsWithTLS: tls)
    }

    @Test("both directions of a tunnel, of IPv4 and IPv6, are one pair's")
    func tunnel() throws {
        let flows = try [
            flow("10.244.1.2:40000", "10.244.2.2:15008", tls: true),
            flow("10.244.2.2:15008", "10.244.1.2:40000", bytes: 50, tls: true),
            flow("[fd00:10:244:2::2]:15008", "[fd00:10:244:1::2]:40001", bytes: 7, tls: true),
            flow("10.244.1.2:40000", "10.244.2.3:15008", bytes: 1000, tls: true),
        ]
        #expect(WireCount(flows, of: topology.pairs[0]) == WireCount(tunnel: 157))
    }

    @Test(
        "everything else between the two is plaintext",
        arguments: [
            ("10.244.1.2:40000", "10.244.2.2:8080", nil), ("10.244.2.2:8080", "10.244.1.2:40000", false),
            // To the service's own address, as if nobody had translated it.
            ("10.244.1.2:40000", "10.96.0.10:80", false), ("[fd00:10:244:1::2]:40000", "[fd00:10:96::10]:80", false),
            // To the tunnel's port, but not TLS; TLS, but not to the tunnel's port.
            ("10.244.1.2:40000", "10.244.2.2:15008", false), ("10.244.1.2:40000", "10.244.2.2:443", true),
        ] as [(String, String, Bool?)])
    func plaintext(source: String, destination: String, tls: Bool?) throws {
        let flows = [try flow(source, destination, tls: tls)]
        #expect(WireCount(flows, of: topology.pairs[0]) == WireCount(plaintext: 100))
        #expect(WireCount(flows, of: topology.pairs[1]) == WireCount())
    }
}
