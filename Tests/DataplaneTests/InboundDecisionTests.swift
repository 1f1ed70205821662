import IPAddressing
import Testing

@testable import Dataplane

@Suite("A CONNECT at a pod's 15008")
struct InboundDecisionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let authority: String
        let local: String
        let expected: InboundDecision

        var testDescription: String { "\(authority) at \(local)" }

        init(_ authority: String, at local: String, _ expected: InboundDecision) {
            (self.authority, self.local, self.expected) = (authority, local, expected)
        }
    }

    static let delivered = [
        Case("10.244.2.2:80", at: "10.244.2.2", .deliver(to: SocketAddress("10.244.2.2:80")!)),
        Case("[fd00::2]:8080", at: "fd00::2", .deliver(to: SocketAddress("[fd00::2]:8080")!)),
        Case("[::ffff:10.244.2.2]:80", at: "10.244.2.2", .deliver(to: SocketAddress("10.244.2.2:80")!)),
    ]

    static let refused = [
        Case("10.244.2.3:80", at: "10.244.2.2", .refuse(status: 400, reason: "ip mismatch: 10.244.2.3 != 10.244.2.2")),
        Case("127.0.0.1:80", at: "10.244.2.2", .refuse(status: 400, reason: "ip mismatch: 127.0.0.1 != 10.244.2.2")),
        Case("[fd00::2]:80", at: "10.244.2.2", .refuse(status: 400, reason: "ip mismatch: fd00::2 != 10.244.2.2")),
        Case(
            "web.shop:80", at: "10.244.2.2",
            .refuse(status: 400, reason: "no valid authority pseudo header: web.shop:80")),
        Case(
            "10.244.2.2", at: "10.244.2.2", .refuse(status: 400, reason: "no valid authority pseudo header: 10.244.2.2")
        ),
        Case(
            "10.244.2.2:0", at: "10.244.2.2",
            .refuse(status: 400, reason: "no valid authority pseudo header: 10.244.2.2:0")),
        Case("", at: "10.244.2.2", .refuse(status: 400, reason: "no valid authority pseudo header: ")),
    ]

    @Test("is delivered to this pod and to nobody else", arguments: delivered + refused)
    func decision(_ test: Case) throws {
        let local = try #require(IPAddress(test.local))
        #expect(InboundDecision.decide(authority: test.authority, local: local) == test.expected)
    }

    @Test("never reaches the proxy's own ports", arguments: [15001, 15006, 15008])
    func ownPorts(port: Int) throws {
        let local = try #require(IPAddress("10.244.2.2"))
        let expected = InboundDecision.refuse(status: 503, reason: "attempted recursive call to ourselves")
        #expect(InboundDecision.decide(authority: "10.244.2.2:\(port)", local: local) == expected)
    }
}
